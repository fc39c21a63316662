//! The ring alone: constant words.

use super::crossing;
use super::sides::{Sides, Which};
use crate::event::Side;
use crate::harness::carry::{End, In as _, Out as _, Sink, Source, whole};
use crate::harness::{Case, Group, Interrupted};
use crate::peers::dpdk::{self, Crossing, Load, RingKind};
use crate::programs::rings::{Kind, each_ring};
use std::hint::black_box;

/// Slots of the ring, and how many are filled at first (`page_bench05`: 64000 and 16000).
const SLOTS: usize = 65536;
const PREFILL: u64 = 16000;
/// Slots of the rings on one thread.
const SMALL: usize = 1024;

/// The same word again and again. Many of them are copied, with no look at each: so the time is the ring's, as in the loops around `rte_ring`.
pub(super) struct Constant;

const WORDS: [usize; 64] = [0x1000; 64];

impl Source<usize> for Constant {
    #[inline]
    fn one(&mut self) -> Option<usize> {
        Some(black_box(0x1000))
    }

    #[inline]
    fn many(&mut self, out: &mut Vec<usize>, count: usize) {
        out.extend_from_slice(&black_box(&WORDS)[..count.min(WORDS.len())]);
    }
}

/// Looks at it and forgets it.
pub(super) struct Ignore;

impl Sink<usize> for Ignore {
    #[inline]
    fn one(&mut self, value: usize) {
        black_box(value);
    }

    #[inline]
    fn many(&mut self, values: &mut Vec<usize>) {
        black_box(&mut *values).clear();
    }
}

/// Each side's own time, and the time of both.
pub(super) fn cases(batch: usize) -> Vec<Case> {
    let side = |which: Which| {
        let (name, series) = (format!("ring, {}, batch {batch}", which.name()), "ring across CPUs, one side");
        crossing(name, series, batch, move |group, cpus| one_side(group, cpus, batch, which))
    };
    let name = format!("ring, both, batch {batch}");
    let both = crossing(name, "ring across CPUs", batch, move |group, cpus| both_sides(group, cpus, batch));
    Which::BOTH.map(side).into_iter().chain([both]).collect()
}

fn one_side(group: &mut Group<'_, '_>, cpus: [usize; 2], batch: usize, which: Which) -> Result<(), Interrupted> {
    each_ring!(add_side(group, cpus, batch, which));
    group.measure()
}

fn add_side<K: Kind>(group: &mut Group<'_, '_>, cpus: [usize; 2], batch: usize, which: Which) {
    let (put, take) = K::ends(SLOTS);
    let mut sides = Sides {
        clock: group.clock(),
        producer: End::new(cpus[0], put, Constant, batch),
        consumer: End::new(cpus[1], take, Ignore, batch),
        prefill: PREFILL,
        round: SLOTS as u64,
        batch,
    };
    let work = format!("one word; {}; {SLOTS} slots, {PREFILL} words in it at first", K::calls(batch));
    group.fallible(K::SIDE, K::NAME, work, move |count| sides.run(which, count));
}

fn both_sides(group: &mut Group<'_, '_>, cpus: [usize; 2], batch: usize) -> Result<(), Interrupted> {
    each_ring!(add_both(group, cpus, batch));
    let kind = RingKind { many: false, words: false };
    let (clock, consumers) = (group.clock(), vec![cpus[1]]);
    let crossing = Crossing { clock, consumers, batch, slots: SMALL, load: Load::Numbers(kind) };
    let text = format!("one word from CPU to CPU; bursts of {batch}; {SMALL} slots, waits where full or empty");
    dpdk_crossing(group, cpus[0], "rte_ring SP/SC", text, crossing);
    group.measure()
}

fn add_both<K: Kind>(group: &mut Group<'_, '_>, cpus: [usize; 2], batch: usize) {
    let (put, take) = K::ends(SMALL);
    let (mut producer, mut consumer) =
        ([End::new(cpus[0], put, Constant, batch)], [End::new(cpus[1], take, Ignore, batch)]);
    let calls = K::calls(batch);
    let work = format!("one word from CPU to CPU; {calls}; {SMALL} slots, waits where full or empty");
    let clock = group.clock();
    group.fallible(K::SIDE, K::NAME, work, move |count| whole(clock, &mut producer, &mut consumer, count, batch));
}

/// Adds DPDK's row, or says why there is none.
pub(super) fn dpdk_crossing(group: &mut Group<'_, '_>, cpu: usize, name: &str, work: String, crossing: Crossing) {
    match dpdk::cross(cpu, crossing) {
        Ok(body) => group.fallible(Side::Peer, name, format!("{work} ({})", dpdk::version()), body),
        Err(why) => group.absent(name, why),
    }
}

/// In and out on one thread: what the instructions cost when no line travels.
pub(super) fn one_thread(batch: usize) -> Case {
    Case::new(format!("ring, one thread, batch {batch}"), "ring on one thread", batch as u32, move |group| {
        each_ring!(add_one_thread(group, batch));
        dpdk_one_thread(group, "rte_ring SP/SC", RingKind { many: false, words: false }, batch);
        group.measure()
    })
}

pub(super) fn add_one_thread<K: Kind>(group: &mut Group<'_, '_>, batch: usize) {
    let (mut put, mut take) = K::ends(SMALL);
    let work = format!("one word in and out again; {}", K::calls(batch));
    let mut words = vec![0x1000usize; batch];
    let body = move |loops| {
        for _ in 0..loops {
            if batch == 1 {
                let _ = black_box(&mut put).put(black_box(0x1000));
                black_box(black_box(&mut take).take());
            } else {
                black_box(&mut put).put_batch(black_box(&mut words));
                black_box(&mut take).take_batch(&mut words, batch);
            }
        }
    };
    group.looped(K::SIDE, K::NAME.to_owned(), work, batch as u64, body);
}

pub(super) fn dpdk_one_thread(group: &mut Group<'_, '_>, name: &str, kind: RingKind, batch: usize) {
    let cpu = group.session().cpus().first().copied().unwrap_or(0);
    match dpdk::ring_loop(cpu, kind, batch, SMALL) {
        Ok(body) => {
            let work = format!("one word in and out again, bursts of {batch} ({})", dpdk::version());
            group.peer(name, work, batch as u64, body);
        }
        Err(why) => group.absent(name, why),
    }
}
