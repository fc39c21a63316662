//! Just enough netlink: one request, its answers, their attributes (`include/uapi/linux/netlink.h`).

use std::os::fd::OwnedFd;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

pub(super) const REQUEST: u16 = 1;
pub(super) const ACK: u16 = 4;
pub(super) const DUMP: u16 = 0x300;

/// The protocol of interfaces, addresses and routes: 0, the one a netlink socket has by default.
pub(super) const ROUTE: Option<Protocol> = None;

const HEADER: usize = 16;
const MSG_ERROR: u16 = 2;
const MSG_DONE: u16 = 3;

/// A netlink socket in the calling thread's network namespace.
#[derive(Debug)]
pub(super) struct Netlink {
    fd: OwnedFd,
    seq: u32,
}

impl Netlink {
    pub(super) fn open(protocol: Option<Protocol>) -> Result<Self, Errno> {
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        Ok(Self { fd, seq: 0 })
    }

    /// Sends one message and shows `each` the payload of every answer, until the kernel says that this was all.
    pub(super) fn request(
        &mut self,
        kind: u16,
        flags: u16,
        payload: &[u8],
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), Errno> {
        self.seq += 1;
        let mut message = Vec::with_capacity(HEADER + payload.len());
        message.extend((HEADER as u32 + payload.len() as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((REQUEST | flags).to_ne_bytes());
        message.extend(self.seq.to_ne_bytes());
        message.extend(0u32.to_ne_bytes());
        message.extend(payload);
        retry_on_intr(|| send(&self.fd, &message, SendFlags::empty()))?;

        let mut buffer = vec![0; 1 << 16];
        loop {
            let (len, _) = retry_on_intr(|| recv(&self.fd, &mut buffer[..], RecvFlags::empty()))?;
            let mut rest = &buffer[..len];
            while rest.len() >= HEADER {
                let size = u32_at(rest, 0) as usize;
                if size < HEADER || size > rest.len() {
                    return Err(Errno::PROTO);
                }
                let (kind, seq, body) = (u16_at(rest, 4), u32_at(rest, 8), &rest[HEADER..size]);
                rest = &rest[size.next_multiple_of(4).min(rest.len())..];
                match kind {
                    _ if seq != self.seq => {}
                    MSG_DONE => return Ok(()),
                    MSG_ERROR => {
                        return match u32_at(body, 0) as i32 {
                            0 => Ok(()),
                            errno => Err(Errno::from_raw_os_error(-errno)),
                        };
                    }
                    _ => each(body),
                }
            }
        }
    }
}

/// Appends an attribute.
pub(super) fn put(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend((4 + value.len() as u16).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

/// The attributes in a message: kind (without the flag bits) and value. What is cut short ends the list.
pub(super) struct Attrs<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Attrs<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let size = if self.0.len() < 4 { 0 } else { u16_at(self.0, 0) as usize };
        if size < 4 || size > self.0.len() {
            return None;
        }
        let attr = (u16_at(self.0, 2) & 0x3fff, &self.0[4..size]);
        self.0 = &self.0[size.next_multiple_of(4).min(self.0.len())..];
        Some(attr)
    }
}

/// A number at a byte offset; 0 where the message is too short for it.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_ne_bytes)
}

/// A number at a byte offset; 0 where the message is too short for it.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

/// A name that ends with a zero byte.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}
