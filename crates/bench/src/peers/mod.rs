//! The peers: other people's code doing the same work in the same run.

mod child;
pub(crate) mod kernel;
pub(crate) mod testpmd;

/// Why a peer that is a program was not started.
const NOT_ASKED: &str = "a peer that is a program: start with --peers";
