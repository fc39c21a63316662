//! A worker that forwards on a CPU of its own, between a sender and a receiver that are one thread.

use super::doorbell::{Bell, Doorbell};
use crate::harness::Clock;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use waterwheel_prog::Forward;
use waterwheel_xdp::mm::{PageAccount, Users, ZoneParams};
use waterwheel_xdp::{
    Account, Control, Device, Direction, Drops, Fabric, HEADROOM, Homes, Idle, PagePool, PoolParams, PortId, Veth,
    Worker, WorkerStats, XdpBuff, XdpFrame, Zone, veth,
};

/// Bytes of a packet; the stamp lies behind its Ethernet header.
const SIZE: usize = 64;
const STAMP: usize = 14;
/// Frames that fit into each veth.
const RING: usize = 1024;
const PAGES: usize = 2048;
/// A packet that takes longer is lost.
const LOST: Duration = Duration::from_secs(5);

/// How packets are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Load {
    /// The next one when the last one is there.
    OneAtATime,
    /// So many a second, evenly.
    Rate(u32),
}

/// How long to measure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub(super) time: Duration,
    pub(super) packets: usize,
}

/// Both far ends of the worker's two devices, and the worker.
pub(super) struct Wire {
    clock: Clock,
    zone: Zone,
    pools: Vec<PagePool>,
    to: Veth,
    bell: Bell,
    from: Veth,
    control: Control,
    worker: Option<JoinHandle<Worker>>,
    frames: Vec<XdpFrame>,
    batch: Vec<XdpBuff>,
    drops: Drops,
}

impl Wire {
    /// Starts the worker on `cpu`; it forwards from what is sent to what is received.
    pub(super) fn start(idle: Idle, cpu: usize, clock: Clock) -> Result<Self, Box<dyn std::error::Error>> {
        let zone = Zone::new(&ZoneParams::pages(2 * PAGES))?;
        let pool = |limit| PagePool::new(&zone, PoolParams { limit, ..PoolParams::default() });
        let ((to, left), (right, from)) = (veth("to", "left", RING), veth("right", "from", RING));
        let ((left, bell), (right, _)) = (Doorbell::new(left)?, Doorbell::new(right)?);
        let mut fabric = Fabric::new(1);
        fabric.idle(idle);
        fabric.pin(0, cpu);
        let left = fabric.add(0, Box::new(left), pool(64)?)?;
        let right = fabric.add(0, Box::new(right), pool(64)?)?;
        let mut worker = fabric.build()?.remove(0);
        let control = worker.control();
        let worker = std::thread::Builder::new().spawn(move || {
            worker.run(&mut forward(left, right));
            worker
        })?;
        Ok(Self {
            clock,
            pools: vec![pool(PAGES)?],
            zone,
            to,
            bell,
            from,
            control,
            worker: Some(worker),
            frames: Vec::with_capacity(1),
            batch: Vec::with_capacity(RING),
            drops: Drops::default(),
        })
    }

    /// Sends packets and writes how many ticks each was under way into `ticks`, as many as it has capacity for at most.
    ///
    /// # Errors
    /// A packet did not arrive.
    pub(super) fn measure(&mut self, load: Load, limit: Limit, ticks: &mut Vec<u64>) -> Result<(), String> {
        let gap = match load {
            Load::OneAtATime => 0,
            Load::Rate(rate) => self.clock.ticks(1e9 / f64::from(rate)),
        };
        let (end, mut under_way) = (Instant::now() + limit.time, 0);
        let mut due = self.clock.now();
        let mut heard = Instant::now();
        loop {
            let now = self.clock.now();
            let sending = ticks.len() + under_way < limit.packets && Instant::now() < end;
            if sending && now >= due && (under_way == 0 || load != Load::OneAtATime) {
                due = now.max(due + gap); // who was late does not send two at once
                under_way += usize::from(self.send());
            }
            let received = self.receive(ticks);
            under_way -= received;
            if received > 0 || under_way == 0 {
                heard = Instant::now();
            }
            if under_way == 0 && !sending {
                return Ok(());
            }
            if heard.elapsed() > LOST {
                return Err(format!("{under_way} packets did not arrive"));
            }
            std::hint::spin_loop();
        }
    }

    /// Sends a packet with the time in it.
    fn send(&mut self) -> bool {
        let Some(mut page) = self.pools[0].alloc(Direction::Tx) else { return false };
        let packet = &mut page.as_mut_slice()[HEADROOM..HEADROOM + SIZE];
        packet[STAMP..STAMP + 8].copy_from_slice(&self.clock.now().to_ne_bytes());
        self.frames.push(XdpBuff::new(page, HEADROOM, SIZE).into());
        let sent = self.to.tx(&mut self.pools[0], &mut self.frames, &mut self.drops);
        self.bell.ring();
        Homes::new(&mut self.pools).put_bulk(self.frames.drain(..).map(XdpFrame::into_page));
        sent.packets == 1
    }

    /// Takes what has arrived, and notes how long it was under way.
    fn receive(&mut self, ticks: &mut Vec<u64>) -> usize {
        self.from.rx(&mut self.pools[0], &mut self.batch, RING);
        let received = self.batch.len();
        if received > 0 {
            let now = self.clock.now();
            for packet in &self.batch {
                let stamp = packet.data()[STAMP..].first_chunk().map_or(now, |bytes| u64::from_ne_bytes(*bytes));
                ticks.push(now.saturating_sub(stamp));
            }
            Homes::new(&mut self.pools).put_bulk(self.batch.drain(..).map(XdpBuff::into_page));
        }
        received
    }

    /// Ends the worker: what it counted, and where the pages are.
    pub(super) fn close(mut self) -> Option<(WorkerStats, PageAccount)> {
        let stats = self.join()?;
        let zone = self.zone.clone();
        drop(self);
        Some((stats, Account::open(&zone).close(Users::Gone)))
    }

    fn join(&mut self) -> Option<WorkerStats> {
        self.control.stop();
        let worker = self.worker.take()?.join().ok()?;
        Some(worker.close())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.join();
    }
}

fn forward(from: PortId, to: PortId) -> Forward {
    let mut forward = Forward::new();
    forward.wire(from, to).wire(to, from);
    forward
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packet_arrives_once_and_every_page_comes_home() {
        let cpu = *waterwheel_xdp::mm::cpu::allowed_cpus().last().expect("a CPU");
        for idle in [Idle::Spin, Idle::Adaptive, Idle::Sleep] {
            for load in [Load::OneAtATime, Load::Rate(2000)] {
                let mut wire = Wire::start(idle, cpu, Clock::new()).expect("memory");
                let mut ticks = Vec::new();
                let limit = Limit { time: Duration::from_secs(60), packets: 100 };
                wire.measure(load, limit, &mut ticks).expect("packets");
                let (stats, account) = wire.close().expect("a worker");
                assert_eq!(
                    (ticks.len(), stats.actions.redirect, stats.drops.total()),
                    (100, 100, 0),
                    "{idle} {load:?}"
                );
                assert!(account.is_whole(), "{account:?}");
                assert!(idle != Idle::Spin || stats.sleeps == 0, "{} sleeps", stats.sleeps);
            }
        }
    }
}
