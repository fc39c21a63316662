//! What a loop does when there is nothing to do.

use std::fmt;
use std::str::FromStr;

/// Idle policy of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Idle {
    /// Poll all the time: lowest latency, a whole CPU.
    Spin,
    /// Poll for [`SPIN_ROUNDS`](Idle::SPIN_ROUNDS) empty rounds, then wait in poll(2) until a device has something.
    #[default]
    Adaptive,
    /// Wait in poll(2) after every empty round.
    Sleep,
}

impl Idle {
    /// Empty rounds before an adaptive loop sleeps. At well below a microsecond each they cost less than going to sleep and waking up.
    pub const SPIN_ROUNDS: u32 = 256;

    /// Whether to sleep after so many empty rounds.
    pub(crate) fn sleeps_after(self, empty_rounds: u32) -> bool {
        match self {
            Idle::Spin => false,
            Idle::Adaptive => empty_rounds >= Self::SPIN_ROUNDS,
            Idle::Sleep => empty_rounds >= 1,
        }
    }
}

/// Not an idle policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown idle policy `{0}`: spin, adaptive or sleep")]
pub struct UnknownIdle(String);

impl FromStr for Idle {
    type Err = UnknownIdle;
    fn from_str(s: &str) -> Result<Self, UnknownIdle> {
        match s {
            "spin" => Ok(Idle::Spin),
            "adaptive" => Ok(Idle::Adaptive),
            "sleep" => Ok(Idle::Sleep),
            _ => Err(UnknownIdle(s.to_owned())),
        }
    }
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Idle::Spin => "spin",
            Idle::Adaptive => "adaptive",
            Idle::Sleep => "sleep",
        })
    }
}
