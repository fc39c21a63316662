//! Names in few bits: threads, and whoever holds pages. A name stays as long as the process, since a history may still have its number.

use crate::sync::{Mutex, global, local, lock};
use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError};

/// Numbers of threads have so many bits. The threads after these are "an unknown thread".
pub(crate) const THREAD_BITS: u32 = 12;

global! {
    // Names of threads, by their numbers; number 0 is no thread. They stay when the threads have ended.
    static THREADS: Mutex<Vec<String>> = Mutex::new(Vec::new());
}
local! {
    // The number of this thread; 0 before it is asked for the first time. It needs no destructor, so it is there as long as the thread is.
    static THREAD: Cell<usize> = Cell::new(0);
}

/// The number of the calling thread.
#[inline]
pub(crate) fn thread() -> usize {
    match THREAD.with(Cell::get) {
        0 => new_thread(),
        known => known,
    }
}

#[cold]
fn new_thread() -> usize {
    let tid = rustix::thread::gettid().as_raw_nonzero();
    let name = match std::thread::current().name() {
        Some(name) => format!("thread \"{name}\" (tid {tid})"),
        None => format!("a thread without a name (tid {tid})"),
    };
    let mut names = lock(&THREADS);
    if names.is_empty() {
        names.push("an unknown thread".to_owned());
    }
    let number = if names.len() < 1 << THREAD_BITS { names.len() } else { 0 };
    if number != 0 {
        names.push(name);
        THREAD.with(|thread| thread.set(number));
    }
    number
}

pub(crate) fn thread_name(number: usize) -> String {
    lock(&THREADS).get(number).cloned().unwrap_or_default()
}

/// Milliseconds, by a clock that is read in a few nanoseconds and moves every few milliseconds. Modulo 2^32: after 49 days it begins anew.
#[inline]
pub(crate) fn coarse_clock() -> u32 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    (now.tv_sec as u32).wrapping_mul(1000).wrapping_add((now.tv_nsec / 1_000_000) as u32)
}

/// Who has a page, as a number of 16 bits: a name that was said once. Copy it into whatever takes and gives pages.
///
/// The names of a process are one table that only grows: name queues and connections by what they are ("socket queue 'tcp:10.0.0.1:80'"), not by a number that
/// never comes again. After 65535 names all further ones are "others".
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Holder(u16);

#[derive(Default)]
struct Holders {
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u16>,
}

/// No model checker looks at it: nothing but names depends on it.
fn holders() -> std::sync::MutexGuard<'static, Holders> {
    static HOLDERS: OnceLock<std::sync::Mutex<Holders>> = OnceLock::new();
    HOLDERS.get_or_init(std::sync::Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

impl Holder {
    /// Whoever it is that has no name.
    pub const NOBODY: Holder = Holder(0);
    const OTHERS: u16 = u16::MAX;

    /// The holder with that name: the same for the same name. Takes a lock and may allocate: call it once, not per page.
    pub fn named(name: &str) -> Self {
        let mut holders = holders();
        if let Some(number) = holders.numbers.get(name) {
            return Self(*number);
        }
        match u16::try_from(holders.names.len() + 1) {
            Ok(number) if number < Self::OTHERS => {
                let name: Arc<str> = name.into();
                holders.names.push(name.clone());
                holders.numbers.insert(name, number);
                Self(number)
            }
            _ => Self(Self::OTHERS),
        }
    }

    /// Its name.
    pub fn name(self) -> Arc<str> {
        match self.0 {
            0 => "nobody".into(),
            Self::OTHERS => "others".into(),
            number => holders().names.get(usize::from(number) - 1).cloned().unwrap_or_else(|| "nobody".into()),
        }
    }

    pub(crate) fn number(self) -> u16 {
        self.0
    }

    pub(crate) fn of_number(number: u16) -> Self {
        Self(number)
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Holder({:?})", self.name())
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}
