//! Which packets of a stream have left.

use std::collections::VecDeque;

use waterwheel_xdp::Traffic;

/// So many packets are remembered until it is asked which of them have arrived; if most have not, twice as many as those.
const MANY: usize = 4096;

/// The packets of one connection that went into its stream, by where in it they end. A packet is sent when its last byte is.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// Bytes that were taken, and bytes that the kernel has, of all connections so far.
    taken: u64,
    written: u64,
    /// Where packets end that may not have arrived.
    ends: VecDeque<u64>,
    /// How many of those the kernel has as a whole.
    complete: usize,
    /// How many those were when it was asked last.
    known: usize,
    unsent: Traffic,
}

impl Outgoing {
    /// A packet of so many bytes is to be sent.
    pub(super) fn take(&mut self, bytes: usize) {
        self.taken += bytes as u64;
        self.ends.push_back(self.taken);
    }

    /// The kernel has so many bytes more.
    pub(super) fn wrote(&mut self, bytes: u32) {
        self.written += u64::from(bytes);
        while self.ends.get(self.complete).is_some_and(|end| *end <= self.written) {
            self.complete += 1;
        }
    }

    /// Packets that the kernel does not have as a whole.
    pub(super) fn waiting(&self) -> usize {
        self.ends.len() - self.complete
    }

    /// Whether it is time to say what has [arrived](Self::arrived).
    pub(super) fn is_long(&self) -> bool {
        self.complete >= MANY.max(2 * self.known)
    }

    /// All that the kernel has, but for the last so many bytes, has arrived.
    pub(super) fn arrived(&mut self, unacknowledged: usize) {
        let arrived = self.written.saturating_sub(unacknowledged as u64);
        while self.complete > 0 && self.ends.front().is_some_and(|end| *end <= arrived) {
            self.ends.pop_front();
            self.complete -= 1;
        }
        self.known = self.complete;
    }

    /// The connection is over. What the kernel does not have will not be sent, nor will the last so many bytes of what it has.
    pub(super) fn cut(&mut self, lost: usize) {
        let sent = self.written.saturating_sub(lost as u64);
        let unsent = self.ends.iter().filter(|end| **end > sent).count();
        self.unsent.merge(Traffic { packets: unsent as u64, bytes: self.taken - sent });
        self.ends.clear();
        (self.complete, self.known, self.written) = (0, 0, self.taken);
    }

    /// What was taken and not sent.
    pub(super) fn unsent(&self) -> Traffic {
        self.unsent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(packets: &[usize]) -> Outgoing {
        let mut outgoing = Outgoing::default();
        packets.iter().for_each(|bytes| outgoing.take(*bytes));
        outgoing
    }

    #[test]
    fn a_packet_is_sent_when_its_last_byte_is() {
        for (written, lost, packets, bytes) in [
            (0, 0, 3, 600),
            (99, 0, 3, 501),
            (100, 0, 2, 500),
            (299, 0, 2, 301),
            (300, 0, 1, 300),
            (600, 0, 0, 0),
            (600, 1, 1, 1),
            (600, 301, 2, 301),
            (600, 600, 3, 600),
            (600, 9000, 3, 600),
        ] {
            let mut outgoing = of(&[100, 200, 300]);
            outgoing.wrote(written);
            outgoing.cut(lost);
            assert_eq!(outgoing.unsent(), Traffic { packets, bytes }, "{written} {lost}");
            // What belongs to the next connection is counted from there on.
            outgoing.take(50);
            assert_eq!(outgoing.waiting(), 1);
            outgoing.wrote(50);
            assert_eq!(outgoing.waiting(), 0);
            outgoing.cut(0);
            assert_eq!(outgoing.unsent(), Traffic { packets, bytes });
        }
    }

    #[test]
    fn what_has_arrived_is_forgotten_and_nothing_else() {
        let mut outgoing = Outgoing::default();
        for _ in 0..3 * MANY {
            outgoing.take(2);
            outgoing.wrote(2);
        }
        assert!(outgoing.is_long());
        outgoing.arrived(3 * MANY);
        assert_eq!(outgoing.ends.len(), 3 * MANY / 2);
        assert!(!outgoing.is_long());
        outgoing.cut(2 * MANY);
        assert_eq!(outgoing.unsent(), Traffic { packets: MANY as u64, bytes: 2 * MANY as u64 });
    }
}
