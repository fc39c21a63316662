//! A network namespace of our own.

use super::sys;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};

/// A network namespace without a name. It goes, and all that was made in it, with this and the last thread or process in it: also when ours is killed.
pub(crate) struct Namespace(File);

impl Namespace {
    pub(crate) fn new() -> Result<Self, String> {
        const OWN: &str = "/proc/thread-self/ns/net";
        on_a_thread(|| {
            sys::leave_network().map_err(|errno| format!("a network namespace (needs CAP_SYS_ADMIN): {errno}"))?;
            File::open(OWN).map(Self).map_err(|error| format!("{OWN}: {error}"))
        })
    }

    /// A path by which other programs find it while this process lives.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Moves the calling thread into it.
    pub(crate) fn enter(&self) -> Result<(), String> {
        move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|errno| format!("entering a network namespace (needs CAP_SYS_ADMIN): {errno}"))
    }

    /// Does `work` in it, on a thread that ends with the work.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
        on_a_thread(|| {
            self.enter()?;
            work()
        })
    }
}

fn on_a_thread<T: Send>(work: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
    let panicked = |_| Err("its thread panicked".to_owned()); // which was reported by itself
    std::thread::scope(|scope| scope.spawn(work).join().unwrap_or_else(panicked))
}
