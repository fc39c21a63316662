//! The loop. Start here.
//!
//! One round of a worker polls each of its ports once, in the manner of the kernel's NAPI: at most `budget` packets, all of one batch together.
//!
//! ```text
//! complete   frames that the hardware has sent: their pages go home
//! rx         fills a batch; empty pages for the device come from the port's pool, in bulk
//! run        one call of the program per batch, an action per packet
//! dispatch   Drop, Aborted  the page goes back into its pool's cache, without an atomic
//!            Tx, Redirect   into the bulk queue of the target; the page itself moves
//!            Pass           to the host, which may hold it
//! transmit   bulk queues to their devices or to other workers; what a target does not take is counted and dropped
//! flush      one kick per device
//! ```

use crate::action::{Action, PortId};
use crate::buff::{MAX_FRAGS, XdpBuff, XdpFrame};
use crate::device::Traffic;
use crate::drops::{DropReason, Drops};
use crate::homes::Homes;
use crate::port::Port;
use crate::program::{Context, Program};
use crate::redirect::Route;
use crate::worker::Worker;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use waterwheel_page_pool::PagePool;

impl Worker {
    /// One round over all ports. Tells how many packets and completions there were: 0 is an idle round.
    ///
    /// # Panics
    /// When the program, the host or a device does. What of the batch was not sent by then is dropped, and counted as aborted. One may catch the panic and go on.
    pub fn poll(&mut self, program: &mut dyn Program) -> usize {
        match catch_unwind(AssertUnwindSafe(|| self.round(program))) {
            Ok(work) => work,
            Err(panic) => {
                self.reckon();
                resume_unwind(panic)
            }
        }
    }

    fn round(&mut self, program: &mut dyn Program) -> usize {
        let mut work = 0;
        for i in 0..self.ports.len() {
            work += self.poll_port(i, program);
        }
        work += self.take_handovers();
        for port in self.ports.iter_mut().filter(|port| port.up) {
            port.device.flush();
        }
        self.stats.rounds += 1;
        if work == 0 {
            std::iter::zip(&mut self.ports, &self.pools).for_each(|(port, pool)| port.note_starving(pool));
        }
        work
    }

    /// Polls one port.
    fn poll_port(&mut self, i: usize, program: &mut dyn Program) -> usize {
        let port = &mut self.ports[i];
        if !port.up {
            return 0;
        }
        let mut work = port.device.complete(&mut Homes::new(&mut self.pools));
        let budget = self.rx_budget(i);
        if budget == 0 {
            return work;
        }
        self.receiving = Some((i, budget));
        self.ports[i].device.rx(&mut self.pools[i], &mut self.batch, budget);
        let received = self.batch.len(); // what is there counts, not what the device says
        self.count_received();
        if received > 0 {
            let id = self.ports[i].id;
            self.actions.clear();
            self.actions.resize(received, Action::Aborted);
            program.run(&Context { port: id }, &mut self.batch, &mut self.actions);
            self.dispatch(id);
            work += received;
        }
        work
    }

    /// Counts the batch as received, if a device was asked for one.
    pub(crate) fn count_received(&mut self) {
        if let Some((i, budget)) = self.receiving.take() {
            self.control.give_back(budget, self.batch.len());
            self.ports[i].rx.merge(Traffic::of(&self.batch));
        }
    }

    /// How many packets port `i` may receive now.
    fn rx_budget(&mut self, i: usize) -> usize {
        let mut budget = self.budget;
        if let Some(target) = self.ports[i].paced_by.map(|i| &mut self.ports[i]) {
            if target.up {
                budget = budget.min(target.device.tx_room());
            } else if target.is_reviving() {
                budget = 0; // who can wait loses nothing
            }
            self.ports[i].held_up = budget == 0;
        }
        self.control.take(budget)
    }

    /// Does with the batch what the program said.
    fn dispatch(&mut self, from: PortId) {
        let (mut batch, actions) = (std::mem::take(&mut self.batch), std::mem::take(&mut self.actions));
        let first = actions[0];
        if first.is_that_of(&actions) {
            // Mostly a program says the same of a whole batch; then it moves as a whole.
            batch = self.act_on_all(from, first, batch);
        } else {
            batch.drain(..).zip(&actions).for_each(|(packet, action)| self.act(from, *action, std::iter::once(packet)));
        }
        (self.batch, self.actions) = (batch, actions);
        self.transmit();
    }

    /// Does `action` with a whole batch; gives its memory back, to be used again.
    fn act_on_all(&mut self, from: PortId, action: Action, mut batch: Vec<XdpBuff>) -> Vec<XdpBuff> {
        let (target, counter) = match action {
            Action::Tx => (from, &mut self.stats.actions.tx),
            Action::Redirect(target) => (target, &mut self.stats.actions.redirect),
            _ => {
                self.act(from, action, batch.drain(..));
                return batch;
            }
        };
        match self.bulk.get_mut(usize::from(target.0)) {
            // The batch becomes the queue, the empty queue the next batch. (Both conversions happen in place: a frame is a buff.)
            Some(queue) if queue.frames.is_empty() => {
                *counter += batch.len() as u64;
                self.waiting.push(target);
                let frames = batch.into_iter().map(XdpFrame::from).collect();
                std::mem::replace(&mut queue.frames, frames).into_iter().map(XdpBuff::from).collect()
            }
            _ => {
                self.act(from, action, batch.drain(..));
                batch
            }
        }
    }

