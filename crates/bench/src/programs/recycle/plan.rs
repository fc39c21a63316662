//! A load in virtual time: one packet arrives per step, and the plan says at which step each of its holders lets go.

/// How long the packet of one step is held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Hold {
    /// Steps until its holder lets go; 0: before the next packet arrives.
    pub(super) steps: u32,
    /// The same of a second holder, who has a reference to the page and knows nothing but pages.
    pub(super) second: Option<u32>,
}

/// One period of a load, which repeats for ever. Worked out beforehand, so that the loop that is timed only looks it up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    holds: Vec<Hold>,
    /// The [places](Self::due) to be let go, step after step.
    due: Vec<u32>,
    /// Where the places of each step end in `due`.
    ends: Vec<u32>,
}

impl Plan {
    /// The plan in which packet `i` of each period is held as `holds[i]` says.
    ///
    /// # Panics
    /// If a packet is held for a period or longer: it would still be there when its successor arrives.
    pub(super) fn new(holds: Vec<Hold>) -> Self {
        let period = holds.len();
        let mut due: Vec<(usize, usize)> = Vec::with_capacity(period);
        for (i, hold) in holds.iter().enumerate() {
            for (place, steps) in [(i, Some(hold.steps)), (period + i, hold.second)] {
                let Some(steps) = steps else { continue };
                assert!((steps as usize) < period, "packet {i} is held for {steps} steps of a period of {period}");
                due.push(((i + steps as usize) % period, place));
            }
        }
        due.sort_unstable();
        let ends = (0..period).map(|step| due.partition_point(|(at, _)| *at <= step) as u32).collect();
        Self { holds, due: due.into_iter().map(|(_, place)| place as u32).collect(), ends }
    }

    /// Steps, and so packets, of a period.
    pub(super) fn period(&self) -> usize {
        self.holds.len()
    }

    /// Whether the packet of this step has a second holder.
    #[inline]
    pub(super) fn has_second(&self, step: usize) -> bool {
        self.holds[step].second.is_some()
    }

    /// Who lets go at the end of this step: the holder of packet `place`, or from [`period`](Self::period) on the second holder of packet `place - period`.
    #[inline]
    pub(super) fn due(&self, step: usize) -> &[u32] {
        let begin = if step == 0 { 0 } else { self.ends[step - 1] };
        &self.due[begin as usize..self.ends[step] as usize]
    }

    /// Packets that are held at the end of each step, once a period has passed.
    pub(super) fn held(&self) -> Vec<usize> {
        let period = self.period();
        let mut change = vec![0isize; period];
        let mut held = 0; // by packets of the period before
        for (i, hold) in self.holds.iter().enumerate() {
            let until = i + hold.steps.max(hold.second.unwrap_or(0)) as usize;
            change[i] += 1;
            change[until % period] -= 1;
            held += isize::from(until >= period);
        }
        let sum = |change: &isize| {
            held += change;
            held as usize
        };
        change.iter().map(sum).collect()
    }

    /// The most that are held.
    pub(super) fn most_held(&self) -> usize {
        self.held().into_iter().max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_holder_lets_go_at_its_step_also_in_the_next_period() {
        let hold = |steps, second| Hold { steps, second };
        let plan = Plan::new(vec![hold(0, None), hold(1, Some(2)), hold(2, None)]);
        assert_eq!([plan.due(0), plan.due(1), plan.due(2)], [&[0, 4][..], &[2], &[1]]);
        assert!(plan.has_second(1) && !plan.has_second(2));
        assert_eq!(plan.held(), [1, 1, 2]);
    }

    #[test]
    #[should_panic(expected = "held for 2 steps of a period of 2")]
    fn no_packet_outlives_its_period() {
        Plan::new(vec![Hold { steps: 2, second: None }; 2]);
    }
}
