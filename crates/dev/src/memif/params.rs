//! What a memif is opened with.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::message::{NAME_SIZE, SECRET_SIZE};
use super::trust::Trust;
use crate::error::{DevError, ErrorClass};

/// Most queues of one interface, each a ring in either direction.
pub const MAX_QUEUES: u16 = 16;
/// log2 of the most slots of a ring.
pub const MAX_LOG2_SLOTS: u8 = 14;
/// Longest path of a socket (`sun_path` of unix(7), without its final zero).
const LONGEST_PATH: usize = 107;

/// Which side of the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Connects, and brings the memory.
    Client,
    /// Listens, and uses the memory that the client brings.
    Server,
}

/// How a loop that has nothing to do learns of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wakeup {
    /// The peer wakes it, by an eventfd, when it sleeps.
    Interrupt,
    /// It looks all the time.
    Poll,
}

/// Parameters of a [`Memif`](super::Memif).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemifParams {
    /// The path of the socket. A server makes it, and removes it in the end. `@name` is a socket without a file, in the abstract namespace of unix(7): what DPDK and libmemif use
    /// by default. It has no owner and no mode: a secret keeps others out.
    pub socket: PathBuf,
    /// Client or server.
    pub role: Role,
    /// The interface behind the socket: one socket serves several.
    pub id: u32,
    /// Queues, each a ring in either direction: 1 to [`MAX_QUEUES`]. A server takes up to so many from its client; a client opens so many, or as many as its server takes.
    pub queues: u16,
    /// Slots of each ring that a client makes, a power of two, 2 to 16384. Each has a buffer of 2 KiB.
    pub ring: u32,
    /// How a loop learns of packets.
    pub wakeup: Wakeup,
    /// What both sides must know, at most 24 bytes; empty for none.
    pub secret: String,
    /// The peer is trusted: nothing is copied.
    pub trust: Option<Trust>,
}

impl MemifParams {
    /// A client of the socket: interface 0, one queue, rings of 1024 slots, interrupts, no secret, no trust.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
            role: Role::Client,
            id: 0,
            queues: 1,
            ring: 1024,
            wakeup: Wakeup::Interrupt,
            secret: String::new(),
            trust: None,
        }
    }

    /// The same, as server.
    #[must_use]
    pub fn server(self) -> Self {
        Self { role: Role::Server, ..self }
    }

    /// # Errors
    /// Usage: a value out of its range.
    pub(crate) fn check(&self) -> Result<(), DevError> {
        let wrong = |message: String| Err(DevError::new(ErrorClass::Usage, message));
        if self.queues == 0 || self.queues > MAX_QUEUES {
            return wrong(format!("queues={}: want 1 to {MAX_QUEUES}", self.queues));
        }
        if !self.ring.is_power_of_two() || !(2..=1 << MAX_LOG2_SLOTS).contains(&self.ring) {
            return wrong(format!("ring={}: want a power of two from 2 to {}", self.ring, 1 << MAX_LOG2_SLOTS));
        }
        if self.secret.len() > SECRET_SIZE {
            return wrong(format!("the secret has {} bytes, {SECRET_SIZE} is the most", self.secret.len()));
        }
        let path = self.socket.as_os_str();
        if path.is_empty() || path.len() > LONGEST_PATH {
            return wrong(format!("the path of a socket has 1 to {LONGEST_PATH} bytes, not {}", path.len()));
        }
        if self.abstract_name().is_some_and(<[u8]>::is_empty) {
            return wrong("an abstract socket has a name behind its '@'".to_owned());
        }
        Ok(())
    }

    /// The name of a socket that has no file.
    pub(super) fn abstract_name(&self) -> Option<&[u8]> {
        abstract_name(&self.socket)
    }

    /// How the interface is called.
    pub(super) fn name(&self) -> String {
        format!("memif:{}{}", self.socket.display(), self.id_key())
    }

    /// How it is called to peers: messages have room for so little that the folder stays away, and the id never does.
    pub(super) fn short_name(&self) -> String {
        let id = self.id_key();
        let mut name = format!("memif:{}", Path::new(self.socket.file_name().unwrap_or_default()).display());
        while name.len() + id.len() >= NAME_SIZE {
            name.pop();
        }
        name + &id
    }

    fn id_key(&self) -> String {
        if self.id == 0 { String::new() } else { format!(",id={}", self.id) }
    }

    /// The secret as it is sent.
    pub(super) fn secret_bytes(&self) -> [u8; SECRET_SIZE] {
        let mut bytes = [0; SECRET_SIZE];
        let length = self.secret.len().min(SECRET_SIZE);
        bytes[..length].copy_from_slice(&self.secret.as_bytes()[..length]);
        bytes
    }

    pub(super) fn log2_slots(&self) -> u8 {
        self.ring.trailing_zeros() as u8
    }
}

/// What follows the `@` of a socket that has no file.
pub(super) fn abstract_name(socket: &Path) -> Option<&[u8]> {
    socket.as_os_str().as_bytes().strip_prefix(b"@")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_tell_interfaces_apart_however_long_the_path_is() {
        let name = |socket: &str, id| MemifParams { id, ..MemifParams::new(socket) }.short_name();
        assert_eq!(name("/run/memif.sock", 0), "memif:memif.sock");
        assert_eq!(name("@/run/memif.sock", 7), "memif:memif.sock,id=7");
        let long = "/tmp/a-folder/and-a-name-that-is-longer-than-there-is-room-for.sock";
        assert_eq!(name(long, u32::MAX), "memif:and-a-name-,id=4294967295");
        assert_eq!(name(&"é".repeat(30), 12), format!("memif:{},id=12", "é".repeat(9)), "no half of a character");
        assert_eq!(name("..", 1), "memif:,id=1");
    }
}
