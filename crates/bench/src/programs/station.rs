//! A worker between two devices on a thread of its own, which runs when it is told to.

use super::usage::Task;
use crate::programs::xdp::{Verdict, of_the_binary};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use waterwheel_mm::cpu;
use waterwheel_xdp::mm::{Backing, PageAccount, Users};
use waterwheel_xdp::{Account, Worker, WorkerStats, Zone};

/// Rounds between two looks at whether to go on.
const ROUNDS: u32 = 64;

/// What it counted, and where its pages are in the end.
pub(crate) type Outcome = (WorkerStats, PageAccount);

/// The thread.
pub(crate) struct Station {
    /// Its CPU time.
    pub(crate) task: Task,
    /// The memory under it.
    pub(crate) backing: Backing,
    running: Arc<AtomicBool>,
    /// Gone when it is to end.
    go: Option<Sender<()>>,
    rests: Receiver<()>,
    thread: Option<JoinHandle<Outcome>>,
}

impl Station {
    /// Starts the worker that `open` makes, which may be in another network namespace.
    pub(crate) fn start(
        cpu: usize,
        open: impl FnOnce() -> Result<(Zone, Worker), Box<dyn Error>>,
    ) -> Result<Self, String> {
        let (zone, mut worker) = open().map_err(|error| error.to_string())?;
        let backing = zone.region().backing();
        let (go, told) = channel();
        let (tell, heard) = channel();
        let (rest, rests) = channel();
        let running = Arc::new(AtomicBool::new(false));
        let runs = running.clone();
        let thread = thread::spawn(move || {
            let pinned = cpu::pin_to(cpu).map_err(|error| format!("pinning a thread to CPU {cpu}: {error}"));
            let mut here = tell.send(pinned.map(|()| Task::this_thread())).is_ok();
            let mut program = of_the_binary(Verdict::Redirect);
            while here && told.recv().is_ok() {
                while runs.load(Relaxed) {
                    (0..ROUNDS).for_each(|_| _ = worker.poll(program.as_mut()));
                }
                here = rest.send(()).is_ok();
            }
            let stats = worker.close();
            (stats, Account::open(&zone).close(Users::Gone))
        });
        let task = heard.recv().unwrap_or_else(|_| Err("its thread ended".to_owned()))?;
        Ok(Self { task, backing, running, go: Some(go), rests, thread: Some(thread) })
    }

    /// Lets it forward until [`rest`](Self::rest).
    pub(crate) fn forward(&self) {
        self.running.store(true, Relaxed);
        self.go.as_ref().map(|go| go.send(()));
    }

    /// It stands still when this returns.
    pub(crate) fn rest(&self) {
        self.running.store(false, Relaxed);
        let _ = self.rests.recv(); // an error if its thread has ended, which is rest as well
    }

    /// Ends it.
    pub(crate) fn close(mut self) -> Option<Outcome> {
        self.end()
    }

    fn end(&mut self) -> Option<Outcome> {
        self.running.store(false, Relaxed);
        self.go = None;
        self.thread.take()?.join().ok() // a panic of it was reported by itself
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        self.end();
    }
}
