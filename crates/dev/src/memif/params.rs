//! What a memif is opened with.

use std::path::{Path, PathBuf};

use super::message::SECRET_SIZE;
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
    /// The path of the socket. A server makes it, and removes it in the end.
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
        Ok(())
    }

    /// How the interface is called.
    pub(super) fn name(&self) -> String {
        let id = if self.id == 0 { String::new() } else { format!(",id={}", self.id) };
        format!("memif:{}{id}", Path::new(&self.socket).display())
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
