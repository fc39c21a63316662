//! `xdp_drop`, `xdp_tx`, `xdp_redirect`: packets through the loop of the binary, between devices in memory.

mod bed;
mod deciders;

use crate::event::Side;
use crate::harness::{Case, Group, Interrupted, Program};
use crate::peers::{kernel, testpmd};
use bed::{Bed, Source};
use deciders::Decider;
use std::cell::RefCell;
use std::rc::Rc;
use waterwheel_xdp::mm::Backing;

pub(crate) use bed::SIZE;
pub(crate) use deciders::Verdict;

/// Smallest packets at 10 Gbit/s follow each other in so many nanoseconds (the talk).
const LINE: f64 = 67.2;
/// Packets per port and round of the cases that compare programs: the kernel's NAPI budget, and the binary's.
const BUDGET: usize = 64;

/// One of the three.
#[derive(Clone, Copy)]
struct Walk {
    name: &'static str,
    about: &'static str,
    verdict: Verdict,
    /// What becomes of a packet.
    fate: &'static str,
}

pub(crate) fn drop_program() -> Program {
    program(Walk {
        name: "xdp_drop",
        about: "packets from a memory device, dropped by a program",
        verdict: Verdict::Drop,
        fate: "dropped: its page is back in the pool in the same round",
    })
}

pub(crate) fn tx_program() -> Program {
    program(Walk {
        name: "xdp_tx",
        about: "packets from a memory device, sent back out of it with their Ethernet addresses swapped",
        verdict: Verdict::Tx,
        fate: "sent out of the device it came from; its page comes home when it completes, in the next round",
    })
}

pub(crate) fn redirect_program() -> Program {
    program(Walk {
        name: "xdp_redirect",
        about: "packets from two memory devices, each sent out of the other one",
        verdict: Verdict::Redirect,
        fate: "sent out of the other device, the page itself; it comes home when it completes, in the next round",
    })
}

fn program(walk: Walk) -> Program {
    let sizes = (0..=8).map(|power| 1 << power);
    let batch = |n: usize| Case::new(format!("batch {n}"), "batch", n as u32, move |group| by_batch(group, walk, n));
    let mut cases: Vec<Case> = sizes.map(batch).collect();
    for (x, decider) in (0u32..).zip(Decider::ALL) {
        cases.push(Case::new(decider.name(), "program", x, move |group| by_decider(group, walk, decider)));
    }
    Program {
        name: walk.name,
        about: walk.about,
        answers: "slides \"XDP_DROP\", \"67.2 ns\" (10 Gbit/s of smallest packets); the kernel's samples xdp1, xdp2, xdp_redirect; dpdk-testpmd over net_null",
        notes: vec![
            "one CPU; the loop, devices, pools and counters of the binary (xdp/poll.rs), whose own counters say how many packets there were; nothing is subtracted. null:size=64 \
             gives pages that nobody writes, as DPDK's net_null and the kernel's live frames do, and is what the peers are compared with; gen: writes every packet",
        ],
        cases,
    }
}

/// The program that the binary runs, by budget.
fn by_batch(group: &mut Group<'_, '_>, walk: Walk, budget: usize) -> Result<(), Interrupted> {
    let program = || deciders::of_the_binary(walk.verdict);
    if let Some(null) = contender(group, walk, Source::Null, budget, Source::Null.name(), "", program()) {
        let huge = null.borrow().backing() == Backing::HugeTlb;
        if testpmd::BURSTS.contains(&budget) {
            testpmd::contend(group, walk.verdict, budget, huge);
        }
        if budget == kernel::BATCH {
            kernel::contend(group, walk.verdict);
        }
        group.measure()?;
        rates(group, &[Source::Null.name(), testpmd::NAME, kernel::NAME]);
        settle(group, null);
    }
    // By itself, as no peer writes packets.
    if let Some(made) = contender(group, walk, Source::Gen, budget, Source::Gen.name(), "", program()) {
        group.measure()?;
        rates(group, &[Source::Gen.name()]);
        settle(group, made);
    }
    Ok(())
}

/// Programs that do more and more, over packets of many flows.
fn by_decider(group: &mut Group<'_, '_>, walk: Walk, decider: Decider) -> Result<(), Interrupted> {
    let program = decider.program(walk.verdict);
    if let Some(bed) = contender(group, walk, Source::Flows, BUDGET, decider.name(), decider.about(), program) {
        group.measure()?;
        rates(group, &[decider.name()]);
        settle(group, bed);
    }
    Ok(())
}

/// Adds a contender of ours; its bed is shared with the caller, who closes it after the measurement.
fn contender(
    group: &mut Group<'_, '_>,
    walk: Walk,
    source: Source,
    budget: usize,
    name: &'static str,
    about: &str,
    program: Box<dyn waterwheel_xdp::Program>,
) -> Option<Rc<RefCell<Bed>>> {
    let bed = match Bed::new(source, walk.verdict, budget, program) {
        Ok(bed) => Rc::new(RefCell::new(bed)),
        Err(error) => {
            group.absent(name, error.to_string());
            return None;
        }
    };
    let written = if source == Source::Null { "not written to" } else { "written" };
    let (backing, fate) = (bed.borrow().backing(), walk.fate);
    let about = if about.is_empty() { String::new() } else { format!("{about}; ") };
    let work = format!(
        "a page of {backing} from the pool, {SIZE} bytes {written} behind head room; received {budget} at a time from {}; {about}{fate}; counted",
        source.name()
    );
    let (clock, turning) = (group.clock(), bed.clone());
    group.fallible(Side::Ours, name, work, move |packets| turning.borrow_mut().turn(packets, clock));
    Some(bed)
}

/// Gives out what the times mean on the wire.
fn rates(group: &mut Group<'_, '_>, names: &[&str]) {
    for name in names {
        if let Some(ns) = group.median_ns(name) {
            group.count(*name, "Mpps per core", 1000.0 / ns);
            group.count(*name, "% of the 67.2 ns of 10 Gbit/s", 100.0 * ns / LINE);
        }
    }
}

/// Closes a bed after its contender was let go, and says so if a page is missing.
fn settle(group: &mut Group<'_, '_>, bed: Rc<RefCell<Bed>>) {
    let Ok(bed) = Rc::try_unwrap(bed) else { return };
    let (_, account) = bed.into_inner().close();
    if !account.is_whole() {
        group.note(&format!("the page account does not close, do not trust these figures: {account:?}"));
    }
}