    /// Does `action` with all of `packets`.
    #[inline]
    fn act(&mut self, from: PortId, action: Action, packets: impl ExactSizeIterator<Item = XdpBuff>) {
        let n = packets.len() as u64;
        match action {
            Action::Drop(reason) => {
                self.stats.actions.drop += n;
                self.drop_packets(reason, packets);
            }
            Action::Aborted => {
                self.stats.actions.aborted += n;
                self.drop_packets(DropReason::Aborted, packets);
            }
            Action::Tx => {
                self.stats.actions.tx += n;
                self.enqueue(from, packets);
            }
            Action::Redirect(target) => {
                self.stats.actions.redirect += n;
                self.enqueue(target, packets);
            }
            Action::Pass => {
                self.stats.actions.pass += n;
                match &mut self.host {
                    Some(host) => packets.for_each(|packet| {
                        self.passed += 1; // one by one: a host may panic
                        host.pass(from, packet.into());
                    }),
                    None => self.drop_packets(DropReason::NoHost, packets),
                }
            }
        }
    }

    fn drop_packets(&mut self, reason: DropReason, packets: impl ExactSizeIterator<Item = XdpBuff>) {
        self.stats.drops.add(reason, packets.len() as u64);
        Homes::new(&mut self.pools).put_bulk(packets.map(XdpBuff::into_page));
    }

    /// Puts packets into the bulk queue of `target`.
    fn enqueue(&mut self, target: PortId, packets: impl ExactSizeIterator<Item = XdpBuff>) {
        match self.bulk.get_mut(usize::from(target.0)) {
            Some(queue) => {
                if queue.frames.is_empty() {
                    self.waiting.push(target);
                }
                queue.frames.extend(packets.map(XdpFrame::from));
            }
            None => self.drop_packets(DropReason::NoTarget, packets),
        }
    }

    /// Sends what is in the bulk queues.
    fn transmit(&mut self) {
        while let Some(target) = self.waiting.pop() {
            let queue = &mut self.bulk[usize::from(target.0)];
            let reason = match &mut queue.route {
                Route::Local(i) => {
                    let port = &mut self.ports[*i];
                    if port.max_frags < MAX_FRAGS {
                        drop_fragmented(port, &mut queue.frames, &mut self.pools, &mut self.stats.drops);
                    }
                    if port.up {
                        let sent = port.device.tx(&mut self.pools[*i], &mut queue.frames, &mut self.stats.drops);
                        port.tx.merge(sent);
                        DropReason::TxRingFull
                    } else {
                        DropReason::DeviceDown
                    }
                }
                Route::Remote { worker, ring } => {
                    let handed = ring.produce_batch(&mut queue.frames);
                    self.stats.handed_over += handed as u64;
                    if handed > 0 && !self.control.wake(*worker) {
                        self.stats.taken_over += self.control.take_back(*worker, &mut queue.frames) as u64;
                        DropReason::WorkerGone
                    } else {
                        DropReason::HandoverFull
                    }
                }
            };
            if !queue.frames.is_empty() {
                self.stats.drops.add(reason, queue.frames.len() as u64);
                Homes::new(&mut self.pools).put_bulk(queue.frames.drain(..).map(XdpFrame::into_page));
            }
        }
    }

    /// Sends what other workers have handed over.
    pub(crate) fn take_handovers(&mut self) -> usize {
        let mut work = 0;
        for i in 0..self.handovers.len() {
            let (target, ring) = &self.handovers[i];
            let taken = ring.consume_batch(&mut self.bulk[usize::from(target.0)].frames, self.budget);
            if taken > 0 {
                self.stats.taken_over += taken as u64;
                self.waiting.push(*target);
                self.transmit();
                work += taken;
            }
        }
        work
    }
}

/// What has more fragments than a device takes does not get there. Where it would be too long in one piece, too, that is what its sender has to know.
fn drop_fragmented(port: &Port, frames: &mut Vec<XdpFrame>, pools: &mut [PagePool], drops: &mut Drops) {
    let most = port.max_frags;
    if frames.iter().any(|frame| frame.frag_count() > most) {
        let refused = frames.extract_if(.., |frame| frame.frag_count() > most);
        Homes::new(pools).put_bulk(refused.map(|frame| {
            let too_long = frame.total_len() > port.max_frame;
            drops.add(if too_long { DropReason::FrameTooLong } else { DropReason::TooManyFrags }, 1);
            frame.into_page()
        }));
    }
}
