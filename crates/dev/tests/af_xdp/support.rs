//! What these tests have in common.

use std::time::{Duration, Instant};

use waterwheel_dev::af_xdp::{AfXdp, AfXdpParams};
use waterwheel_xdp::mm::{Account, HugePages, PageAccount, Users, ZoneParams};
use waterwheel_xdp::{
    Action, Context, Fabric, PagePool, PoolParams, PortId, Program, Worker, WorkerStats, XdpBuff, Zone,
};

use crate::testing::run;

/// Pages of [`zone`].
pub(crate) const PAGES: usize = 1024;

pub(crate) fn zone() -> Zone {
    Zone::new(&ZoneParams { pages: PAGES, huge_pages: HugePages::Never, ..ZoneParams::default() }).unwrap()
}

pub(crate) fn pool(zone: &Zone) -> PagePool {
    PagePool::new(zone, PoolParams { limit: 400, floor_tx: 64, ..PoolParams::default() }).unwrap()
}

/// Small rings on queue 0.
pub(crate) fn params(iface: &str) -> AfXdpParams {
    AfXdpParams { rx_ring: 128, tx_ring: 128, fill_ring: 256, completion_ring: 128, ..AfXdpParams::new(iface, 0) }
}

/// Where the pages are when nobody has any more.
pub(crate) fn account(zone: &Zone) -> PageAccount {
    Account::open(zone).close(Users::Gone)
}

/// Crosses ports 0 and 1.
pub(crate) fn cross(cx: &Context, _packet: &mut XdpBuff) -> Action {
    Action::Redirect(PortId(1 - cx.port.0))
}

/// Sends back what comes.
pub(crate) fn reflect(_cx: &Context, _packet: &mut XdpBuff) -> Action {
    Action::Tx
}

/// A second veth pair, `near2` and `far2`.
pub(crate) fn second_pair() {
    run("ip link add near2 type veth peer name far2");
    for name in ["near2", "far2"] {
        run(&format!("ip link set dev {name} addrgenmode none arp off"));
        run(&format!("ip link set dev {name} up"));
    }
}

/// One worker with these queues as its ports.
pub(crate) fn worker(zone: &Zone, ports: &[AfXdpParams]) -> Worker {
    let mut fabric = Fabric::new(1);
    for params in ports {
        let device = AfXdp::open(zone, params).unwrap_or_else(|error| panic!("{error}"));
        fabric.add(0, Box::new(device), pool(zone)).unwrap();
    }
    fabric.build().unwrap().remove(0)
}

/// Polls until `done`, for at most a minute.
pub(crate) fn poll_until(worker: &mut Worker, mut program: impl Program, mut done: impl FnMut(&WorkerStats) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done(&worker.stats()) {
        worker.poll(&mut program);
        assert!(Instant::now() < deadline, "{:?}", worker.stats());
    }
}

/// One of a device's own counters.
pub(crate) fn counter(stats: &WorkerStats, port: usize, name: &str) -> u64 {
    let found = stats.ports[port].counters.iter().find(|(key, _)| *key == name);
    found.unwrap_or_else(|| panic!("no counter {name}")).1
}
