//! Who gets what: queues to workers, targets to sources, pages to pools.

use std::thread::available_parallelism;

use super::open::Wanted;
use crate::config::{Fate, Plan};
use crate::failure::{Class, Failure};

/// Pages for what is between the rings of a receiver: batches, bulk queues, spare pages of devices, frames that are being handed over.
const UNDER_WAY: usize = 1024;
/// The same, when pages are short: a budget here and there.
const AT_LEAST: usize = 128;

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
    /// Blocks that each device's pool may have.
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
            let workers = if self.workers == 1 { "worker" } else { "workers" };
            self.notices.push(format!("{} {workers} instead of {asked}: each needs a queue", self.workers));
        }
        // Queue n of one device meets queue n of the other on the same worker, unless there are more workers than that.
        let by_queue = self.workers <= queues;
        self.worker_of = (0..wanted.len())
            .map(|device| if by_queue { wanted[device].queue } else { device } % self.workers)
            .collect();
    }

    fn share_pages(&mut self, plan: &Plan, wanted: &[Wanted]) -> Result<(), Failure> {
        // What each pool would have if every ring that its pages can lie in were full.
        let full = |device: usize| {
            let targets = self.wires.iter().filter(|(from, _)| *from == device).map(|(_, to)| wanted[*to].tx_pages);
            let receives = wanted[device].receives();
            let blocks = wanted[device].posted
                + wanted[device].received
                + targets.sum::<usize>()
                + if receives { UNDER_WAY } else { 0 };
            blocks << wanted[device].order
        };
        let full = (0..wanted.len()).map(full).collect::<Vec<_>>();
        let all = full.iter().sum::<usize>().max(1);
        self.pages = plan.pages.map_or(all.next_multiple_of(512), |pages| usize::try_from(pages).unwrap_or(usize::MAX));
        let least = |wanted: &Wanted| (wanted.posted + if wanted.receives() { AT_LEAST } else { 0 }) << wanted.order;
        let least = wanted.iter().map(least).sum::<usize>();
        if self.pages < least {
            let pages = self.pages;
            let message = format!(
                "{pages} pages are too few: {least} are needed, so that the rings can be filled: --pages {least} or more, or smaller rings (see 'waterwheel help devices')"
            );
            return Err(Failure::new(Class::Config, message));
        }
        // No pool can take what another one needs.
        let limit = |(full, wanted): (&usize, &Wanted)| scaled(self.pages, *full, all) >> wanted.order;
        self.limits = full.iter().zip(wanted).map(limit).collect();
        Ok(())
    }
}

/// `pages * part / all`, rounded down.
fn scaled(pages: usize, part: usize, all: usize) -> usize {
    usize::try_from(pages as u128 * part as u128 / all as u128).unwrap_or(usize::MAX)
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
        assert_eq!((many.workers, many.notices), (2, vec!["2 workers instead of 9: each needs a queue".to_owned()]));
        let one = layout("drop veth:a --workers 9", &[1]).expect("a layout");
        assert_eq!(one.notices, ["1 worker instead of 9: each needs a queue"]);
    }

    #[test]
    fn pages_are_shared_so_that_no_pool_starves_another() {
        let ample = layout("forward veth:a veth:b", &[1, 1]).expect("a layout");
        assert!(ample.limits.iter().sum::<usize>() <= ample.pages);
        assert!(ample.limits.iter().all(|limit| *limit >= 3000 + UNDER_WAY), "every ring can be full: {ample:?}");
        let tight = layout("forward veth:a veth:b --pages 2256", &[1, 1]).expect("a layout");
        assert_eq!((tight.pages, tight.limits.as_slice()), (2256, &[1128, 1128][..]));
        let failure = layout("forward veth:a veth:b --pages 2255", &[1, 1]).expect_err("too few");
        assert_eq!(failure.class, Class::Config);
        assert!(failure.message.contains("--pages 2256"), "{}", failure.message);
    }
}
