//! The peers: other people's code doing the same work in the same run.

mod child;
pub(crate) mod dpdk;
pub(crate) mod kernel;
#[cfg(feature = "peers")]
mod mimalloc;
#[cfg(not(feature = "peers"))]
mod mimalloc {
    pub(super) const VERSION: &str = "no mimalloc";

    pub(super) fn pool_loop(_work: super::Work) -> Result<super::Loop, String> {
        Err("built without the feature peers".into())
    }
}

pub(crate) mod relays;
pub(crate) mod testpmd;

use crate::harness::{Group, Lap};

/// Why a peer that is a program was not started.
const NOT_ASKED: &str = "a peer that is a program: start with --peers";

/// A loop of as many iterations as it is told.
pub(crate) type Loop = Box<dyn FnMut(u64)>;
/// Works on about as many elements as it is told, and takes the time; or says why it cannot.
pub(crate) type Timed = Box<dyn FnMut(u64) -> Result<Lap, String>>;

/// What is done in one iteration with a pool of packet memory, ours or a peer's: `count` buffers are taken, then all given back in the same order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Work {
    /// Buffers.
    pub(crate) count: usize,
    /// All with one call, where there is such a call.
    pub(crate) bulk: bool,
    /// Eight bytes are written to where the packet would begin, in each.
    pub(crate) touch: bool,
}

/// Whose packet memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// DPDK's objects.
    Mempool,
    /// DPDK's packet buffers.
    Mbuf,
    /// DPDK's packet buffers with 4 KiB of data room.
    LargeMbuf,
    /// `malloc` of 4 KiB.
    Mimalloc,
}

impl Peer {
    /// As the rows are called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mempool => "rte_mempool",
            Self::Mbuf => "rte_pktmbuf",
            Self::LargeMbuf => "rte_pktmbuf 4K",
            Self::Mimalloc => "mimalloc",
        }
    }

    /// What it does, in the words of its own interface.
    fn calls(self, bulk: bool) -> &'static str {
        match (self, bulk) {
            (Self::Mempool, false) => {
                "rte_mempool_get + _put; objects of 2 KiB with header, cache 512, transparent huge pages"
            }
            (Self::Mempool, true) => {
                "rte_mempool_get_bulk + _put_bulk; objects of 2 KiB with header, cache 512, transparent huge pages"
            }
            (Self::Mbuf, false) => "rte_pktmbuf_alloc + _free; 2 KiB of data room, cache 512, transparent huge pages",
            (Self::Mbuf, true) => {
                "rte_pktmbuf_alloc_bulk + _free_bulk; 2 KiB of data room, cache 512, transparent huge pages"
            }
            (Self::LargeMbuf, false) => {
                "rte_pktmbuf_alloc + _free; 4 KiB of data room, cache 512, transparent huge pages"
            }
            (Self::LargeMbuf, true) => {
                "rte_pktmbuf_alloc_bulk + _free_bulk; 4 KiB of data room, cache 512, transparent huge pages"
            }
            (Self::Mimalloc, _) => "mi_malloc(4096) + mi_free, which have no bulk calls",
        }
    }

    /// Its loop, on the calling thread, which is pinned to `cpu`.
    pub(crate) fn looped(self, cpu: usize, work: Work) -> Result<Loop, String> {
        match self {
            Self::Mempool => dpdk::pool_loop(cpu, dpdk::Object::Bare, work),
            Self::Mbuf => dpdk::pool_loop(cpu, dpdk::Object::Mbuf, work),
            Self::LargeMbuf => dpdk::pool_loop(cpu, dpdk::Object::LargeMbuf, work),
            Self::Mimalloc => mimalloc::pool_loop(work),
        }
    }

    fn version(self) -> &'static str {
        if self == Self::Mimalloc { mimalloc::VERSION } else { dpdk::version() }
    }
}

/// Adds `peers` to the contenders, or says why they cannot be there.
pub(crate) fn add(group: &mut Group<'_, '_>, peers: &[Peer], work: Work) {
    for &peer in peers {
        let cpu = group.session().cpus().first().copied().unwrap_or(0);
        match peer.looped(cpu, work) {
            Ok(body) => {
                let touched = if work.touch { "; the first line of the data is written" } else { "" };
                let text = format!("{}{touched} ({})", peer.calls(work.bulk), peer.version());
                group.peer(peer.name(), text, work.count as u64, body);
            }
            Err(why) => group.absent(peer.name(), why),
        }
    }
}
