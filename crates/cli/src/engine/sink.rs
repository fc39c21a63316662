//! Devices that only send in this run.

use waterwheel_xdp::mm::Account;
use waterwheel_xdp::{Capabilities, Device, Drops, Health, Homes, PagePool, Traffic, Veth, Wait, XdpBuff, XdpFrame};

use rustix::fd::BorrowedFd;

/// A device whose receive side is left alone: it is no source, so that a run ends when the real ones have.
pub(super) struct SendOnly<D> {
    device: D,
    mode: &'static str,
    /// It wants to be polled all the same: AF_XDP keeps its fill ring there.
    polled: bool,
}

impl<D: Device> SendOnly<D> {
    /// Nothing is read from `device`: what comes stays where it is.
    pub(super) fn new(device: D, mode: &'static str) -> Self {
        Self { device, mode, polled: false }
    }

    /// `device` is polled, and nothing comes from it.
    pub(super) fn polled(device: D, mode: &'static str) -> Self {
        Self { device, mode, polled: true }
    }
}

impl<D: Device> Device for SendOnly<D> {
    fn name(&self) -> &str {
        self.device.name()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { rx: false, ..self.device.capabilities() }
    }

    fn complete(&mut self, homes: &mut Homes<'_>) -> usize {
        self.device.complete(homes)
    }

    fn rx(&mut self, pool: &mut PagePool, batch: &mut Vec<XdpBuff>, budget: usize) -> usize {
        if self.polled { self.device.rx(pool, batch, budget) } else { 0 }
    }

    fn tx(&mut self, pool: &mut PagePool, frames: &mut Vec<XdpFrame>, drops: &mut Drops) -> Traffic {
        self.device.tx(pool, frames, drops)
    }

    fn tx_room(&mut self) -> usize {
        self.device.tx_room()
    }

    /// The descriptors of a device that is not polled are not waited on.
    fn wait_tx(&self) -> Wait {
        match self.device.wait_tx() {
            Wait::Readable if !self.polled => Wait::soon(),
            wait => wait,
        }
    }

    fn flush(&mut self) {
        self.device.flush();
    }

    fn wait(&self) -> Wait {
        if self.polled { self.device.wait() } else { Wait::Never }
    }

    fn fds<'a>(&'a self, add: &mut dyn FnMut(BorrowedFd<'a>)) {
        if self.polled {
            self.device.fds(add);
        }
    }

    fn health(&mut self) -> Health {
        self.device.health()
    }

    /// Of a device that is not polled also what it says itself: that it is not connected, say.
    fn mode(&self) -> String {
        let own = if self.polled { String::new() } else { self.device.mode() };
        let all = [self.mode, &own].into_iter().filter(|mode| !mode.is_empty());
        all.collect::<Vec<_>>().join(", ")
    }

    fn counters(&self, count: &mut dyn FnMut(&'static str, u64)) {
        self.device.counters(count);
    }

    /// What comes to a device that is not polled stays where it is: nobody wanted it.
    fn lost(&self, count: &mut dyn FnMut(&'static str, u64)) {
        if self.polled {
            self.device.lost(count);
        }
    }

    fn unsent(&self) -> Traffic {
        self.device.unsent()
    }

    fn in_flight(&self) -> usize {
        self.device.in_flight()
    }

    fn account(&self, account: &mut Account) {
        self.device.account(account);
    }

    fn shutdown(&mut self, homes: &mut Homes<'_>) {
        self.device.shutdown(homes);
    }
}

/// One end of a pair whose other end nobody else has: what is sent crosses the ring and is swallowed there.
pub(super) struct Plugged {
    near: Veth,
    far: Veth,
    arrived: Vec<XdpBuff>,
}

impl Plugged {
    pub(super) fn new(near: Veth, far: Veth) -> Self {
        Self { near, far, arrived: Vec::with_capacity(waterwheel_xdp::BUDGET) }
    }
}

impl Device for Plugged {
    fn name(&self) -> &str {
        self.near.name()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { rx: false, ..self.near.capabilities() }
    }

    fn complete(&mut self, _: &mut Homes<'_>) -> usize {
        0
    }

    fn rx(&mut self, pool: &mut PagePool, _: &mut Vec<XdpBuff>, budget: usize) -> usize {
        self.far.rx(pool, &mut self.arrived, budget.min(waterwheel_xdp::BUDGET));
        drop(pool.take_back(self.arrived.drain(..).map(XdpBuff::into_page)));
        0
    }

    fn tx(&mut self, pool: &mut PagePool, frames: &mut Vec<XdpFrame>, drops: &mut Drops) -> Traffic {
        self.near.tx(pool, frames, drops)
    }

    fn tx_room(&mut self) -> usize {
        self.near.tx_room()
    }

    fn wait(&self) -> Wait {
        self.far.wait()
    }

    fn account(&self, account: &mut Account) {
        self.near.account(account);
        self.far.account(account);
    }

    fn shutdown(&mut self, homes: &mut Homes<'_>) {
        self.near.shutdown(homes);
        self.far.shutdown(homes);
    }
}
