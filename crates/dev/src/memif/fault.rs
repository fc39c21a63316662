//! Why a connection ends.

use std::borrow::Cow;
use std::fmt;

use rustix::io::Errno;

/// Why a connection ends. What it says is for the peer, too: it is the reason in [`Disconnect`](super::message::Message::Disconnect).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The peer closed its end of the socket.
    Closed,
    /// The peer said good-bye, and why.
    Said(String),
    /// A message that makes no sense, or not now.
    Protocol(Cow<'static, str>),
    /// An index of a ring that cannot be.
    Index,
    /// A descriptor that leads out of the memory.
    Descriptor,
    /// It did not answer in time.
    Silent,
    /// The kernel refused something.
    System(Errno),
    /// The device is closed here.
    Shutdown,
}

impl Fault {
    pub(super) fn protocol(what: impl Into<Cow<'static, str>>) -> Self {
        Self::Protocol(what.into())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the peer closed its socket"),
            Self::Said(why) => write!(f, "the peer disconnected: {why}"),
            Self::Protocol(what) => f.write_str(what),
            Self::Index => f.write_str("ring index out of bounds"),
            Self::Descriptor => f.write_str("descriptor out of bounds"),
            Self::Silent => f.write_str("no answer in time"),
            Self::System(errno) => write!(f, "{errno}"),
            Self::Shutdown => f.write_str("interface closed"),
        }
    }
}
