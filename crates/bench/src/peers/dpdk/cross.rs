//! From one CPU to others, and home.

use super::eal::{Eal, ring};
use super::ffi::{BATCH_MAX, Haul, Lcore, Ring};
use super::{Crossing, Load, Object};
use crate::harness::{Clock, Lap};
use crate::peers::Timed;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use waterwheel_mm::cpu;

/// Objects (or numbers) carried to the consumers. The clock runs from the first that is taken to the last that is given back. The calling thread is pinned to `cpu`.
///
/// Every thread is an lcore, so that it has a cache of its own in the pool, as a DPDK program's would. The threads are started for each lap, before the clock.
pub(crate) fn cross(cpu: usize, crossing: Crossing) -> Result<Timed, String> {
    let Crossing { clock, consumers, batch, slots, load } = crossing;
    if consumers.is_empty() || consumers.contains(&cpu) {
        return Err("needs a second CPU".into());
    }
    if batch == 0 || batch > BATCH_MAX || batch >= slots {
        return Err(format!("a batch of {batch} is too large for a ring of {slots}"));
    }
    let (object, what) = match load {
        Load::Numbers(kind) => (Object::Bare, kind.what()),
        Load::Objects(object) => (object, object.what()),
    };
    let pool = Eal::get(cpu)?.pool(object)?;
    let rings: Vec<Ring> = consumers.iter().map(|_| ring(slots, what)).collect::<Result<_, _>>()?;
    Ok(Box::new(move |elements| lap(clock, Haul { pool: &pool, batch, what }, &rings, &consumers, elements)))
}

/// How the threads stand: those who are ready and done count themselves.
#[derive(Default)]
struct Standing {
    ready: AtomicUsize,
    done: AtomicUsize,
    /// One of them could not be started: the others need not wait for anything.
    given_up: AtomicBool,
    /// All of them are there.
    all_there: AtomicBool,
}

pub(super) fn lap(clock: Clock, haul: Haul<'_>, rings: &[Ring], cpus: &[usize], elements: u64) -> Result<Lap, String> {
    let _cache = Lcore::enter();
    let whole = (haul.batch * rings.len()) as u64;
    let each = elements.div_ceil(whole) * haul.batch as u64; // whole batches, the same number to each
    let standing = Standing::default();
    thread::scope(|scope| {
        for (ring, &cpu) in rings.iter().zip(cpus) {
            let standing = &standing;
            let thread = thread::Builder::new();
            if let Err(error) = thread.spawn_scoped(scope, move || consumer(haul, ring, cpu, each, standing)) {
                standing.given_up.store(true, Ordering::Release);
                return Err(format!("a thread could not be started: {error}"));
            }
        }
        wait(&standing.ready, cpus.len());
        standing.all_there.store(true, Ordering::Release);
        let begin = clock.now();
        let targets: Vec<&Ring> = rings.iter().collect();
        haul.produce(&targets, each * rings.len() as u64);
        wait(&standing.done, cpus.len());
        Ok(Lap { ticks: clock.now() - begin, elements: each * rings.len() as u64 })
    })
}

fn consumer(haul: Haul<'_>, ring: &Ring, cpu: usize, total: u64, standing: &Standing) {
    let _ = cpu::pin_to(cpu); // where that is refused the figures are noisy, which shows
    let _cache = Lcore::enter(); // of 128 lcores at most a few are taken; without one it would be slower, not wrong
    standing.ready.fetch_add(1, Ordering::Release);
    while !standing.all_there.load(Ordering::Acquire) {
        if standing.given_up.load(Ordering::Acquire) {
            return;
        }
        std::hint::spin_loop();
    }
    haul.consume(ring, total);
    standing.done.fetch_add(1, Ordering::Release);
}

fn wait(counter: &AtomicUsize, count: usize) {
    while counter.load(Ordering::Acquire) < count {
        std::hint::spin_loop();
    }
}
