//! The real load: the TCP relay between real sockets, over pools that keep as many pages as the schemes did.

use crate::event::Side;
use crate::harness::{Case, Clock, Group, Interrupted, Lap};
use crate::programs::relay::load::Load;
use crate::programs::relay::road::Road;
use crate::programs::usage;
use std::cell::RefCell;
use std::fs;
use std::net::SocketAddr;
use std::rc::Rc;
use std::thread::sleep;
use std::time::Duration;
use waterwheel_dev::relay::{Relay, RelayParams, RelayStats, Send};
use waterwheel_mm::{Account, PageAccount, Users, Zone, ZoneParams, cpu};

/// Sockets of the relay: half of them receive, half of them send.
const CONNECTIONS: usize = 64;
/// Blocks of 16 KiB of each pool: more than its sockets may hold.
const BLOCKS: usize = 4096;
/// What passes is counted for so long.
const INTERVAL: Duration = Duration::from_millis(150);
/// Before that: windows open, and pools fill.
const RUN_UP: Duration = Duration::from_millis(100);

/// What the sockets do.
#[derive(Debug, Clone, Copy)]
struct Real {
    name: &'static str,
    about: &'static str,
    /// Servers that read slowly.
    slow: usize,
    /// One packet in so many is lost.
    lost: Option<u32>,
    send: Send,
}

const LOADS: [Real; 4] = [
    Real {
        name: "relay",
        about: "64 connections through the relay; the kernel copies what is sent, so that a page comes home when it was sent",
        slow: 0,
        lost: None,
        send: Send::Plain,
    },
    Real {
        name: "relay, until ACKed",
        about: "64 connections through the relay; sent by SEND_ZC, so that a page comes home when its bytes are acknowledged",
        slow: 0,
        lost: None,
        send: Send::Zc,
    },
    Real {
        name: "relay, until ACKed, loss",
        about: "the same, and one packet in 100 is lost, data and acknowledgements alike",
        slow: 0,
        lost: Some(100),
        send: Send::Zc,
    },
    Real {
        name: "relay, slow readers",
        about: "the same without loss, and 16 of the 64 servers read 16 KiB and sleep for 5 ms, again and again",
        slow: 16,
        lost: None,
        send: Send::Zc,
    },
];

/// A pool: as it is called, and how many blocks it keeps.
const POOLS: [(&str, Option<usize>); 4] = [
    ("allocator only", Some(0)),
    ("pool that keeps 256", Some(256)),
    ("pool that keeps 1152", Some(1152)),
    ("pool with destructor", None),
];

pub(super) fn cases() -> impl Iterator<Item = Case> {
    LOADS
        .into_iter()
        .enumerate()
        .map(|(x, load)| Case::new(load.name, "recycle, real", x as u32, move |group| measure(group, load)))
}

fn measure(group: &mut Group<'_, '_>, load: Real) -> Result<(), Interrupted> {
    group.note(load.about);
    if !group.session().options().peers {
        group.absent("pool with destructor", "it needs root, and network namespaces of its own: start with --peers");
        return Ok(());
    }
    let &[relaying, other, ..] = group.session().cpus() else {
        group.absent("pool with destructor", "2 CPUs would be needed: one relays, the other one sends and receives");
        return Ok(());
    };
    let ready =
        Road::lay().and_then(|road| Ok((load.lost.map(|one_in| road.lose(one_in)).transpose()?, Rc::new(road))));
    let (_loss, road) = match ready {
        Ok(ready) => ready,
        Err(why) => {
            group.absent("pool with destructor", why);
            return Ok(());
        }
    };
    let mut running = Vec::new();
    for (index, (name, high)) in POOLS.into_iter().enumerate() {
        let bed = match Bed::start(&road, index, high, load, relaying) {
            Ok(bed) => Rc::new(bed),
            Err(why) => {
                group.absent(name, why);
                continue;
            }
        };
        let sum = Rc::new(RefCell::new(Sum::default()));
        running.push((name, bed.clone(), sum.clone()));
        let (road, clock) = (road.clone(), group.clock());
        let work = "io_uring: bytes received into blocks of 16 KiB, and sent from them; the time is the relay's CPU time, user and system, for each block";
        let side = if high.is_none() { Side::Ours } else { Side::Baseline };
        group.fallible(side, name, work.to_owned(), move |_| {
            bed.interval(&road, other, load.slow, clock, &mut sum.borrow_mut())
        });
    }
    group.measure()?;
    for (name, bed, sum) in running {
        sum.borrow().tell(group, name);
        let account = Rc::into_inner(bed).map(Bed::close);
        if !account.as_ref().is_some_and(|account| account.as_ref().is_ok_and(PageAccount::is_whole)) {
            group.note(&format!("{name}: the page account does not close, do not trust these figures: {account:?}"));
        }
    }
    Ok(())
}

