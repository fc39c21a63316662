//! Where what a peer has sent comes to its end: on threads of their own, which nobody waits for.
//!
//! Who sends a file decides what its last close does. A socket that lingers makes it wait until somebody far away has read everything; a file system in user space, until a program answers;
//! and taking down gigabytes of memory takes its time, too. So no thread that moves packets, and none that has a lock, closes such a file ([`Foreign`]), a socket in whose queue such files may be,
//! or unmaps such memory: it is moved here.
//!
//! One of these threads always waits for something to close; when it gets it, it leaves another one in its place. So a close that never ends holds one thread, and nothing else. Their number has an
//! end: while [`MOST`] things are being closed, nobody is let in that might bring more ([`has_room`]).

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use super::listener::lock;

/// So many things are being closed while clients are let in. Each connection that there is may add a few.
pub(super) const MOST: usize = 64;
/// Such a thread does nothing but return from its call.
const STACK: usize = 128 << 10;

/// Anything, whose drop is what it is here for.
trait Load: Send {}
impl<T: Send> Load for T {}

static QUEUE: Mutex<Queue> = Mutex::new(Queue { loads: VecDeque::new(), threads: 0, idle: 0 });
static NEWS: Condvar = Condvar::new();
/// What is not closed yet, in the queue or under way.
static OPEN: AtomicUsize = AtomicUsize::new(0);

struct Queue {
    loads: VecDeque<Box<dyn Load>>,
    threads: usize,
    /// Threads that wait for a load.
    idle: usize,
}

/// Makes the first thread. Before there is anything to close, on a thread that may wait: those that follow are children of this one, and so run where it may, and not on a CPU that belongs to
/// a worker.
///
/// # Errors
/// There can be no more threads.
pub(super) fn start() -> std::io::Result<()> {
    let mut queue = lock(&QUEUE);
    if queue.threads > 0 {
        return Ok(());
    }
    queue.threads = 1;
    drop(queue);
    spawn()
}

/// A thread that was counted already. Nobody has the lock meanwhile.
fn spawn() -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name("ww-memif-close".to_owned()).stack_size(STACK).spawn(run);
    thread.map(drop).inspect_err(|_| lock(&QUEUE).threads -= 1)
}

/// Drops `what`, elsewhere. Never waits.
pub(super) fn later(what: impl Send + 'static) {
    if cfg!(fuzzing) {
        return drop(what); // a fuzzer has its own files only, and opens more in a second than other threads close
    }
    OPEN.fetch_add(1, Ordering::Relaxed);
    lock(&QUEUE).loads.push_back(Box::new(what));
    NEWS.notify_one();
}

/// Whether somebody may be let in who might bring more to close.
pub(super) fn has_room() -> bool {
    open() < MOST
}

/// How much is being closed now.
pub(super) fn open() -> usize {
    OPEN.load(Ordering::Relaxed)
}

fn run() {
    let mut queue = lock(&QUEUE);
    loop {
        let Some(load) = queue.loads.pop_front() else {
            if queue.idle > 0 {
                queue.threads -= 1;
                return; // one is enough
            }
            queue.idle += 1;
            queue = NEWS.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
            continue;
        };
        let alone = queue.idle == 0;
        queue.threads += usize::from(alone);
        drop(queue);
        if alone {
            let _ = spawn(); // where there can be no more threads, the rest waits for this one
        }
        drop(load);
        OPEN.fetch_sub(1, Ordering::Relaxed);
        queue = lock(&QUEUE);
    }
}

/// A file that a peer has, or had, too: it may be anything, and it is closed on a thread of its own.
#[derive(Debug)]
pub struct Foreign(Option<OwnedFd>); // nothing only in the midst of a drop

impl From<OwnedFd> for Foreign {
    fn from(file: OwnedFd) -> Self {
        Self(Some(file))
    }
}

impl Foreign {
    /// Takes the file out, for who closes it elsewhere in another way.
    pub(super) fn take(&mut self) -> Option<OwnedFd> {
        self.0.take()
    }
}

impl AsFd for Foreign {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Some(file) => file.as_fd(),
            None => unreachable!("it is there until its drop"),
        }
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        if let Some(file) = self.take() {
            later(file);
        }
    }
}
