//! Devices around devices: tracing, faults and counters cost the loop nothing when they are not there.

/// The methods that a wrapper leaves to the device inside.
macro_rules! delegate {
    ($($method:ident),+ $(,)?) => { $(delegate!(@ $method);)+ };
    (@ name) => { fn name(&self) -> &str { self.inner.name() } };
    (@ capabilities) => { fn capabilities(&self) -> $crate::Capabilities { self.inner.capabilities() } };
    (@ complete) => { fn complete(&mut self, homes: &mut $crate::Homes<'_>) -> usize { self.inner.complete(homes) } };
    (@ tx_room) => { fn tx_room(&mut self) -> usize { self.inner.tx_room() } };
    (@ wait_tx) => { fn wait_tx(&self) -> $crate::Wait { self.inner.wait_tx() } };
    (@ flush) => { fn flush(&mut self) { self.inner.flush(); } };
    (@ wait) => { fn wait(&self) -> $crate::Wait { self.inner.wait() } };
    (@ fds) => {
        fn fds<'a>(&'a self, add: &mut dyn FnMut($crate::BorrowedFd<'a>)) { self.inner.fds(add); }
    };
    (@ health) => { fn health(&mut self) -> $crate::Health { self.inner.health() } };
    (@ mode) => { fn mode(&self) -> String { self.inner.mode() } };
    (@ counters) => { fn counters(&self, count: &mut dyn FnMut(&'static str, u64)) { self.inner.counters(count); } };
    (@ lost) => { fn lost(&self, count: &mut dyn FnMut(&'static str, u64)) { self.inner.lost(count); } };
    (@ unsent) => { fn unsent(&self) -> $crate::Traffic { self.inner.unsent() } };
    (@ in_flight) => { fn in_flight(&self) -> usize { self.inner.in_flight() } };
    (@ account) => { fn account(&self, account: &mut $crate::Account) { self.inner.account(account); } };
    (@ shutdown) => { fn shutdown(&mut self, homes: &mut $crate::Homes<'_>) { self.inner.shutdown(homes); } };
}

pub(crate) use delegate;

mod count;
mod fault;
mod trace;

pub use count::{Count, Counts};
pub use fault::{Fault, FaultParams};
pub use trace::{Heading, Sink, Trace};
