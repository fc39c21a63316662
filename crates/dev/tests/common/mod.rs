//! A zone, a pool, and what a loop does with a device.
#![allow(dead_code, reason = "every test file uses a part of it")]

#[cfg(feature = "pcap")]
pub(crate) mod full;
#[cfg(feature = "uring")]
pub(crate) mod locked;
#[cfg(feature = "uring")]
pub(crate) mod sockets;

use waterwheel_xdp::mm::{HugePages, Users, ZoneParams};
use waterwheel_xdp::{
    Account, Device, Direction, DropReason, Drops, Homes, PagePool, PoolParams, Traffic, XdpBuff, XdpFrame, Zone,
};

/// At its end it looks for every page: none may be missing.
pub(crate) struct Bench {
    zone: Zone,
    pools: Vec<PagePool>,
    drops: Drops,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with_pages(512)
    }

    pub(crate) fn with_pages(pages: usize) -> Self {
        Self::with_blocks(pages, 0)
    }

    /// Whose pool has blocks of `1 << order` pages.
    pub(crate) fn with_blocks(pages: usize, order: u8) -> Self {
        Self::of(&ZoneParams::pages(pages), order)
    }

    /// Whose memory is not of huge pages, even if the machine has some: a peer that does not trust us takes none of those.
    pub(crate) fn of_small_pages() -> Self {
        Self::of(&ZoneParams { huge_pages: HugePages::Never, ..ZoneParams::pages(512) }, 0)
    }

    fn of(params: &ZoneParams, order: u8) -> Self {
        let (zone, pages) = (Zone::new(params).unwrap(), params.pages);
        let params = PoolParams { order, limit: pages >> order, ..PoolParams::default() };
        let pools = vec![PagePool::new(&zone, params).unwrap()];
        Self { zone, pools, drops: Drops::default() }
    }

    pub(crate) fn zone(&self) -> &Zone {
        &self.zone
    }

    /// One `rx` with this budget.
    pub(crate) fn receive(&mut self, device: &mut impl Device, budget: usize) -> Vec<XdpBuff> {
        let mut batch = Vec::with_capacity(budget);
        let received = device.rx(&mut self.pools[0], &mut batch, budget);
        assert_eq!(received, batch.len());
        assert!(
            batch.iter().all(|packet| !packet.has_frags() || packet.tailroom() == 0),
            "a part is full before the next begins"
        );
        assert!(received <= budget);
        batch
    }

    /// One `tx`, which must take all of the frames.
    pub(crate) fn send(&mut self, device: &mut impl Device, mut frames: Vec<XdpFrame>) -> Traffic {
        let (count, dropped) = (frames.len() as u64, self.drops.total());
        let traffic = device.tx(&mut self.pools[0], &mut frames, &mut self.drops);
        assert!(frames.is_empty());
        assert_eq!(traffic.packets + self.drops.total() - dropped, count, "sent or dropped");
        device.flush();
        traffic
    }

    /// One `tx`, which takes what it has room for.
    pub(crate) fn offer(&mut self, device: &mut impl Device, frames: &mut Vec<XdpFrame>) -> Traffic {
        device.tx(&mut self.pools[0], frames, &mut self.drops)
    }

    pub(crate) fn complete(&mut self, device: &mut impl Device) -> usize {
        device.complete(&mut Homes::new(&mut self.pools))
    }

    pub(crate) fn recycle(&mut self, packets: Vec<XdpBuff>) {
        packets.into_iter().for_each(|packet| self.pools[0].put(packet.into_page()));
    }

    pub(crate) fn frame(&mut self, bytes: &[u8]) -> XdpFrame {
        XdpBuff::copy_from(&mut self.pools[0], Direction::Tx, bytes).unwrap().into()
    }

    pub(crate) fn drops(&self, reason: DropReason) -> u64 {
        self.drops.get(reason)
    }

    /// The end of a device: before, all its pages are found; after, it has none.
    pub(crate) fn finish(&mut self, device: impl Device) {
        self.finish_with(device, |_| {});
    }

    /// The same, with a look at the device after its shutdown.
    pub(crate) fn finish_with<D: Device>(&mut self, mut device: D, look: impl FnOnce(&mut D)) {
        let mut account = Account::open(&self.zone);
        self.pools[0].account(&mut account);
        device.account(&mut account);
        let account = account.close(Users::Gone);
        assert_eq!((account.leaked, account.conflicts), (0, 0), "{account:?}");
        assert_eq!(account.held_by_devices, device.in_flight() << self.pools[0].order(), "{account:?}");
        device.shutdown(&mut Homes::new(&mut self.pools));
        assert_eq!(device.in_flight(), 0);
        look(&mut device);
        let mut account = Account::open(&self.zone);
        device.account(&mut account);
        assert_eq!(account.close(Users::Alive).held_by_devices, 0);
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.pools.clear();
        let account = Account::open(&self.zone).close(Users::Gone);
        assert!(account.is_whole() || std::thread::panicking(), "{account:?}");
    }
}

/// All bytes of a packet.
pub(crate) fn whole(packet: &XdpBuff) -> Vec<u8> {
    packet.parts().flatten().copied().collect()
}
