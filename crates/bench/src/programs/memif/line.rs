#![expect(unsafe_code, reason = "both ends trust each other")]
//! Two workers with a memif between them.

use crate::harness::{Clock, Lap};
use crate::peers::testpmd::INTERVAL;
use crate::programs::station::{Outcome, Station};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};
use waterwheel_dev::memif::{Memif, MemifParams, Trust};
use waterwheel_dev::null::Null;
use waterwheel_xdp::mm::{Backing, ZoneParams};
use waterwheel_xdp::wrap::{Count, Counts};
use waterwheel_xdp::{Device, Fabric, PagePool, PoolParams, Worker, Zone};

/// Pages of each pool: two rings, and what is under way.
const PAGES: usize = 4096;
/// Before a reading: rings fill, and caches.
const RUN_UP: Duration = Duration::from_millis(5);
/// The two have found each other within this time.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which end of a line it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Makes packets. It is the client.
    Sender,
    /// Lets them go.
    Receiver,
}

/// A path for a socket, which goes in the end.
pub(super) struct Socket(PathBuf);

impl Socket {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("waterwheel-bench-{}-{}.memif", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(name))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0); // mostly its server has
    }
}

/// Both workers.
pub(super) struct Line {
    sender: Station,
    receiver: Station,
    arrived: Arc<Counts>,
    _socket: Socket,
}

impl Line {
    /// Starts them, and waits until packets arrive. `trusted`: nothing is copied by the sender.
    pub(super) fn start([sending, receiving]: [usize; 2], batch: usize, trusted: bool) -> Result<Self, String> {
        let socket = Socket::new();
        let (sink, arrived) = Count::new(Null::new());
        let open = |end, other: Box<dyn Device>| {
            let params = params_of(socket.path(), end, trusted);
            move || open(&params, other, batch)
        };
        let receiver = Station::start(receiving, open(End::Receiver, Box::new(sink)))?;
        let source = Null::source(super::SIZE).map_err(|error| error.to_string())?;
        let sender = Station::start(sending, open(End::Sender, Box::new(source)))?;
        let line = Self { sender, receiver, arrived, _socket: socket };
        let deadline = Instant::now() + PATIENCE;
        line.forward();
        while line.arrived.tx().packets == 0 {
            if Instant::now() > deadline {
                line.rest();
                return Err("no packet arrived in five seconds".to_owned());
            }
            sleep(Duration::from_millis(1));
        }
        line.rest();
        Ok(line)
    }

    /// Lets them run for a while: what arrived between two readings.
    pub(super) fn interval(&self, clock: Clock) -> Result<Lap, String> {
        self.forward();
        sleep(RUN_UP);
        let (begin, before) = (clock.now(), self.arrived.tx().packets);
        sleep(INTERVAL);
        let (end, after) = (clock.now(), self.arrived.tx().packets);
        self.rest();
        match after - before {
            0 => Err("no packet arrived".to_owned()),
            elements => Ok(Lap { ticks: end - begin, elements }),
        }
    }

    /// The memory under the sender.
    pub(super) fn backing(&self) -> Backing {
        self.sender.backing
    }

    fn forward(&self) {
        self.receiver.forward();
        self.sender.forward();
    }

    fn rest(&self) {
        self.sender.rest();
        self.receiver.rest();
    }

    /// Ends them; tells of the sender, and of the receiver.
    pub(super) fn close(self) -> [Option<Outcome>; 2] {
        let receiver = self.receiver.close(); // first: a client that trusts its peer waits until that has let go of the pages
        [self.sender.close(), receiver]
    }
}

/// One end of the line.
fn params_of(socket: &Path, end: End, trusted: bool) -> MemifParams {
    let params = MemifParams::new(socket);
    let params = if end == End::Receiver { params.server() } else { params };
    // SAFETY: both ends are devices of this library, in this process, at a socket of its own.
    MemifParams { trust: trusted.then(|| unsafe { Trust::peer() }), ..params }
}

/// A worker over a memif and `other`.
fn open(memif: &MemifParams, other: Box<dyn Device>, batch: usize) -> Result<(Zone, Worker), Box<dyn Error>> {
    let zone = Zone::new(&ZoneParams::pages(2 * PAGES))?;
    let pool = || PagePool::new(&zone, PoolParams { limit: PAGES, ..PoolParams::default() });
    let memif = Memif::open(&zone, memif)?.remove(0);
    let mut fabric = Fabric::new(1);
    fabric.budget(batch);
    fabric.add(0, Box::new(memif), pool()?)?;
    fabric.add(0, other, pool()?)?;
    Ok((zone, fabric.build()?.remove(0)))
}
