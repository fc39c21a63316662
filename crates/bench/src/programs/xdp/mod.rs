//! `xdp_drop`, `xdp_tx`, `xdp_redirect`: packets through the loop of the binary, between devices in memory.

mod bed;
mod deciders;

use crate::event::Side;
use crate::harness::{Case, Group, Interrupted, Program};
use crate::peers::{Loop, kernel, testpmd};
use bed::{Bed, Source};
use deciders::Decider;
use std::cell::RefCell;
use std::error::Error;
use std::rc::Rc;
use std::time::Duration;
use waterwheel_xdp::mm::Backing;

pub(crate) use bed::SIZE;
pub(crate) use deciders::{Verdict, of_the_binary};

/// Smallest packets at 10 Gbit/s follow each other in so many nanoseconds (the talk).
const LINE: f64 = 67.2;
/// Packets per port and round where not that is varied: the kernel's NAPI budget, and the binary's.
const BUDGET: usize = 64;
/// Our contender beside the kernel where frames go into a veth.
const FAR_END: &str = "null:size=64 to a veth";

/// One of the three.
#[derive(Clone, Copy)]
struct Walk {
    name: &'static str,
    about: &'static str,
    answers: &'static str,
    verdict: Verdict,
    /// What becomes of a packet.
    fate: &'static str,
}

pub(crate) fn drop_program() -> Program {
    program(Walk {
        name: "xdp_drop",
        about: "packets from a memory device, dropped by a program",
        answers: "slides \"Mind-bugling speeds\" (67.2 ns), \"XDP - eXpress Data Path\" (XDP_DROP 17 Mpps); the kernel's sample xdp1; dpdk-testpmd rxonly",
        verdict: Verdict::Drop,
        fate: "dropped: its page is back in the pool in the same round",
    })
}

pub(crate) fn tx_program() -> Program {
    program(Walk {
        name: "xdp_tx",
        about: "packets from a memory device, sent back out of it with their Ethernet addresses swapped",
        answers: "slides \"Mind-bugling speeds\" (67.2 ns), \"XDP - eXpress Data Path\" (XDP_TX 10 Mpps); the kernel's sample xdp2; dpdk-testpmd macswap",
        verdict: Verdict::Tx,
        fate: "sent out of the device it came from; its page comes home when it completes, in the next round",
    })
}

pub(crate) fn redirect_program() -> Program {
    program(Walk {
        name: "xdp_redirect",
        about: "packets from two memory devices, each sent out of the other one",
        answers: "slides \"Mind-bugling speeds\" (67.2 ns), \"XDP “real” forwarding missing\"; the kernel's sample xdp_redirect; dpdk-testpmd io",
        verdict: Verdict::Redirect,
        fate: "sent out of the other device, the page itself; it comes home when it completes, in the next round",
    })
}

fn program(walk: Walk) -> Program {
    let sizes = (0..=8).map(|power| 1 << power);
    let batch = |n: usize| Case::new(format!("batch {n}"), "batch", n as u32, move |group| by_batch(group, walk, n));
    let mut cases: Vec<Case> = sizes.map(batch).collect();
    if walk.verdict != Verdict::Drop {
        cases.push(Case::new("to a veth", "veth", BUDGET as u32, move |group| to_far_end(group, walk.verdict)));
    }
    cases.push(Case::new("programs", "programs", BUDGET as u32, move |group| by_decider(group, walk)));
    Program {
        name: walk.name,
        about: walk.about,
        answers: walk.answers,
        notes: vec![
            "one CPU; the loop, devices, pools and counters of the binary (xdp/poll.rs), whose own counters say how many packets there were; nothing is subtracted. null:size=64 \
             gives pages that nobody writes, as DPDK's net_null and the kernel's live frames do, and is what the peers are compared with; gen: writes every packet",
        ],
        cases,
    }
}

/// Rounds of the loop of the binary between devices in memory: `budget` packets each, from each of the devices.
pub(crate) fn rounds(verdict: Verdict, budget: usize) -> Result<Loop, String> {
    let bed = Bed::new(Source::Null, verdict, budget, deciders::of_the_binary(verdict));
    let mut bed = bed.map_err(|error| error.to_string())?;
    Ok(Box::new(move |rounds| bed.round(rounds)))
}

