//! `af_xdp_forward`: packets from one interface to another, through AF_XDP sockets.

mod rig;

use crate::event::Side;
use crate::harness::{Case, Group, Interrupted, Program};
use crate::peers::testpmd;
use crate::programs::station::Station;
use crate::programs::usage::{Task, Usage};
use rig::{Reading, Rig, Road};
use std::cell::RefCell;
use std::error::Error;
use std::rc::Rc;
use waterwheel_dev::af_xdp::{AfXdp, AfXdpParams, BusyPoll, ZeroCopy};
use waterwheel_xdp::mm::{Backing, ZoneParams};
use waterwheel_xdp::{Fabric, PagePool, PoolParams, Worker, Zone};

/// As ours is called in the rows.
const OURS: &str = "forward";
/// Packets at a time, of both.
const BURST: usize = 32;
/// Microseconds that one call polls at most: what testpmd sets, and does not let anybody change.
const BUSY_MICROS: u32 = 20;
/// Buffers of testpmd: both its fill rings, what it has received, and a cache.
const BUFFERS: usize = 16384;
/// Its memory in MiB, of which the buffers take a third.
const MEMORY: usize = 128;

pub(crate) fn program() -> Program {
    let case = |name, x: u32, budget| Case::new(name, "veth to veth", x, move |group| forward(group, budget));
    Program {
        name: "af_xdp_forward",
        about: "packets from one veth to another, forwarded on one CPU that gets more than it can take",
        answers: "slide \"XDP “real” forwarding missing\"; dpdk-testpmd io over net_af_xdp",
        notes: vec![
            "a time is that between two packets that arrive at the far end. Most of it is the kernel's: it copies a packet into an skb, sends that through a veth and drops it at the far end, as \
             it is not addressed to it, all within the system calls of the forwarder and on its CPU. The other CPU makes the packets (live frames of BPF_PROG_RUN) and copies them into the \
             forwarder's memory. User and system time of the forwarder are those of /proc/PID/stat",
        ],
        cases: vec![case("interrupts", 0, None), case("busy poll 64", 64, Some(64))],
    }
}

/// `busy`: packets that a call of busy polling takes in at most, if there is busy polling.
fn forward(group: &mut Group<'_, '_>, busy: Option<u32>) -> Result<(), Interrupted> {
    if !group.session().options().peers {
        group.absent(OURS, "it needs root, and a network namespace of its own: start with --peers");
        return Ok(());
    }
    let &[forwarding, other, ..] = group.session().cpus() else {
        group.absent(OURS, "2 CPUs would be needed: one forwards, the other one sends");
        return Ok(());
    };
    let rig = match Rig::set(other, group.clock()) {
        Ok(rig) => Rc::new(rig),
        Err(why) => {
            group.absent(OURS, why);
            return Ok(());
        }
    };
    let bench = Bench { rig, forwarding, other, busy };
    let ours = bench.ours(group).map_err(|why| group.absent(OURS, why)).ok();
    let huge_pages = ours.as_ref().is_none_or(|(forwarder, _)| forwarder.backing == Backing::HugeTlb);
    let peer = bench.testpmd(group, huge_pages).map_err(|why| group.absent(testpmd::NAME, why)).ok();
    group.measure()?;
    if let Some((forwarder, costs)) = ours {
        costs.borrow().tell(group, OURS);
        settle(group, forwarder);
    }
    if let Some(costs) = peer {
        costs.borrow().tell(group, testpmd::NAME);
    }
    Ok(())
}

/// Pages of a pool beyond those that its rings hold: batches, spare pages.
const UNDER_WAY: usize = 512;

/// What both contenders of a case need.
struct Bench {
    rig: Rc<Rig>,
    /// CPU of the forwarder.
    forwarding: usize,
    /// CPU of all others.
    other: usize,
    busy: Option<u32>,
}

impl Bench {
    fn ours(&self, group: &mut Group<'_, '_>) -> Result<(Rc<Station>, Shared), String> {
        let busy_poll = self.busy.map(|budget| BusyPoll { micros: BUSY_MICROS, budget });
        let params = AfXdpParams { zero_copy: ZeroCopy::Never, busy_poll, ..AfXdpParams::default() };
        let work = format!(
            "a worker that spins over two AF_XDP devices, both ways; {BURST} at a time; copy mode; rings of {}, {} and {} to receive, send and fill; {}",
            params.rx_ring,
            params.tx_ring,
            params.fill_ring,
            self.busy_text()
        );
        let road = self.rig.road("ours")?;
        let open = || self.rig.namespace().run(|| open(&road, &params, BURST).map_err(|error| error.to_string()));
        let forwarder = Rc::new(Station::start(self.forwarding, || Ok(open()?))?);
        let work = format!("{work}; {}", forwarder.backing);
        let (rig, runs) = (self.rig.clone(), forwarder.clone());
        let flood = move || {
            runs.forward();
            let reading = rig.flood(&road, &runs.task);
            runs.rest();
            reading
        };
        Ok((forwarder, contend(group, Side::Ours, OURS, work, flood)))
    }

