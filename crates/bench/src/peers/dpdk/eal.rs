//! DPDK's environment, which is started when the first peer asks for it, and loops on one CPU.

use super::ffi::{self, BATCH_MAX, Lcore, Pool, Ring, what};
use super::{Object, RingKind};
use crate::peers::{Loop, Work};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// As many as DPDK programs usually have; a power of two less one, which the ring behind the caches holds best.
const OBJECTS: usize = 32767;
const DATA_ROOM: usize = 2048;
/// Fewer of the large ones: they are for the cases with few packets out.
const LARGE_OBJECTS: usize = 8191;
/// A page, and a line more: with exactly a page, lines of neighbours fall together in the cache, which costs the peer up to twice the time.
const LARGE_DATA_ROOM: usize = 4096 + 64;
/// For the pools' caches and a few rings; the objects are elsewhere (`pool.c`).
const MEGABYTES: u32 = 64;
/// DPDK's environment, of which there is one in a process.
#[derive(Clone, Copy)]
pub(super) struct Eal(());

impl Eal {
    /// Starts it, if that has not happened yet, with the calling thread as lcore 0, on the CPU to which it is pinned.
    pub(super) fn get(cpu: usize) -> Result<Self, String> {
        static EAL: OnceLock<Result<Eal, String>> = OnceLock::new();
        let start =
            || ffi::init(cpu, MEGABYTES).map(|()| Self(())).map_err(|error| format!("rte_eal_init failed: {error}"));
        EAL.get_or_init(start).clone()
    }

    /// A pool whose objects lie in the order in which they come out, for each contender its own: from one that others have used they would come in the order in which those left them,
    /// which, where many are out, costs the peer up to three times the time.
    pub(super) fn pool(self, object: Object) -> Result<Pool, String> {
        match object {
            Object::Bare | Object::Mbuf => pool(OBJECTS, DATA_ROOM),
            Object::LargeMbuf => pool(LARGE_OBJECTS, LARGE_DATA_ROOM),
        }
    }
}

/// A pool of its own name.
fn pool(objects: usize, data_room: usize) -> Result<Pool, String> {
    Pool::new(&name(), objects, data_room).ok_or_else(|| format!("no memory for a pool of {objects} mbufs"))
}

/// A name that nothing of DPDK's in this process has yet.
fn name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("waterwheel{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

impl Object {
    pub(super) fn what(self) -> i32 {
        match self {
            Self::Bare => 0,
            Self::Mbuf | Self::LargeMbuf => what::MBUF,
        }
    }
}

impl RingKind {
    pub(super) fn what(self) -> i32 {
        what::PLAIN | if self.many { what::MANY } else { 0 } | if self.words { what::WORD } else { 0 }
    }
}

/// Which DPDK, and for which instruction set the loops were compiled.
pub(crate) fn version() -> &'static str {
    env!("WATERWHEEL_DPDK")
}

/// A ring of its own name.
pub(super) fn ring(slots: usize, what: i32) -> Result<Ring, String> {
    Ring::new(&name(), slots, what).ok_or_else(|| format!("no rte_ring of {slots} slots could be made"))
}

/// Objects taken from a pool and given back to it: `work.count` in each iteration. The calling thread is pinned to `cpu`.
pub(crate) fn pool_loop(cpu: usize, object: Object, work: Work) -> Result<Loop, String> {
    let pool = Eal::get(cpu)?.pool(object)?;
    if work.count > pool.available() {
        return Err(format!("the pool has no {} objects", work.count));
    }
    let what = object.what() | if work.bulk { what::BULK } else { 0 } | if work.touch { what::TOUCH } else { 0 };
    let mut places = vec![0usize; work.count];
    Ok(Box::new(move |loops| {
        let _cache = Lcore::enter();
        assert_eq!(pool.each(&mut places, loops, what), loops, "the pool has more objects than are out");
    }))
}

/// `batch` numbers put into a ring of `slots` and taken out again, all with one call each.
pub(crate) fn ring_loop(cpu: usize, kind: RingKind, batch: usize, slots: usize) -> Result<Loop, String> {
    Eal::get(cpu)?;
    if batch > BATCH_MAX || batch >= slots {
        return Err(format!("a batch of {batch} is too large for a ring of {slots}"));
    }
    let what = kind.what();
    let mut ring = ring(slots, what)?;
    Ok(Box::new(move |loops| assert_eq!(ring.both(batch, loops, what), loops, "the ring has room for a batch")))
}
