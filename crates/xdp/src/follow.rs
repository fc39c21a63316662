//! A loop whose pages are followed: around the devices, the program and the host, so that the loop itself knows nothing of it and pays nothing where they are not.

use crate::action::{Action, PortId};
use crate::buff::{XdpBuff, XdpFrame};
use crate::device::{Device, Traffic};
use crate::drops::Drops;
use crate::program::{Context, Program};
use crate::redirect::Host;
use crate::revive::Revive;
use crate::worker::Worker;
use crate::wrap::delegate;
use std::fmt;
use waterwheel_page_pool::mm::{Event, Holder, Note, Sampling};
use waterwheel_page_pool::{Holders, PagePool};

/// A device that says what happens to pages.
pub(crate) struct FollowDevice {
    inner: Box<dyn Device>,
    name: Holder,
    sampling: Sampling,
}

impl FollowDevice {
    /// Around `inner`, if the pages of its pool are followed.
    pub(crate) fn around(inner: Box<dyn Device>, pool: &PagePool) -> Box<dyn Device> {
        match pool.sampling() {
            Some(sampling) => Self::of(inner, sampling),
            None => inner,
        }
    }

    /// Around the devices that come after it, too.
    pub(crate) fn around_next(mut reviver: Box<dyn Revive>, pool: &PagePool) -> Box<dyn Revive> {
        match pool.sampling() {
            Some(sampling) => Box::new(move || reviver.revive().map(|device| Self::of(device, sampling))),
            None => reviver,
        }
    }

    fn of(inner: Box<dyn Device>, sampling: Sampling) -> Box<dyn Device> {
        Box::new(Self { name: Holder::named(inner.name()), inner, sampling })
    }
}

impl Device for FollowDevice {
    delegate!(
        name,
        capabilities,
        complete,
        tx_room,
        wait_tx,
        flush,
        wait,
        fds,
        health,
        mode,
        counters,
        lost,
        unsent,
        in_flight,
        account,
        shutdown
    );

    fn rx(&mut self, pool: &mut PagePool, batch: &mut Vec<XdpBuff>, budget: usize) -> usize {
        let before = batch.len();
        pool.taken_by(Some((Event::Posted, self.name)));
        let received = self.inner.rx(pool, batch, budget);
        pool.taken_by(None);
        Note::new(self.sampling, Event::Received, self.name).pages(&batch[before..], XdpBuff::page);
        received
    }

    fn tx(&mut self, pool: &mut PagePool, frames: &mut Vec<XdpFrame>, drops: &mut Drops) -> Traffic {
        // Before they are given away; what the device has no room for is returned at once.
        Note::new(self.sampling, Event::Queued, self.name).pages(frames, XdpFrame::page);
        pool.taken_by(Some((Event::Queued, self.name))); // for copies
        let sent = self.inner.tx(pool, frames, drops);
        pool.taken_by(None);
        sent
    }
}

/// What a worker has to know to follow pages that go to other workers.
#[derive(Debug, Clone)]
pub(crate) struct Trail {
    pub(crate) sampling: Sampling,
    /// By port number, of the whole fabric: the device's name, where another worker has it.
    pub(crate) others: Vec<Option<Holder>>,
}

/// A program whose verdicts are noted that send a page to another worker. What goes to a device of the same worker is there, and noted, at once.
pub(crate) struct FollowProgram<'a> {
    pub(crate) inner: &'a mut dyn Program,
    pub(crate) trail: Trail,
}

impl Program for FollowProgram<'_> {
    fn run(&mut self, cx: &Context, packets: &mut [XdpBuff], actions: &mut [Action]) {
        self.inner.run(cx, packets, actions);
        let mut from = 0;
        for same in actions.chunk_by(|a, b| a == b) {
            let sent = &packets[from..from + same.len()];
            from += same.len();
            if let Action::Redirect(target) = same[0]
                && let Some(name) = self.trail.others.get(usize::from(target.0)).copied().flatten()
            {
                Note::new(self.trail.sampling, Event::Redirected, name).pages(sent, XdpBuff::page);
            }
        }
    }
}

/// A host that is named.
pub(crate) struct FollowHost {
    inner: Box<dyn Host>,
    name: Holder,
}

impl FollowHost {
    pub(crate) fn around(inner: Box<dyn Host>) -> Box<dyn Host> {
        Box::new(Self { inner, name: Holder::named("the host") })
    }
}

impl Host for FollowHost {
    fn pass(&mut self, from: PortId, frame: XdpFrame) {
        frame.page().note_holder(self.name);
        self.inner.pass(from, frame);
    }
}

/// Who has the pages of one port's pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortHolders {
    /// The port.
    pub port: PortId,
    /// Its device's name.
    pub name: String,
    /// Frames and pages that its device has, by its own count; they may be of other pools.
    pub in_flight: usize,
    /// The pages of its pool.
    pub pool: Holders,
}

impl Worker {
    /// Who has the pages of its pools, by holder and age where pages are followed ([`Zone::trace`](waterwheel_page_pool::mm::Zone::trace), before pools and fabric are made); else how many are out, and
    /// how many each device has.
    pub fn holders(&mut self) -> Vec<PortHolders> {
        let ports = self.ports.iter().zip(&mut self.pools);
        let of = |(port, pool): (&crate::port::Port, &mut PagePool)| PortHolders {
            port: port.id,
            name: port.device.name().to_owned(),
            in_flight: port.device.in_flight(),
            pool: pool.holders(),
        };
        ports.map(of).collect()
    }
}

impl fmt::Display for PortHolders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {} has {} pages", self.pool, self.name, self.in_flight)
    }
}