/// A relay with its zone.
struct Bed {
    zone: Zone,
    relay: Relay,
    listen: SocketAddr,
    order: u8,
}

/// What was counted in all intervals.
#[derive(Default)]
struct Sum {
    taken: u64,
    missed: u64,
    held_max: u64,
    /// 4 KiB pages that were not in the zone at the end of an interval, the most.
    out_max: usize,
}

impl Bed {
    fn start(road: &Road, index: usize, high: Option<usize>, load: Real, cpu: usize) -> Result<Self, String> {
        let mut listen = Road::LISTEN;
        listen.set_port(listen.port() + index as u16);
        let params = RelayParams {
            high,
            send: load.send,
            max_connections: 2 * CONNECTIONS,
            ..RelayParams::new(listen, Road::CONNECT)
        };
        let zone = Zone::new(&ZoneParams::pages(BLOCKS << params.order)).map_err(|error| error.to_string())?;
        let relay = road.relays().run(|| {
            let _ = cpu::pin_to(cpu); // the relay's thread inherits it
            Relay::start(&zone, &params).map_err(|error| error.to_string())
        })?;
        Ok(Self { zone, relay, listen, order: params.order })
    }

    /// Lets clients and servers run for a while.
    fn interval(&self, road: &Road, cpu: usize, slow: usize, clock: Clock, sum: &mut Sum) -> Result<Lap, String> {
        let load = road.world().run(|| Load::start(cpu, CONNECTIONS, slow, self.listen, Road::CONNECT))?;
        sleep(RUN_UP);
        let (before, nanos) = (self.relay.stats(), cpu_time()?);
        sleep(INTERVAL);
        let (after, nanos) = (self.relay.stats(), cpu_time()? - nanos);
        let pages = self.zone.stats();
        load.end()?;
        sum.add(&before, &after, pages.total - pages.free);
        match after.taken - before.taken {
            0 => Err("nothing came through".to_owned()),
            elements => Ok(Lap { ticks: clock.ticks(nanos as f64), elements }),
        }
    }

    fn close(self) -> Result<PageAccount, String> {
        let order = self.order;
        let (_, quarantined) = self.relay.finish().map_err(|error| error.to_string())?;
        match quarantined {
            0 => Ok(Account::open(&self.zone).close(Users::Gone)),
            pages => Err(format!("{} blocks were still with the network at the end", pages >> order)),
        }
    }
}

impl Sum {
    fn add(&mut self, before: &RelayStats, after: &RelayStats, out: usize) {
        self.taken += after.taken - before.taken;
        self.missed += after.missed - before.missed;
        self.held_max = self.held_max.max(after.held_max);
        self.out_max = self.out_max.max(out);
    }

    fn tell(&self, group: &mut Group<'_, '_>, name: &str) {
        const BLOCK_KIB: f64 = 16.0;
        group.count(name, "hits %", 100.0 * (1.0 - self.missed as f64 / self.taken.max(1) as f64).max(0.0));
        group.count(name, "allocator blocks/block", 2.0 * self.missed as f64 / self.taken.max(1) as f64);
        group.count(name, "held by sockets, peak KiB", self.held_max as f64 * BLOCK_KIB);
        group.count(name, "out of the zone, peak KiB", self.out_max as f64 * 4.0);
    }
}

/// Nanoseconds of CPU time that the threads of all relays of this process have taken: those of relays that rest take none.
fn cpu_time() -> Result<u64, String> {
    const TASKS: &str = "/proc/self/task";
    let tasks = fs::read_dir(TASKS).map_err(|error| format!("{TASKS}: {error}"))?;
    let mut sum = 0;
    for task in tasks.flatten() {
        let comm = fs::read_to_string(task.path().join("comm")).unwrap_or_default(); // it may end meanwhile
        if comm.starts_with("relay-") {
            sum += usage::nanoseconds(&task.path());
        }
    }
    Ok(sum)
}
