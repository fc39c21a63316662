//! A device on the bench: a pool, the other end of the wire, and what went in and came out.

use super::pattern::{self, HEADER, PAGE};
use super::{Pair, Peer, Profile, Receives, Rig, Sends};
use crate::buff::{XdpBuff, XdpFrame};
use crate::device::{Device, Traffic};
use crate::drops::{DropReason, Drops};
use crate::homes::Homes;
use crate::mm::Users;
use crate::{Account, Direction, HEADROOM, PagePool, PoolParams, Zone};
use std::time::Instant;

/// Pages of a check's zone: for the pools of both ends, and some blocks for frames that are longer than a page.
pub(super) const PAGES: usize = 4096;
/// Pages that a pool may have, and how many of them are not for receiving.
const LIMIT: usize = 1280;
const FLOOR_TX: usize = 512;

/// A pool for one end.
pub(super) fn pool(zone: &Zone) -> PagePool {
    PagePool::new(zone, PoolParams { limit: LIMIT, floor_tx: FLOOR_TX, ..PoolParams::default() })
        .expect("a pool for a test")
}

/// `bytes` in pages of `pool`, for a device that takes so many fragments; without fragments, in a page or a block of pages. Nothing when there is none.
pub(super) fn packet(pool: &mut PagePool, bytes: &[u8], max_frags: usize) -> Option<XdpFrame> {
    if max_frags > 0 && bytes.len() > PAGE - HEADROOM {
        return XdpBuff::copy_from(pool, Direction::Tx, bytes).map(XdpFrame::from);
    }
    let page = if bytes.len() <= PAGE {
        pool.alloc(Direction::Tx)?
    } else {
        let order = bytes.len().div_ceil(PAGE).next_power_of_two().trailing_zeros();
        pool.zone().alloc(order as u8)?.into_page()
    };
    let offset = HEADROOM.min(page.size() - bytes.len());
    let mut packet = XdpBuff::new(page, offset, bytes.len());
    packet.data_mut().copy_from_slice(bytes);
    Some(packet.into())
}

/// All bytes of a packet.
pub(super) fn bytes_of(packet: &XdpBuff) -> Vec<u8> {
    packet.parts().flatten().copied().collect()
}

/// What a device said of its own doing, beside what was seen of it.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Frames that `tx` took out of what it was given.
    pub(super) taken: u64,
    /// What `tx` said that it sends.
    pub(super) sent: Traffic,
    /// What `rx` said that it appended, and what it appended.
    pub(super) rx_said: u64,
    pub(super) rx_got: u64,
    /// The most by which it gave more than it was asked for.
    pub(super) over_budget: usize,
}

/// A device, its pool and the other end.
pub(super) struct Bed {
    pub(super) profile: Profile,
    pub(super) zone: Zone,
    pub(super) pools: [PagePool; 1],
    pub(super) device: Option<Box<dyn Device>>,
    pub(super) peer: Option<Box<dyn Peer>>,
    pub(super) drops: Drops,
    pub(super) tally: Tally,
}

impl Bed {
    /// A new device; if it reads from what is there before it, from `inbound`.
    pub(super) fn open(rig: &mut dyn Rig, zone: &Zone, inbound: &[Vec<u8>]) -> Self {
        let mut bed = Self::bare(rig, zone);
        bed.reopen(rig, inbound);
        bed
    }

    /// Without a device.
    pub(super) fn bare(rig: &mut dyn Rig, zone: &Zone) -> Self {
        Self {
            profile: rig.profile(),
            zone: zone.clone(),
            pools: [pool(zone)],
            device: None,
            peer: None,
            drops: Drops::default(),
            tally: Tally::default(),
        }
    }

    /// Another device, over the same pool.
    pub(super) fn reopen(&mut self, rig: &mut dyn Rig, inbound: &[Vec<u8>]) {
        let pair = rig.open(&self.zone, inbound);
        self.take_up(pair);
    }

    /// This one.
    pub(super) fn take_up(&mut self, Pair { device, peer }: Pair) {
        (self.device, self.peer) = (Some(device), Some(peer));
        if self.profile.receives == Receives::Wire {
            self.receive(0); // as the first round of a worker: a driver posts its first pages here
        }
    }

