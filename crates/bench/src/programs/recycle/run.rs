//! Driving a scheme by a plan.

use super::plan::Plan;
use super::scheme::Scheme;
use std::hint::black_box;
use std::rc::Rc;

/// What a scheme did in one period, after warming up. It does not depend on the machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figures {
    /// Share of the packets whose buffer needed no page from the allocator, in per cent.
    pub(super) hits: f64,
    /// Pages taken from the allocator and given back to it, per packet.
    pub(super) allocator: f64,
    /// Calls to map and to unmap a page, per packet.
    pub(super) mapping: f64,
    /// The most pages that scheme and holders had.
    pub(super) most_pages: u64,
    /// Their mean.
    pub(super) mean_pages: f64,
    /// Packets lost for want of a page.
    pub(super) lost: u64,
}

/// A scheme under a load.
pub(super) struct Run<S: Scheme> {
    /// By [place](Plan::due).
    held: Box<[Option<S::Held>]>,
    scheme: S,
    plan: Rc<Plan>,
    /// Packets for which there was no page; also the first ones, while the receive ring fills.
    lost: u64,
}

impl<S: Scheme> Run<S> {
    pub(super) fn new(scheme: S, plan: &Rc<Plan>) -> Self {
        Self { held: (0..2 * plan.period()).map(|_| None).collect(), scheme, plan: plan.clone(), lost: 0 }
    }

    /// Runs through one period.
    #[inline]
    pub(super) fn period(&mut self) {
        (0..self.plan.period()).for_each(|step| self.step(step));
    }

    /// One packet arrives, then those let go who are to.
    #[inline]
    fn step(&mut self, step: usize) {
        let (scheme, held) = (black_box(&mut self.scheme), &mut self.held);
        let period = self.plan.period();
        if let Some(packet) = scheme.receive() {
            if self.plan.has_second(step) {
                held[period + step] = Some(scheme.get_page(&packet));
            }
            held[step] = Some(packet);
        } else {
            self.lost += 1;
        }
        for &place in self.plan.due(step) {
            match held[place as usize].take() {
                Some(packet) if (place as usize) < period => scheme.let_go(packet),
                Some(packet) => scheme.put_page(packet),
                None => {} // of the first period, or lost
            }
        }
    }

    /// Warms up for two periods, and counts in a third.
    pub(super) fn figures(&mut self) -> Figures {
        (0..2).for_each(|_| self.period());
        let before = self.scheme.tally();
        let (mut most_pages, mut sum_pages, lost_before) = (0, 0, self.lost);
        for step in 0..self.plan.period() {
            self.step(step);
            let pages = self.scheme.tally().pages();
            most_pages = most_pages.max(pages);
            sum_pages += pages;
        }
        let (after, packets) = (self.scheme.tally(), self.plan.period() as f64);
        let allocated = (after.allocated - before.allocated) as f64;
        Figures {
            hits: 100.0 * (1.0 - allocated / packets),
            allocator: (allocated + (after.freed - before.freed) as f64) / packets,
            mapping: (after.maps - before.maps + after.unmaps - before.unmaps) as f64 / packets,
            most_pages,
            mean_pages: sum_pages as f64 / packets,
            lost: self.lost - lost_before,
        }
    }
}
