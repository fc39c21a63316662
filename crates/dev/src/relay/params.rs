//! What a relay is made of.

use std::net::SocketAddr;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use rustix::io::Errno;

use crate::error::{DevError, ErrorClass};
use crate::uring::{Send, Without};

/// Parameters of a [`Relay`](super::Relay). Blocks are the pages that packets lie in: `4096 << order` bytes.
#[derive(Debug, Clone)]
pub struct RelayParams {
    /// Where to accept connections.
    pub listen: SocketAddr,
    /// Where to connect for each of them; [`Relay::connect_to`](super::Relay::connect_to) says otherwise later.
    pub connect: SocketAddr,
    /// Who is told of every connection that has ended; `None` costs nothing.
    pub log: Option<Log>,
    /// Threads, each with a ring and a pool of its own.
    pub workers: usize,
    /// Connections at a time, of all workers together; more wait in the listen queue.
    pub max_connections: usize,
    /// Order of the blocks: 2 is 16 KiB.
    pub order: u8,
    /// Blocks that each direction of a connection may hold, when there are plenty: it then stops receiving, and may have received some more by that time (up to 64 blocks of each worker,
    /// all connections together, when many bytes come at once).
    pub cap: usize,
    /// Blocks that each worker's pool keeps at home, at most; `None`: all that it ever had. Fewer go back to the zone, as in pools that are not sized to their limit.
    pub high: Option<usize>,
    /// How to send.
    pub send: Send,
    /// Connections on which nothing moves for so long are reset.
    pub idle_timeout: Option<Duration>,
    /// How long what is under way may take at the end.
    pub drain: Duration,
    /// Features of io_uring to do without.
    pub without: Without,
}

/// Takes word of connections that have ended. Nothing waits for whoever reads it: what does not fit into the channel is [counted](super::RelayStats::unlogged).
pub type Log = SyncSender<Ended>;

/// A connection that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended {
    /// Who had connected.
    pub client: SocketAddr,
    /// What it was connected to, or should have been.
    pub server: SocketAddr,
    /// Bytes from the client that the server has acknowledged.
    pub bytes_up: u64,
    /// Bytes from the server that the client has acknowledged.
    pub bytes_down: u64,
    /// From its being accepted to its end.
    pub duration: Duration,
    /// Why it ended.
    pub end: End,
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// Both sides had said all they had to say.
    Finished,
    /// The server could not be connected to: the error's number, as of [`std::io::Error::from_raw_os_error`].
    ConnectFailed(i32),
    /// The client reset it, or was lost.
    ResetByClient,
    /// The server reset it, or was lost.
    ResetByServer,
    /// Nothing moved for too long.
    IdleTimeout,
    /// The relay ended.
    Stopped,
}

impl End {
    /// A stable name, for logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::ConnectFailed(_) => "connect_failed",
            Self::ResetByClient => "reset_by_client",
            Self::ResetByServer => "reset_by_server",
            Self::IdleTimeout => "idle_timeout",
            Self::Stopped => "stopped",
        }
    }

    /// Why a connection could not be made, in words.
    pub fn reason(self) -> Option<String> {
        let Self::ConnectFailed(error) = self else { return None };
        Some(match Errno::from_raw_os_error(error) {
            Errno::CONNREFUSED => "refused: nobody listens there".to_owned(),
            Errno::TIMEDOUT => "timed out: nobody answers".to_owned(),
            Errno::HOSTUNREACH | Errno::NETUNREACH => "unreachable: there is no way there".to_owned(),
            error => error.to_string(),
        })
    }
}

/// Blocks that wait for what is received, of each worker: at least, and at most, when many connections receive at once.
pub(super) const FILL_MIN: usize = 16;
pub(super) const FILL_MAX: usize = 64;
/// Blocks of each worker that connections which are busy may hold, up to their caps, where memory is not what is short.
const BUSY: usize = 2048;

impl RelayParams {
    /// A relay from `listen` to `connect`, the rest by default: one worker, 1024 connections, blocks of 16 KiB.
    pub fn new(listen: SocketAddr, connect: SocketAddr) -> Self {
        Self {
            listen,
            connect,
            log: None,
            workers: 1,
            max_connections: 1024,
            order: 2,
            cap: 16,
            high: None,
            send: Send::Auto,
            idle_timeout: None,
            drain: Duration::from_secs(1),
            without: Without::default(),
        }
    }

    /// Blocks of one worker with which no connection, stalled or not, keeps another from moving: one for each direction of each connection.
    pub(super) fn reserve(&self) -> usize {
        self.max_connections.div_ceil(self.workers.max(1)).saturating_mul(2)
    }

    /// The reserve, and those that wait in the ring or may be held beyond one for each.
    fn blocks_needed(&self) -> usize {
        self.reserve().saturating_add(4 * FILL_MAX)
    }

    /// Pages of so many blocks for each worker. As many as there are numbers where these do not suffice: what cannot be is refused by [`check`](Self::check), and can be asked about before.
    fn pages_of(&self, blocks: usize) -> usize {
        let block = 1_usize.checked_shl(self.order.into()).unwrap_or(usize::MAX);
        self.workers.saturating_mul(blocks).saturating_mul(block)
    }

    /// Pages of 4 KiB that the zone must have.
    pub fn pages_needed(&self) -> usize {
        self.pages_of(self.blocks_needed())
    }

    /// Pages of 4 KiB with which many connections can be busy at a time.
    pub fn pages_wanted(&self) -> usize {
        self.pages_needed().saturating_add(self.pages_of(BUSY))
    }

    /// Connections that `pages` pages of 4 KiB suffice for.
    pub fn connections_for(&self, pages: usize) -> usize {
        let (blocks, workers) = (pages.checked_shr(self.order.into()).unwrap_or(0), self.workers.max(1));
        (blocks / workers).saturating_sub(4 * FILL_MAX) / 2 * workers
    }

    /// # Errors
    /// A number is out of its range.
    pub fn check(&self) -> Result<(), DevError> {
        let config = |message: String| Err(DevError::new(ErrorClass::Config, message));
        match () {
            () if !(1..=64).contains(&self.workers) => config(format!("{} workers: use 1 to 64", self.workers)),
            () if !(1..=1_000_000).contains(&self.max_connections) => {
                config(format!("{} connections: use 1 to 1 000 000", self.max_connections))
            }
            () if self.cap == 0 => config("a cap of 0 blocks: nothing could be received, use 1 or more".to_owned()),
            () if self.order > 6 => config(format!("blocks of order {}: use 0 to 6 (4 KiB to 256 KiB)", self.order)),
            () => Ok(()),
        }
    }
}
