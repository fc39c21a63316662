//! A Unix datagram socket as a device: an Ethernet frame in every datagram, as QEMU's `-netdev dgram` sends them.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use waterwheel::mm::{Account, PAGE_SIZE};
use waterwheel::xdp::{Capabilities, Device, Drops, HEADROOM, Health, Homes, Traffic, Wait};
use waterwheel::{Direction, DropReason, Page, PagePool, XdpBuff, XdpFrame};

/// Empty pages that are taken from the pool at once.
const SPARE: usize = 32;
/// The shortest frame: an Ethernet header.
const MIN_FRAME: usize = 14;
/// The longest: what a page has room for, and one byte less, to see when a datagram was cut.
const MAX_FRAME: usize = PAGE_SIZE - HEADROOM - 1;

pub(crate) struct Datagram {
    name: String,
    socket: UnixDatagram,
    /// Empty pages, to receive into.
    spare: Vec<Page>,
    too_long: u64,
    failure: Option<String>,
}

impl Datagram {
    /// Frames go to and come from the peer that `socket` is connected to.
    pub(crate) fn new(name: &str, socket: UnixDatagram) -> io::Result<Self> {
        socket.set_nonblocking(true)?; // a device never waits: its loop has others
        Ok(Self { name: name.to_owned(), socket, spare: Vec::with_capacity(SPARE), too_long: 0, failure: None })
    }

    /// What an error means: try again later, or the end of the device.
    fn note(&mut self, error: &io::Error) {
        if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) {
            self.failure = Some(format!("{}: {error}", self.name));
        }
    }
}

impl Device for Datagram {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { max_frame: MAX_FRAME, ..Capabilities::default() }
    }

    fn rx(&mut self, pool: &mut PagePool, batch: &mut Vec<XdpBuff>, budget: usize) -> usize {
        let before = batch.len();
        while batch.len() - before < budget {
            if self.spare.is_empty() {
                self.spare.extend(pool.hand_out(Direction::Rx, SPARE));
            }
            let Some(mut page) = self.spare.pop() else { break }; // the pool's limit is reached: a normal answer
            match self.socket.recv(&mut page.as_mut_slice()[HEADROOM..]) {
                Ok(len) if (MIN_FRAME..=MAX_FRAME).contains(&len) => batch.push(XdpBuff::new(page, HEADROOM, len)),
                Ok(len) => {
                    self.too_long += u64::from(len > MAX_FRAME);
                    self.spare.push(page);
                }
                Err(error) => {
                    self.spare.push(page);
                    self.note(&error);
                    break;
                }
            }
        }
        batch.len() - before
    }

    fn tx(&mut self, pool: &mut PagePool, frames: &mut Vec<XdpFrame>, drops: &mut Drops) -> Traffic {
        let mut traffic = Traffic::default();
        let mut taken = 0;
        for frame in frames.iter() {
            match frame.len() {
                ..MIN_FRAME => drops.add(DropReason::Malformed, 1),
                MIN_FRAME..=MAX_FRAME => match self.socket.send(frame.data()) {
                    Ok(len) => traffic.add(len),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break, // this one and the rest stay
                    Err(error) => {
                        self.note(&error);
                        drops.add(DropReason::DeviceDown, 1);
                    }
                },
                _ => drops.add(DropReason::FrameTooLong, 1),
            }
            taken += 1;
        }
        frames.drain(..taken).for_each(|frame| pool.put(frame.into_page())); // the kernel has its copy
        traffic
    }

    fn complete(&mut self, _: &mut Homes<'_>) -> usize {
        0 // nothing is in flight: what `tx` takes is sent
    }

    fn wait(&self) -> Wait {
        Wait::Readable
    }

    fn fds<'a>(&'a self, add: &mut dyn FnMut(BorrowedFd<'a>)) {
        add(self.socket.as_fd());
    }

    fn health(&mut self) -> Health {
        self.failure.clone().map_or(Health::Up, Health::Failed)
    }

    fn lost(&self, count: &mut dyn FnMut(&'static str, u64)) {
        count("too_long", self.too_long); // the kernel cut it, so that there is no packet to give
    }

    fn in_flight(&self) -> usize {
        self.spare.len()
    }

    fn account(&self, account: &mut Account) {
        self.spare.iter().for_each(|page| account.queued(page));
    }

    fn shutdown(&mut self, homes: &mut Homes<'_>) {
        homes.put_bulk(self.spare.drain(..));
    }
}