/// The program that the binary runs, by budget.
fn by_batch(group: &mut Group<'_, '_>, walk: Walk, budget: usize) -> Result<(), Interrupted> {
    let bed = |source| Bed::new(source, walk.verdict, budget, deciders::of_the_binary(walk.verdict));
    let work = |source: Source| format!("received {budget} at a time from {}; {}", source.name(), walk.fate);
    let beside_peers = testpmd::BURSTS.contains(&budget) && group.session().options().peers;
    let least = beside_peers.then_some(testpmd::INTERVAL);
    if let Some(null) = ours(group, Source::Null.name(), bed(Source::Null), &work(Source::Null), least) {
        if testpmd::BURSTS.contains(&budget) {
            let huge_pages = null.borrow().backing() == Backing::HugeTlb;
            testpmd::contend(group, walk.verdict, budget, huge_pages);
        }
        if budget == kernel::BATCH && walk.verdict == Verdict::Drop {
            kernel::contend(group, walk.verdict);
        }
        group.measure()?;
        if budget == BUDGET {
            rates(group, &[Source::Null.name(), testpmd::NAME, kernel::NAME]);
        }
        settle(group, [null]);
    }
    // By itself, as no peer writes packets.
    if let Some(made) = ours(group, Source::Gen.name(), bed(Source::Gen), &work(Source::Gen), None) {
        group.measure()?;
        if budget == BUDGET {
            rates(group, &[Source::Gen.name()]);
        }
        settle(group, [made]);
    }
    Ok(())
}

/// What the kernel's live frames do when they are sent: into a veth, and out at its far end, where they are dropped.
fn to_far_end(group: &mut Group<'_, '_>, verdict: Verdict) -> Result<(), Interrupted> {
    let swap = verdict == Verdict::Tx;
    let bed = Bed::to_far_end(Source::Null, kernel::BATCH, deciders::to_far_end(swap));
    let swapped = if swap { "Ethernet addresses swapped; " } else { "" };
    let fate = "redirected into a veth in memory, received at its far end and dropped there, by the same worker";
    let work = format!("received {} at a time from {}; {swapped}{fate}", kernel::BATCH, Source::Null.name());
    let least = group.session().options().peers.then_some(testpmd::INTERVAL);
    if let Some(bed) = ours(group, FAR_END, bed, &work, least) {
        kernel::contend(group, verdict);
        group.measure()?;
        rates(group, &[FAR_END, kernel::NAME]);
        settle(group, [bed]);
    }
    Ok(())
}

/// Programs that do more and more, over packets of many flows.
fn by_decider(group: &mut Group<'_, '_>, walk: Walk) -> Result<(), Interrupted> {
    let mut beds = Vec::new();
    for decider in Decider::ALL {
        let bed = Bed::new(Source::Flows, walk.verdict, BUDGET, decider.program(walk.verdict));
        let (source, about) = (Source::Flows.name(), decider.about());
        let work = format!("received {BUDGET} at a time from {source}, which is in the time; {about}; {}", walk.fate);
        beds.extend(ours(group, decider.name(), bed, &work, None));
    }
    group.measure()?;
    rates(group, &Decider::ALL.map(Decider::name));
    settle(group, beds);
    Ok(())
}

/// A bed that a contender turns; who made it closes it after the measurement.
type Shared = Rc<RefCell<Bed>>;

/// Adds a contender of ours, or says why there is none. Beside a peer whose runs are long it is measured for as long, at `least`: on a busy machine a short run would
/// be lucky more often than a long one.
fn ours(
    group: &mut Group<'_, '_>,
    name: &'static str,
    bed: Result<Bed, Box<dyn Error>>,
    work: &str,
    least: Option<Duration>,
) -> Option<Shared> {
    let bed = match bed {
        Ok(bed) => Rc::new(RefCell::new(bed)),
        Err(error) => {
            group.absent(name, error.to_string());
            return None;
        }
    };
    let backing = bed.borrow().backing();
    let work = format!("a page from the pool ({backing}) with {SIZE} bytes behind head room; {work}; counted");
    let (clock, turning) = (group.clock(), bed.clone());
    group.fallible(Side::Ours, name, work, move |packets| match least {
        Some(time) => turning.borrow_mut().turn_for(time, clock),
        None => turning.borrow_mut().turn(packets, clock),
    });
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

/// Closes the beds after their contenders were let go, and says so if a page is missing.
fn settle(group: &mut Group<'_, '_>, beds: impl IntoIterator<Item = Shared>) {
    for bed in beds.into_iter().filter_map(|bed| Rc::try_unwrap(bed).ok()) {
        let (_, account) = bed.into_inner().close();
        if !account.is_whole() {
            group.note(&format!("the page account does not close, do not trust these figures: {account:?}"));
        }
    }
}
