//! Who did what, in few bits, and the report that names them.

use crate::names::{thread, thread_name};
use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::OnceLock;
use std::time::Instant;

/// When something was done to a page, by which thread, and as a page of which owner.
///
/// ```text
/// 63      52 51            32 31                       0
/// +---------+----------------+-------------------------+
/// |  owner  |  thread        |  milliseconds           |
/// +---------+----------------+-------------------------+
/// ```
#[derive(Clone, Copy)]
pub(super) struct Stamp(u64);

const THREAD_SHIFT: u32 = 32;
const OWNER_SHIFT: u32 = 52;
const THREADS: usize = 1 << (OWNER_SHIFT - THREAD_SHIFT);
const _: () = assert!(crate::MAX_OWNERS < 1 << (64 - OWNER_SHIFT));

/// Milliseconds since the first time that it was asked, and one.
fn clock() -> u32 {
    static BEGIN: OnceLock<Instant> = OnceLock::new();
    1 + BEGIN.get_or_init(Instant::now).elapsed().as_millis() as u32
}

impl Stamp {
    /// This thread, now. It is not 0.
    pub(super) fn now(owner: u16) -> u64 {
        u64::from(owner) << OWNER_SHIFT | (thread() as u64) << THREAD_SHIFT | u64::from(clock())
    }

    /// What was kept of [`now`](Self::now); 0 is nothing.
    pub(super) fn of(word: u64) -> Option<Self> {
        (word != 0).then_some(Self(word))
    }

    pub(super) fn owner_name(owner: u16) -> String {
        if owner == 0 { "no owner".to_owned() } else { format!("owner {owner}") }
    }

    fn describe(self) -> String {
        let thread = thread_name((self.0 >> THREAD_SHIFT) as usize % THREADS);
        let ago = clock().wrapping_sub(self.0 as u32);
        match (self.0 >> OWNER_SHIFT) as u16 {
            0 => format!("by {thread}, {ago} ms ago"),
            owner => format!("by {thread}, as a page of {}, {ago} ms ago", Self::owner_name(owner)),
        }
    }
}

/// What is said before the process ends.
pub(super) struct Report(String);

impl Report {
    pub(super) fn new(number: u32, address: *const u8, what: &str) -> Self {
        Self(format!("waterwheel, debug_pages: page {number} (at {address:p}) {what}\n"))
    }

    pub(super) fn text(mut self, name: &str, text: &str) -> Self {
        let _ = writeln!(self.0, "  {name}: {text}");
        self
    }

    pub(super) fn line(self, name: &str, stamp: Option<Stamp>) -> Self {
        match stamp {
            Some(stamp) => self.text(name, &stamp.describe()),
            None => self,
        }
    }

    pub(super) fn now(self, what: &str) -> Self {
        let thread = thread_name(thread());
        self.text("now", &format!("{what}, by {thread}"))
    }

    /// Says it, whatever else is going on, and ends the process. No panic: this may be a drop, in which a panic could be the second one, and going on would be on corrupt memory.
    #[cold]
    pub(super) fn abort(mut self) -> ! {
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            let _ = write!(self.0, "{backtrace}");
        }
        let _ = std::io::stderr().write_all(self.0.as_bytes()); // past what a test harness captures
        std::process::abort()
    }
}
