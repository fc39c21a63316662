//! `memif`: packets from one process to another, through shared memory.

mod line;
#[cfg(test)]
mod tests;

use crate::event::Side;
use crate::harness::{Case, Group, Interrupted, Program};
use crate::peers::testpmd::{self, Testpmd};
use line::{Line, Socket};
use std::rc::Rc;
use waterwheel_xdp::mm::Backing;

/// As ours are called in the rows.
const COPY: &str = "copy";
const TRUST: &str = "trust=peer";
/// Bytes of the packets.
const SIZE: usize = 64;
/// Buffers of testpmd, and its memory in MiB.
const BUFFERS: usize = 8192;
const MEMORY: usize = 96;

pub(crate) fn program() -> Program {
    let case = |batch: usize| {
        let name: &'static str = if batch == 32 { "batch 32" } else { "batch 64" };
        Case::new(name, "memif to memif", batch as u32, move |group| forward(group, batch))
    };
    Program {
        name: "memif",
        about: "packets from one memif interface to another, a CPU for each side",
        answers: "slide \"Generalize problem statement\": one pool under many drivers; dpdk-testpmd io over net_memif",
        notes: vec![
            "one side takes packets of 64 bytes from a device that makes them of nothing and sends them into a memif, the other one receives them and lets them go. A time is that between two packets that arrive. \
             Ours are two workers of this process that know each other by the socket alone, with a zone each; its peer is two processes of testpmd. Copying: a packet is copied into the shared memory, and out of it into a page \
             of the receiver. trust=peer: the client's pages are the shared memory, and its side copies nothing",
        ],
        cases: vec![case(32), case(64)],
    }
}

fn forward(group: &mut Group<'_, '_>, batch: usize) -> Result<(), Interrupted> {
    let &[sending, receiving, ..] = group.session().cpus() else {
        group.absent(COPY, "2 CPUs would be needed, one for each side");
        return Ok(());
    };
    let cpus = [sending, receiving];
    let lines: Vec<_> = [(COPY, false), (TRUST, true)]
        .into_iter()
        .filter_map(|(name, trusted)| {
            ours(group, name, cpus, batch, trusted).map_err(|why| group.absent(name, why)).ok().map(|line| (name, line))
        })
        .collect();
    let huge_pages = lines.first().is_some_and(|(_, line)| line.backing() == Backing::HugeTlb);
    if group.session().options().peers {
        if let Err(why) = peer(group, cpus, batch, huge_pages) {
            group.absent(testpmd::NAME, why);
        }
    } else {
        group.absent(testpmd::NAME, "dpdk-testpmd, another process: start with --peers");
    }
    group.measure()?;
    for (name, line) in lines {
        let outcome = Rc::into_inner(line).map(Line::close);
        if !outcome.as_ref().is_some_and(|ends| {
            ends.iter().flatten().count() == 2 && ends.iter().flatten().all(|(_, account)| account.is_whole())
        }) {
            group.note(&format!("{name}: the page account does not close, do not trust these figures: {outcome:?}"));
        }
    }
    Ok(())
}

/// Our two sides. The sender is the client, which brings the memory.
fn ours(
    group: &mut Group<'_, '_>,
    name: &'static str,
    cpus: [usize; 2],
    batch: usize,
    trusted: bool,
) -> Result<Rc<Line>, String> {
    let line = Rc::new(Line::start(cpus, batch, trusted)?);
    let work = format!(
        "a worker that spins over null:size={SIZE} and memif, and one over memif and null; {batch} at a time; rings of 1024; {}",
        if trusted {
            "descriptors name pages of the sender's pool; the receiver copies"
        } else {
            "copied into the ring's buffers, and out of them"
        }
    );
    let (runs, clock) = (line.clone(), group.clock());
    group.fallible(Side::Ours, name, work, move |_| runs.interval(clock));
    Ok(line)
}

fn peer(
    group: &mut Group<'_, '_>,
    [sending, receiving]: [usize; 2],
    batch: usize,
    huge_pages: bool,
) -> Result<(), String> {
    let socket = Socket::new();
    let memif =
        |role: &str| format!("net_memif0,role={role},id=0,socket={},socket-abstract=no", socket.path().display());
    let start = |devices: Vec<String>, forwarding, commands| {
        Testpmd::start(&testpmd::Setup {
            devices,
            mode: "io",
            burst: batch,
            forwarding,
            commands,
            huge_pages,
            buffers: BUFFERS,
            memory: MEMORY,
        })
    };
    let mut receiver = start(vec![memif("server"), "net_null0,no-rx=1".to_owned()], receiving, sending)?;
    let mut sender = start(vec![memif("client"), format!("net_null0,size={SIZE}")], sending, receiving)?;
    let work = format!(
        "two processes, io: net_null to net_memif, and net_memif to net_null; {batch} at a time; rings of 1024, its default; copied into the ring's buffers, and out of them; {}",
        if huge_pages { "huge pages" } else { "4 KiB pages" }
    );
    let clock = group.clock();
    group.fallible(Side::Peer, testpmd::NAME, work, move |_| {
        let _bound_for_as_long = &socket;
        sender.forward()?;
        let lap = receiver.interval(clock);
        sender.rest()?;
        lap
    });
    Ok(())
}
