//! Packets that the host has sent to a tap and that its reader was too slow for.

use std::cell::Cell;

/// What the kernel counts of an interface: packets that found the queue to its reader full (`tx_dropped`, drivers/net/tun.c). It is counted from here on.
#[derive(Debug)]
pub(super) struct QueueFull {
    interface: String,
    /// What it counted before, of a tap that was there already.
    before: u64,
    /// What was seen last: the interface may be gone.
    seen: Cell<u64>,
}

impl QueueFull {
    pub(super) fn new(interface: &str) -> Self {
        let before = tx_dropped(interface).unwrap_or(0);
        Self { interface: interface.to_owned(), before, seen: Cell::new(0) }
    }

    /// Looks again.
    pub(super) fn now(&self) -> u64 {
        let now = tx_dropped(&self.interface).unwrap_or(0).saturating_sub(self.before);
        self.seen.set(self.seen.get().max(now));
        self.seen.get()
    }
}

/// Of an interface in the network namespace of this thread (proc_pid_net(5)).
fn tx_dropped(interface: &str) -> Option<u64> {
    find(&std::fs::read_to_string("/proc/thread-self/net/dev").ok()?, interface)
}

/// The columns behind the name: eight of what the interface received, then what it sent: bytes, packets, errors, drops.
fn find(text: &str, interface: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(interface)?.strip_prefix(':'))?;
    line.split_whitespace().nth(11)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_column_of_what_was_dropped() {
        let text = "Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 2776770   11307    0    0    0     0          0         0  2776770   11307    0    0    0     0       0          0
  tap1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16
 tap10:1 2 3 4 5 6 7 8 9 10 11 120 13 14 15 16
";
        assert_eq!((find(text, "tap1"), find(text, "tap10"), find(text, "lo")), (Some(12), Some(120), Some(0)));
        assert_eq!((find(text, "tap"), find(text, "")), (None, None));
    }
}
