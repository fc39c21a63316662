//! `relay`: bytes from one TCP connection to another, through our relay and others'.

pub(crate) mod load;
pub(crate) mod road;

use crate::event::Side;
use crate::harness::{Case, Group, Interrupted, Lap, Program};
use crate::peers::relays::{Contender, Process};
use load::Load;
use road::Road;
use std::cell::RefCell;
use std::rc::Rc;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Bytes of a message, which is what a client writes at once.
pub(crate) const MESSAGE: usize = 64 << 10;
/// What passes is counted for so long.
const INTERVAL: Duration = Duration::from_millis(250);
/// Before that: windows open, and buffers find their size.
const RUN_UP: Duration = Duration::from_millis(150);

pub(crate) fn program() -> Program {
    let case = |name: &'static str, connections: usize| {
        Case::new(name, "relay", connections as u32, move |group| relay(group, connections))
    };
    Program {
        name: "relay",
        about: "what a TCP relay costs: CPU time per KiB, between clients and servers beyond a veth",
        answers: "slide \"Driver page recycling\": TCP sockets keep packets until ACKed; socat, HAProxy",
        notes: vec![
            "a time is the CPU time, user and system, that the relay's process and its children took for each KiB (1 ns/KiB is 0.98 s per TB); multiplied by 0.98 it is ms per GB. Clients and servers are threads of this process in a network namespace on one side of \
             a veth pair, the relay is alone in one on the other side, on a CPU of its own: each byte crosses the veth twice. Clients write messages of 64 KiB as fast as they can, servers read and forget. All relays have one thread (socat: a process for each connection)",
            "MB/s says how much passed, which clients and servers on their one CPU limit, too. On a veth the kernel copies what it was asked to send without a copy, when the packet is received at the far end: it says so in its notification, and the relay sends plainly then. \
             HAProxy with `option splice-auto` moves pages from socket to socket inside the kernel and never has the bytes",
        ],
        cases: vec![case("8 connections", 8), case("64 connections", 64)],
    }
}

fn relay(group: &mut Group<'_, '_>, connections: usize) -> Result<(), Interrupted> {
    if !group.session().options().peers {
        group.absent("waterwheel relay", "it needs root, and network namespaces of its own: start with --peers");
        return Ok(());
    }
    let &[relaying, other, ..] = group.session().cpus() else {
        group.absent("waterwheel relay", "2 CPUs would be needed: one relays, the other one sends and receives");
        return Ok(());
    };
    let road = match Road::lay() {
        Ok(road) => Rc::new(road),
        Err(why) => {
            group.absent("waterwheel relay", why);
            return Ok(());
        }
    };
    let mut passed = Vec::new();
    for contender in Contender::ALL {
        let (name, side) = (contender.name(), if contender == Contender::Ours { Side::Ours } else { Side::Peer });
        let process = contender.start(relaying, road.relays(), Road::LISTEN, Road::CONNECT);
        match process {
            Ok(process) => {
                let sum = Rc::new(RefCell::new((0.0, 0.0)));
                passed.push((name, sum.clone()));
                let (road, clock) = (road.clone(), group.clock());
                group.fallible(side, name, contender.work(), move |_| {
                    let (nanos, reading) = measure(&road, &process, contender, other, connections)?;
                    let mut sum = sum.borrow_mut();
                    *sum = (sum.0 + reading.bytes as f64, sum.1 + reading.time.as_secs_f64());
                    Ok(Lap { ticks: clock.ticks(nanos), elements: reading.bytes / 1024 })
                });
            }
            Err(why) => group.absent(name, why),
        }
    }
    group.measure()?;
    for (name, sum) in passed {
        let (bytes, seconds) = *sum.borrow();
        group.count(name, "MB/s", bytes / seconds / 1e6);
    }
    Ok(())
}

/// What passed in a stretch of time.
struct Reading {
    bytes: u64,
    time: Duration,
}

/// Lets clients and servers run for a while: the CPU time of the relay in nanoseconds, and what passed.
fn measure(
    road: &Road,
    process: &Process,
    contender: Contender,
    cpu: usize,
    connections: usize,
) -> Result<(f64, Reading), String> {
    let listen = contender.address(Road::LISTEN);
    let load = road.world().run(|| Load::start(cpu, connections, 0, listen, Road::CONNECT))?;
    sleep(RUN_UP);
    let (nanos, bytes, start) = (process.cpu_time()?, load.received(), Instant::now());
    sleep(INTERVAL);
    let reading = Reading { bytes: load.received() - bytes, time: start.elapsed() };
    let nanos = process.cpu_time()? - nanos;
    load.end()?;
    match reading.bytes {
        0 => Err("nothing came through".to_owned()),
        _ => Ok((nanos as f64, reading)),
    }
}

#[cfg(test)]
mod tests;
