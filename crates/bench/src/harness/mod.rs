//! How figures are taken: the clock, turn-by-turn measuring, the facts of the machine.

pub(crate) mod carry;
mod clock;
pub(crate) mod crew;
mod group;
mod machine;
mod program;
pub(crate) mod session;
pub(crate) mod steps;
pub(crate) mod store;
mod summary;

pub(crate) use clock::Clock;
pub use group::Group;
pub(crate) use group::Lap;
pub(crate) use program::select;
pub use program::{Case, Program, UnknownName};
pub use session::{Interrupted, Options, Session};
pub(crate) use summary::{Summary, quantile};

/// A number of things in words: `1 CPU`, `2 CPUs`.
pub(crate) fn number(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}
