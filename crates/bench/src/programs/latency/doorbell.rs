//! A device in memory that wakes who waits for it, as an interrupt does.

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, OwnedFd};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use waterwheel_xdp::{
    Account, BorrowedFd, Capabilities, Device, Drops, Health, Homes, PagePool, Traffic, Veth, Wait, XdpBuff, XdpFrame,
};

/// One end of a veth, with a descriptor to wait on. (A veth itself has none: a loop that sleeps looks into it every millisecond.)
pub(super) struct Doorbell {
    veth: Veth,
    bell: Bell,
}

/// What the sender rings. It costs a system call only if somebody waits.
#[derive(Clone)]
pub(super) struct Bell(Arc<Inner>);

struct Inner {
    event: OwnedFd,
    /// Somebody is going to sleep, or sleeps.
    wanted: AtomicBool,
}

impl Doorbell {
    /// Receives what is sent into the other end of `veth`.
    pub(super) fn new(veth: Veth) -> io::Result<(Self, Bell)> {
        let event = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        let bell = Bell(Arc::new(Inner { event, wanted: AtomicBool::new(false) }));
        Ok((Self { veth, bell: bell.clone() }, bell))
    }
}

impl Bell {
    /// To be called after something was sent.
    #[inline]
    pub(super) fn ring(&self) {
        // Pairs with the fence in `fds`: either we see that it is wanted, or the sleeper sees what was sent.
        fence(Ordering::SeqCst);
        if self.0.wanted.load(Ordering::Relaxed) {
            self.0.wanted.store(false, Ordering::Relaxed);
            self.strike();
        }
    }

    fn strike(&self) {
        let _ = rustix::io::write(&self.0.event, &1u64.to_ne_bytes()); // fails when it rings already
    }
}

impl Device for Doorbell {
    fn name(&self) -> &str {
        self.veth.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.veth.capabilities()
    }

    fn complete(&mut self, homes: &mut Homes<'_>) -> usize {
        self.veth.complete(homes)
    }

    fn rx(&mut self, pool: &mut PagePool, batch: &mut Vec<XdpBuff>, budget: usize) -> usize {
        self.veth.rx(pool, batch, budget)
    }

    fn tx(&mut self, pool: &mut PagePool, frames: &mut Vec<XdpFrame>, drops: &mut Drops) -> Traffic {
        self.veth.tx(pool, frames, drops)
    }

    fn tx_room(&mut self) -> usize {
        self.veth.tx_room()
    }

    fn wait(&self) -> Wait {
        if self.veth.wait() == Wait::Now { Wait::Now } else { Wait::Readable }
    }

    fn fds<'a>(&'a self, add: &mut dyn FnMut(BorrowedFd<'a>)) {
        let inner = &self.bell.0;
        let _ = rustix::io::read(&inner.event, &mut [0u8; 8]); // what rang before; nothing mostly
        inner.wanted.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.veth.wait() == Wait::Now {
            self.bell.strike();
        }
        add(inner.event.as_fd());
    }

    fn health(&mut self) -> Health {
        self.veth.health()
    }

    fn account(&self, account: &mut Account) {
        self.veth.account(account);
    }

    fn shutdown(&mut self, homes: &mut Homes<'_>) {
        self.veth.shutdown(homes);
    }
}
