//! Who gets what: queues to workers, targets to sources, pages to pools.

use std::thread::available_parallelism;

use super::open::Wanted;
use crate::config::{Fate, Plan};
use crate::failure::{Class, Failure};

/// Pages that a pool needs for what is between the rings: batches, bulk queues, spare pages of devices, frames that are being handed over.
const UNDER_WAY: usize = 512;
/// The same, when pages are short: a budget here and there.
const AT_LEAST: usize = 256;

/// Indices are those of the devices, one for each queue.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) workers: usize,
    pub(super) worker_of: Vec<usize>,
    /// Where packets go: from, to.
    pub(super) wires: Vec<(usize, usize)>,
    /// Sources that wait until the target has room.
    pub(super) patient: Vec<bool>,
    /// Pages of the region.
    pub(super) pages: usize,
    /// Pages that each device's pool may have.
    pub(super) limits: Vec<usize>,
    pub(super) notices: Vec<String>,
}

impl Layout {
    /// # Errors
    /// Fewer pages than the rings need.
    pub(super) fn new(plan: &Plan, wanted: &[Wanted]) -> Result<Self, Failure> {
        let mut layout = Self { wires: wires(plan, wanted), ..Self::default() };
        layout.patient = wanted.iter().map(Wanted::is_patient).collect();
        layout.assign_workers(plan, wanted);
        layout.share_pages(plan, wanted)?;
        Ok(layout)
    }

    fn assign_workers(&mut self, plan: &Plan, wanted: &[Wanted]) {
        let queues = wanted.iter().map(|wanted| wanted.queue + 1).max().unwrap_or(1);
        let cpus = available_parallelism().map_or(1, usize::from);
        let asked = plan.workers.map(|workers| usize::try_from(workers).unwrap_or(usize::MAX));
        self.workers = asked.unwrap_or(queues.min(cpus)).min(wanted.len());
        if let Some(asked) = asked
            && asked > self.workers
        {
            self.notices.push(format!("{} workers instead of {asked}: there is one queue for each", self.workers));
        }
        // Queue n of one device meets queue n of the other on the same worker, unless there are more workers than that.
        let by_queue = self.workers <= queues;
        self.worker_of = (0..wanted.len())
            .map(|device| if by_queue { wanted[device].queue } else { device } % self.workers)
            .collect();
    }

    fn share_pages(&mut self, plan: &Plan, wanted: &[Wanted]) -> Result<(), Failure> {
        let rings = (0..wanted.len()).map(|device| {
            let targets = self.wires.iter().filter(|(from, _)| *from == device).map(|(_, to)| wanted[*to].tx_pages);
            wanted[device].rx_pages + targets.sum::<usize>()
        });
        let rings = rings.collect::<Vec<_>>();
        let needed = |spare: usize| rings.iter().map(|pages| pages + spare).sum::<usize>();
        let default = needed(UNDER_WAY).next_multiple_of(512).max(2048);
        self.pages = plan.pages.map_or(default, |pages| usize::try_from(pages).unwrap_or(usize::MAX));
        let least = needed(AT_LEAST);
        if self.pages < least {
            let message = format!(
                "{} pages are too few: the rings and what is between them need {least} (--pages {least}, or smaller rings: see 'waterwheel help devices')",
                self.pages
            );
            return Err(Failure::new(Class::Config, message));
        }
        // What is left over is shared, so that no pool can take what another one needs.
        let extra = (self.pages - least) / wanted.len();
        self.limits = rings.iter().map(|pages| pages + AT_LEAST + extra).collect();
        Ok(())
    }
}

/// Queue n to queue n; where the target has fewer, they share.
fn wires(plan: &Plan, wanted: &[Wanted]) -> Vec<(usize, usize)> {
    let queues = |port: usize| (0..wanted.len()).filter(move |device| wanted[*device].port == port).collect::<Vec<_>>();
    let mut wires = Vec::new();
    for (port, config) in plan.ports.iter().enumerate() {
        let target = match config.fate {
            Some(Fate::Forward(target)) => target,
            Some(Fate::Tx) => port,
            Some(Fate::Drop) | None => continue,
        };
        let targets = queues(target);
        wires.extend(queues(port).into_iter().zip(targets.into_iter().cycle()));
    }
    wires
}

#[cfg(test)]
mod tests {
    use super::super::open::tests::queues;
    use super::*;
    use crate::config::tests::plan;

    fn layout(line: &str, counts: &[usize]) -> Result<Layout, Failure> {
        Layout::new(&plan(line).expect(line), &queues(counts))
    }

    #[test]
    fn queues_meet_on_one_worker() {
        let two = layout("forward veth:a veth:b --workers 2", &[2, 2]).expect("a layout");
        assert_eq!((two.workers, two.worker_of.as_slice()), (2, &[0, 1, 0, 1][..]));
        assert_eq!(two.wires, [(0, 2), (1, 3), (2, 0), (3, 1)]);
        let one = layout("forward veth:a veth:b --workers 1", &[2, 1]).expect("a layout");
        assert_eq!(one.worker_of, [0, 0, 0]);
        assert_eq!(one.wires, [(0, 2), (1, 2), (2, 0)], "queues share a target that has fewer");
        let apart = layout("forward veth:a veth:b --workers 2", &[1, 1]).expect("a layout");
        assert_eq!(apart.worker_of, [0, 1], "more workers than queues: a device each");
        let many = layout("forward veth:a veth:b --workers 9", &[1, 1]).expect("a layout");
        assert_eq!((many.workers, many.notices.len()), (2, 1));
    }

    #[test]
    fn pages_are_shared_so_that_no_pool_starves_another() {
        let layout = layout("forward veth:a veth:b", &[1, 1]).expect("a layout");
        assert!(layout.limits.iter().sum::<usize>() <= layout.pages);
        let tight = super::tests::layout("forward veth:a veth:b --pages 5000", &[1, 1]).expect("a layout");
        assert!(tight.limits.iter().all(|limit| *limit >= 2000 + AT_LEAST), "{tight:?}");
        let failure = super::tests::layout("forward veth:a veth:b --pages 100", &[1, 1]).expect_err("too few");
        assert_eq!(failure.class, Class::Config);
        assert!(failure.message.contains("--pages 4512"), "{}", failure.message);
    }
}