    fn testpmd(&self, group: &mut Group<'_, '_>, huge_pages: bool) -> Result<Shared, String> {
        let road = self.rig.road("pmd")?;
        let budget = self.busy.unwrap_or(0);
        let device = |(n, iface)| format!("net_af_xdp{n},iface={iface},force_copy=1,busy_budget={budget}");
        let setup = testpmd::Setup {
            devices: [&road.input, &road.output].into_iter().enumerate().map(device).collect(),
            mode: "io",
            burst: BURST,
            forwarding: self.forwarding,
            commands: self.other,
            huge_pages,
            buffers: BUFFERS,
            memory: MEMORY,
        };
        let mut testpmd = self.rig.namespace().run(|| testpmd::Testpmd::start(&setup))?;
        let memory = if huge_pages { "huge pages" } else { "4 KiB pages" };
        let work = format!(
            "io over two net_af_xdp, both ways; {BURST} at a time; copy mode; its default rings: 2048, 2048 and 4096; {}; {memory}",
            self.busy_text()
        );
        let (rig, task) = (self.rig.clone(), Task::process(testpmd.pid()));
        let flood = move || {
            testpmd.forward()?;
            let reading = rig.flood(&road, &task);
            testpmd.rest()?;
            reading
        };
        Ok(contend(group, Side::Peer, testpmd::NAME, work, flood))
    }

    fn busy_text(&self) -> String {
        self.busy.map_or_else(
            || "no busy polling".to_owned(),
            |budget| format!("busy polling for {BUSY_MICROS} us, {budget} packets"),
        )
    }
}

/// What a forwarder has done and cost in all its runs.
#[derive(Default)]
struct Costs {
    packets: u64,
    usage: Usage,
    sent: f64,
}

type Shared = Rc<RefCell<Costs>>;

impl Costs {
    fn add(&mut self, reading: &Reading) {
        self.packets += reading.lap.elements;
        self.usage += reading.usage;
        self.sent += reading.sent;
    }

    fn tell(&self, group: &mut Group<'_, '_>, name: &str) {
        let per_packet = |value: f64| value / self.packets as f64;
        group.count(name, "user ns/packet", per_packet(self.usage.user));
        group.count(name, "system ns/packet", per_packet(self.usage.system));
        group.count(name, "packets sent to it for each that arrives", per_packet(self.sent));
    }
}

/// Adds a contender: `flood` lets it run and reads what arrives.
fn contend(
    group: &mut Group<'_, '_>,
    side: Side,
    name: &str,
    work: String,
    mut flood: impl FnMut() -> Result<Reading, String> + 'static,
) -> Shared {
    let costs = Shared::default();
    let sum = costs.clone();
    group.fallible(side, name, work, move |_| {
        let reading = flood()?;
        sum.borrow_mut().add(&reading);
        Ok(reading.lap)
    });
    costs
}

/// Ends our forwarder, and says so if a page is missing.
fn settle(group: &mut Group<'_, '_>, forwarder: Rc<Station>) {
    let outcome = Rc::into_inner(forwarder).and_then(Station::close);
    if outcome.as_ref().is_none_or(|(_, account)| !account.is_whole()) {
        group.note(&format!("the page account does not close, do not trust these figures: {outcome:?}"));
    }
}

/// A worker as the binary makes one for `forward`, which spins.
fn open(road: &Road, params: &AfXdpParams, budget: usize) -> Result<(Zone, Worker), Box<dyn Error>> {
    let params = [&road.input, &road.output].map(|iface| AfXdpParams { iface: iface.clone(), ..params.clone() });
    let rings = |params: &AfXdpParams| (params.fill_ring + params.rx_ring + params.tx_ring) as usize;
    let limit = params.iter().map(rings).max().unwrap_or(0) + UNDER_WAY;
    let zone = Zone::new(&ZoneParams::pages(params.len() * limit))?;
    let mut fabric = Fabric::new(1);
    fabric.budget(budget);
    for params in &params {
        let pool = PagePool::new(&zone, PoolParams { limit, ..PoolParams::default() })?;
        fabric.add(0, Box::new(AfXdp::open(&zone, params)?), pool)?;
    }
    Ok((zone, fabric.build()?.remove(0)))
}

#[cfg(test)]
mod tests;