    /// The device. It is there until [`close`](Self::close).
    pub(super) fn device(&mut self) -> &mut dyn Device {
        self.device.as_deref_mut().expect("a check does not use a device that it has closed")
    }

    /// Gives `frames` to `tx`; what it does not take stays.
    pub(super) fn send(&mut self, frames: &mut Vec<XdpFrame>) {
        let device = self.device.as_mut().expect("as above");
        let before = frames.len();
        let sent = device.tx(&mut self.pools[0], frames, &mut self.drops);
        self.tally.taken += before.saturating_sub(frames.len()) as u64;
        self.tally.sent.merge(sent);
    }

    /// One `rx`, and the end of a worker's round.
    pub(super) fn receive_packets(&mut self, budget: usize) -> Vec<XdpBuff> {
        let device = self.device.as_mut().expect("as above");
        device.complete(&mut Homes::new(&mut self.pools));
        let mut batch = Vec::with_capacity(budget);
        let said = device.rx(&mut self.pools[0], &mut batch, budget);
        device.flush();
        self.tally.rx_said += said as u64;
        self.tally.rx_got += batch.len() as u64;
        self.tally.over_budget = self.tally.over_budget.max(batch.len().saturating_sub(budget));
        batch
    }

    /// The same; the pages go home, and the bytes are given.
    pub(super) fn receive(&mut self, budget: usize) -> Vec<Vec<u8>> {
        let batch = self.receive_packets(budget);
        let bytes = batch.iter().map(bytes_of).collect();
        Homes::new(&mut self.pools).put_bulk(batch.into_iter().map(XdpBuff::into_page));
        bytes
    }

    /// Kicks the device, takes what it has sent home, and what came out of the other end.
    pub(super) fn turn(&mut self) -> Vec<Vec<u8>> {
        let device = self.device.as_mut().expect("as above");
        device.flush();
        device.complete(&mut Homes::new(&mut self.pools));
        self.take()
    }

    /// What came out of the other end.
    pub(super) fn take(&mut self) -> Vec<Vec<u8>> {
        if self.profile.sends == Sends::File && self.device.is_some() {
            return Vec::new(); // they can be looked at when it is closed
        }
        let Some(peer) = &mut self.peer else { return Vec::new() };
        std::iter::from_fn(|| peer.take()).filter(|bytes| pattern::number(bytes).is_some()).collect()
    }

    /// Sends frames, `burst` at a time, as fast as the device takes them, and gives what came out.
    pub(super) fn carry_out(&mut self, frames: &[Vec<u8>], burst: usize) -> Vec<Vec<u8>> {
        let (mut out, mut rest) = (Vec::new(), frames);
        let frags = self.device().capabilities().max_frags;
        let mut waiting: Vec<XdpFrame> = Vec::new();
        let (dropped, mut since) = (self.drops.total(), Instant::now());
        while since.elapsed() < self.profile.patience {
            while waiting.len() < burst
                && let Some((first, others)) = rest.split_first()
                && let Some(frame) = packet(&mut self.pools[0], first, frags)
            {
                waiting.push(frame);
                rest = others;
            }
            let before = waiting.len();
            self.send(&mut waiting);
            let came = self.turn();
            if waiting.len() < before || !came.is_empty() {
                since = Instant::now();
            } else {
                std::thread::yield_now();
            }
            out.extend(came);
            let gone = rest.is_empty() && waiting.is_empty();
            let seen = out.len() as u64 + (self.drops.total() - dropped);
            if gone && (self.profile.sends != Sends::Wire || seen >= frames.len() as u64) {
                break;
            }
        }
        drop(waiting);
        if self.profile.sends == Sends::File {
            self.close();
        } else {
            out.extend(self.turn()); // what came twice
        }
        out.extend(self.take());
        out
    }

    /// Puts frames in, `burst` at a time, and receives them with this budget. Gives what the device received.
    pub(super) fn carry_in(&mut self, frames: &[Vec<u8>], burst: usize, budget: usize) -> Vec<Vec<u8>> {
        let (mut came, mut rest) = (Vec::new(), frames);
        let mut since = Instant::now();
        while since.elapsed() < self.profile.patience {
            let group = rest.len().min(burst);
            let peer = self.peer.as_mut().filter(|_| self.profile.receives == Receives::Wire);
            let put = peer.map_or(group, |peer| rest[..group].iter().take_while(|frame| peer.put(frame)).count());
            rest = &rest[put..];
            loop {
                let packets = self.receive(budget);
                if packets.is_empty() {
                    break;
                }
                since = Instant::now();
                came.extend(packets.into_iter().filter(|bytes| pattern::number(bytes).is_some()));
            }
            if rest.is_empty() && came.len() >= frames.len() {
                break;
            }
            if put > 0 {
                since = Instant::now();
            }
            std::thread::yield_now();
        }
        came.extend(self.receive(budget).into_iter().filter(|bytes| pattern::number(bytes).is_some())); // what came twice
        came
    }

