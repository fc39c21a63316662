//! Many producers, one consumer.

use super::ring::{Constant, Ignore, dpdk_crossing, dpdk_one_thread};
use super::{crossing, ring};
use crate::event::Side;
use crate::harness::carry::{End, whole};
use crate::harness::crew;
use crate::harness::{Case, Group, Interrupted, number};
use crate::peers::dpdk::{Crossing, Load, RingKind};
use crate::programs::rings::{Lanes, PtrRing};
use waterwheel_mm::ptr_ring;

const BATCH: usize = 32;
/// Slots of a ring.
const SLOTS: usize = 1024;
const MANY: RingKind = RingKind { many: true, words: false };

/// On one thread; then with as many producers as there are CPUs beside the consumer's: 1, 2, 4 ...
pub(super) fn cases() -> Vec<Case> {
    let alone = Case::new("mpsc, one thread, bulk 32", "mpsc on one thread", BATCH as u32, |group| {
        ring::add_one_thread::<PtrRing>(group, BATCH);
        #[cfg(feature = "peers")]
        ring::add_one_thread::<crate::programs::rings::peers::Crossbeam>(group, BATCH);
        #[cfg(not(feature = "peers"))]
        group.absent("crossbeam ArrayQueue", "built without the feature peers");
        dpdk_one_thread(group, "rte_ring MP/SC", MANY, BATCH);
        group.measure()
    });
    let most = waterwheel_mm::cpu::allowed_cpus().len().saturating_sub(1).max(1);
    let numbers = std::iter::successors(Some(1), |n| Some(n * 2)).take_while(move |n| *n <= most);
    let case = |producers: usize| {
        let name = format!("mpsc, {}, bulk {BATCH}", number(producers, "producer"));
        crossing(name, "mpsc across CPUs", producers, move |group, cpus| measure(group, cpus, producers))
    };
    std::iter::once(alone).chain(numbers.map(case)).collect()
}

fn measure(group: &mut Group<'_, '_>, [consumer, _]: [usize; 2], producers: usize) -> Result<(), Interrupted> {
    let cpus: Vec<usize> = group.session().cpus().iter().copied().skip(1).take(producers).collect();
    if let Some(why) = crew::cannot_run(&cpus) {
        group.absent("all", why);
        return Ok(());
    }
    let (clock, waits) = (group.clock(), "waits where full or empty");
    let (puts, takes): (Vec<_>, Vec<_>) = cpus.iter().map(|_| ptr_ring(SLOTS)).unzip();
    let end = |(cpu, put)| End::new(cpu, put, Constant, BATCH);
    let mut from: Vec<_> = cpus.iter().copied().zip(puts).map(end).collect();
    let mut to = [End::new(consumer, Lanes(takes), Ignore, BATCH)];
    let work = format!("one word; a ptr_ring of {SLOTS} slots for each producer, drained in turn; {waits}");
    group.fallible(Side::Ours, "ptr_ring each", work, move |count| whole(clock, &mut from, &mut to, count, BATCH));
    crossbeam(group, &cpus, consumer);
    if producers == 1 {
        let crossing =
            Crossing { clock, consumers: vec![cpus[0]], batch: BATCH, slots: SLOTS, load: Load::Numbers(MANY) };
        let work = format!("one word; one ring of {SLOTS} slots, bursts of {BATCH}; {waits}");
        dpdk_crossing(group, consumer, "rte_ring MP/SC, one producer", work, crossing);
    } else {
        group.absent("rte_ring MP/SC, one producer", "this peer's loop has one producer");
    }
    group.measure()
}

#[cfg(feature = "peers")]
fn crossbeam(group: &mut Group<'_, '_>, cpus: &[usize], consumer: usize) {
    use crate::programs::rings::peers::Queue;
    let queue = std::sync::Arc::new(crossbeam_queue::ArrayQueue::new(SLOTS));
    let end = |cpu: &usize| End::new(*cpu, Queue(queue.clone()), Constant, BATCH);
    let mut from: Vec<_> = cpus.iter().map(end).collect();
    let mut to = [End::new(consumer, Queue(queue.clone()), Ignore, BATCH)];
    let clock = group.clock();
    let work = format!(
        "one word; one queue of {SLOTS} slots, push and pop of each: it has no batches; waits where full or empty"
    );
    let name = "crossbeam ArrayQueue";
    group.fallible(Side::Peer, name, work, move |count| whole(clock, &mut from, &mut to, count, BATCH));
}

#[cfg(not(feature = "peers"))]
fn crossbeam(group: &mut Group<'_, '_>, _cpus: &[usize], _consumer: usize) {
    group.absent("crossbeam ArrayQueue", "built without the feature peers");
}
