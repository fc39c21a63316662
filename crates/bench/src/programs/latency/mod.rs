//! `forward_latency`: how long a packet is under way through `forward`.

mod doorbell;
mod wire;

use crate::harness::{Case, Group, Interrupted, Program, quantile};
use std::time::Duration;
use waterwheel_xdp::Idle;
use wire::{Limit, Load, Wire};

/// Packets that are not counted: the worker starts, caches fill.
const WARM_UP: usize = 200;
/// Most packets of a case.
const PACKETS: usize = 200_000;

pub(crate) fn program() -> Program {
    let loads =
        [("one at a time", Load::OneAtATime), ("100 kpps", Load::Rate(100_000)), ("10 kpps", Load::Rate(10_000))];
    let case = |(x, (name, load)): (u32, (&str, Load))| Case::new(name, "load", x, move |group| measure(group, load));
    Program {
        name: "forward_latency",
        about: "how long a packet is under way from one device to the other through a worker that forwards, by idle policy",
        answers: "the kernel's napi busy polling against interrupts; latency of XDP and DPDK at low rates (CoNEXT 2018, \"The eXpress Data Path\")",
        notes: vec![
            "one way, by one TSC: sender and receiver are one thread that polls on the first CPU, the worker runs on the second, both devices are in memory; two readings of the clock \
             (some 20 ns each) are in it. A worker that sleeps is woken through a file descriptor, as by a socket of the kernel. spin keeps a CPU busy all the time; adaptive \
             polls 256 rounds and then sleeps: between packets that come every 10 us it does not get to it, between those of every 100 us it does",
        ],
        cases: (0..).zip(loads).map(case).collect(),
    }
}

fn measure(group: &mut Group<'_, '_>, load: Load) -> Result<(), Interrupted> {
    let time = Duration::from_millis(if group.session().options().quick { 150 } else { 2000 });
    for idle in [Idle::Spin, Idle::Adaptive] {
        group.session().check()?;
        let name = format!("forward, {idle}");
        let &[_, cpu, ..] = group.session().cpus() else {
            group.absent(name, "it needs a second CPU");
            continue;
        };
        match distribution(group, load, idle, cpu, time) {
            Ok(()) => {}
            Err(why) => group.absent(name, why),
        }
    }
    Ok(())
}

/// Measures one policy under one load and gives its figures out.
fn distribution(group: &mut Group<'_, '_>, load: Load, idle: Idle, cpu: usize, time: Duration) -> Result<(), String> {
    let clock = group.clock();
    let mut wire = Wire::start(idle, cpu, clock).map_err(|error| error.to_string())?;
    let mut ticks = Vec::with_capacity(PACKETS);
    wire.measure(load, Limit { time, packets: WARM_UP }, &mut ticks)?;
    ticks.clear();
    wire.measure(load, Limit { time, packets: PACKETS }, &mut ticks)?;
    let Some((stats, account)) = wire.close() else { return Err("the worker panicked".to_owned()) };
    if !account.is_whole() {
        return Err(format!("the page account does not close: {account:?}"));
    }
    let mut ns: Vec<f64> = ticks.iter().map(|ticks| clock.ns(*ticks)).collect();
    ns.sort_by(f64::total_cmp);
    if ns.is_empty() {
        return Err("no packet was sent in time".to_owned());
    }
    let name = format!("forward, {idle}");
    group.count(&name, "ns p50", quantile(&ns, 0.5));
    group.count(&name, "ns p99", quantile(&ns, 0.99));
    group.count(&name, "packets", ns.len() as f64);
    if let Load::Rate(rate) = load
        && (ns.len() as f64) < 0.9 * (f64::from(rate) * time.as_secs_f64()).min(PACKETS as f64)
    {
        group.note(&format!(
            "{name}: others used the CPUs, and fewer packets could be sent than were due: its p99 is the scheduler's"
        ));
    }
    group.count(&name, "sleeps per packet", stats.sleeps as f64 / stats.actions.redirect.max(1) as f64);
    Ok(())
}