    /// Whether the device's count of what it has is that of the pages that it marks.
    pub(super) fn holdings(&mut self, what: &str) -> Result<(), String> {
        let Some(device) = &self.device else { return Ok(()) };
        let mut account = Account::open(&self.zone);
        device.account(&mut account);
        let (held, in_flight) = (account.close(Users::Alive).held_by_devices, device.in_flight());
        super::ensure!(
            held == in_flight,
            "{what}: the device says in_flight {in_flight} and marks {held} pages as its own"
        );
        Ok(())
    }

    /// A quiet moment: every page of the zone is found, once.
    pub(super) fn account(&mut self, what: &str) -> Result<(), String> {
        for _ in 0..3 {
            self.turn();
        }
        self.holdings(what)?;
        let mut account = Account::open(&self.zone);
        if let Some(device) = &self.device {
            device.account(&mut account);
        }
        if let Some(peer) = &mut self.peer {
            peer.account(&mut account);
        }
        self.pools[0].account(&mut account);
        let account = account.close(Users::Gone);
        super::ensure!(account.leaked == 0 && account.conflicts == 0, "{what}: {account:?}");
        Ok(())
    }

    /// Shuts the device down and looks whether it holds anything.
    pub(super) fn stop(&mut self, what: &str) -> Result<(), String> {
        let Some(mut device) = self.device.take() else { return Ok(()) };
        device.shutdown(&mut Homes::new(&mut self.pools));
        let mut account = Account::open(&self.zone);
        device.account(&mut account);
        let (held, in_flight) = (account.close(Users::Alive).held_by_devices, device.in_flight());
        super::ensure!(
            held == 0 && in_flight == 0,
            "{what}: shut down, the device still marks {held} pages and says in_flight {in_flight}"
        );
        Ok(())
    }

    /// Shuts the device down, whatever it says.
    pub(super) fn close(&mut self) {
        if let Some(mut device) = self.device.take() {
            device.shutdown(&mut Homes::new(&mut self.pools));
        }
    }

    /// The end, with nobody left who could hold a page of the pool.
    pub(super) fn end(&mut self, what: &str) -> Result<(), String> {
        self.close();
        self.peer = None;
        let out = self.pools[0].outstanding();
        super::ensure!(out == 0, "{what}: {out} pages of the pool did not come home");
        Ok(())
    }

    /// `bytes` in a page of the pool.
    pub(super) fn packet(&mut self, bytes: &[u8]) -> Option<XdpFrame> {
        packet(&mut self.pools[0], bytes, 0)
    }

    /// How many were dropped for one of `reasons`.
    pub(super) fn dropped(&self, reasons: &[DropReason]) -> u64 {
        reasons.iter().map(|reason| self.drops.get(*reason)).sum()
    }

    /// Whether what it sends can be seen, and what it receives can be chosen.
    pub(super) fn wires(&self) -> (bool, bool) {
        wires(&self.profile)
    }
}

/// Whether what a device sends can be seen, and what it receives can be chosen.
pub(super) fn wires(profile: &Profile) -> (bool, bool) {
    let out = matches!(profile.sends, Sends::Wire | Sends::File);
    (out, matches!(profile.receives, Receives::Wire | Receives::File))
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.close();
    }
}

/// `count` frames from number `first` on, of lengths that a wire like this carries: short and long ones in turn.
pub(super) fn mixed(profile: &Profile, first: u64, count: usize) -> Vec<Vec<u8>> {
    let (shortest, longest) = (profile.shortest.max(HEADER), profile.longest.min(1514));
    let len = |number: u64| shortest + (number as usize * 379) % (longest - shortest + 1);
    (first..first + count as u64).map(|number| pattern::frame(number, len(number))).collect()
}
