//! The caches: who has which line.

use std::collections::HashMap;
use std::ops::Sub;

/// log2 of the bytes of a cache line.
const LINE_SHIFT: u32 = 6;

/// What was counted, of all threads together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Reads, writes and read-modify-writes.
    pub accesses: u64,
    /// Atomic read-modify-writes; taking a lock is one, and so is releasing it.
    pub rmw: u64,
    /// Those of them whose line another thread had: it wrote it last, or has read it since.
    pub contended: u64,
    /// Those of them that achieved nothing: a compare-exchange that found another value, a lock that was held.
    pub failed: u64,
    /// Cache lines handed over: a thread read a line that another one wrote last, or wrote one of which another had a copy.
    pub handovers: u64,
}

impl Sub for Counts {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            accesses: self.accesses - before.accesses,
            rmw: self.rmw - before.rmw,
            contended: self.contended - before.contended,
            failed: self.failed - before.failed,
            handovers: self.handovers - before.handovers,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
    /// Read-modify-write: has the line to itself as a write does, also if it then changes nothing.
    Rmw,
}

/// A line that somebody has touched.
#[derive(Debug, Default)]
struct Line {
    /// Who wrote it last.
    writer: Option<usize>,
    /// Who has a copy: the last writer, and who has read it since.
    holders: Vec<usize>,
}

/// All lines, and what was counted. Caches are as large as need be: a line leaves one only when another thread writes it.
#[derive(Debug, Default)]
pub(crate) struct Model {
    lines: HashMap<usize, Line>,
    pub(crate) counts: Counts,
}

impl Model {
    /// `thread` touches `bytes` bytes at `address`.
    pub(crate) fn touch(&mut self, thread: usize, address: usize, bytes: usize, access: Access) {
        self.counts.accesses += 1;
        self.counts.rmw += u64::from(access == Access::Rmw);
        for line in address >> LINE_SHIFT..=(address + bytes.max(1) - 1) >> LINE_SHIFT {
            let line = self.lines.entry(line).or_default();
            let handed_over = match access {
                Access::Read => line.read(thread),
                Access::Write | Access::Rmw => line.write(thread),
            };
            self.counts.handovers += u64::from(handed_over);
            self.counts.contended += u64::from(handed_over && access == Access::Rmw);
        }
    }
}

impl Line {
    fn read(&mut self, thread: usize) -> bool {
        if self.holders.contains(&thread) {
            return false;
        }
        self.holders.push(thread);
        self.writer.is_some() // not this thread: a last writer is among the holders
    }

    fn write(&mut self, thread: usize) -> bool {
        let others = self.holders.iter().any(|holder| *holder != thread);
        self.holders.clear();
        self.holders.push(thread);
        self.writer = Some(thread);
        others
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a list of (thread, access) to one word hands over.
    fn handovers(accesses: &[(usize, Access)]) -> u64 {
        let mut model = Model::default();
        accesses.iter().for_each(|(thread, access)| model.touch(*thread, 0x1000, 8, *access));
        model.counts.handovers
    }

    #[test]
    fn a_line_of_ones_own_is_not_handed_over() {
        use Access::{Read, Rmw, Write};
        assert_eq!(handovers(&[(0, Read), (0, Write), (0, Rmw), (0, Read)]), 0);
    }

    #[test]
    fn a_line_that_is_only_read_is_not_handed_over() {
        assert_eq!(handovers(&[(0, Access::Read), (1, Access::Read), (0, Access::Read)]), 0);
    }

    #[test]
    fn each_reader_of_what_another_wrote_fetches_it_once() {
        use Access::{Read, Write};
        assert_eq!(handovers(&[(0, Write), (1, Read), (1, Read), (2, Read), (0, Read)]), 2);
    }

    #[test]
    fn a_writer_takes_it_from_all_who_read_it_at_once() {
        use Access::{Read, Write};
        assert_eq!(handovers(&[(0, Write), (1, Read), (2, Read), (0, Write), (0, Write)]), 3);
    }

    #[test]
    fn neighbours_in_a_line_disturb_each_other_and_those_in_the_next_do_not() {
        let mut model = Model::default();
        model.touch(0, 0x1000, 8, Access::Write);
        model.touch(1, 0x1038, 8, Access::Write);
        model.touch(0, 0x1040, 8, Access::Write);
        assert_eq!(model.counts.handovers, 1);
        model.touch(1, 0x103c, 8, Access::Rmw); // across the border
        assert_eq!((model.counts.handovers, model.counts.contended), (2, 1));
    }
}
