//! What a relay has done.

/// Counters of a worker, or of all together; those without another word are counted from the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RelayStats {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections that are open now.
    pub open: u64,
    /// Connections that ended in order: both sides had said all they had to say.
    pub finished: u64,
    /// Bytes passed on from those who connected to where the relay connects: what the other side's kernel has acknowledged, up to a second ago while connections are open.
    pub bytes_up: u64,
    /// Bytes passed on the other way.
    pub bytes_down: u64,
    /// Connections whose other half could not be made.
    pub connect_failed: u64,
    /// Of these: nobody listens there.
    pub connect_refused: u64,
    /// Of these: nobody answers.
    pub connect_timed_out: u64,
    /// Of these: there is no way there.
    pub connect_unreachable: u64,
    /// Connections that one side reset, or lost.
    pub reset: u64,
    /// Connections reset as nothing moved.
    pub idle_timeout: u64,
    /// Connections reset as the relay ended.
    pub stopped: u64,
    /// Times that accepting failed (no descriptors, no memory) and was tried again later.
    pub accept_errors: u64,
    /// Times that a direction stopped receiving as its pages were not taken.
    pub stalls: u64,
    /// Directions that are stopped now.
    pub stalled: u64,
    /// Times that a receive found no page.
    pub starved: u64,
    /// Bytes that came and were not passed on, of connections that were cut off: not read, not sent, or sent and not acknowledged.
    pub bytes_dropped: u64,
    /// Bytes of connections that both sides had ended, left to the kernel when the relay ended: it goes on sending them, and whether they arrive is not known.
    pub bytes_unacknowledged: u64,
    /// Sends.
    pub sends: u64,
    /// Zero-copy sends that the network has done with.
    pub zc_sent: u64,
    /// Of these, how many were copied after all.
    pub zc_copied: u64,
    /// Zero-copy sends that the kernel refused; they were sent plainly.
    pub zc_refused: u64,
    /// System calls of the rings.
    pub enters: u64,
    /// Blocks held by connections now: received, not yet sent or not yet acknowledged.
    pub held: u64,
    /// The most that were held at a time (of each worker).
    pub held_max: u64,
    /// Blocks that wait for what is received now.
    pub waiting: u64,
    /// Blocks that the pools have given out.
    pub taken: u64,
    /// Of these, how many the zone had to be asked for.
    pub missed: u64,
    /// Completions that made no sense.
    pub bad_completions: u64,
    /// Connections of whose end there is no word, as nobody took it in time: only where a log was asked for.
    pub unlogged: u64,
}

impl RelayStats {
    /// All counters, by stable names.
    pub fn each(&self, mut count: impl FnMut(&'static str, u64)) {
        let Self { accepted, open, finished, bytes_up, bytes_down, connect_failed, reset, idle_timeout, .. } = *self;
        let Self {
            stopped, accept_errors, stalls, stalled, starved, bytes_dropped, bytes_unacknowledged, sends, ..
        } = *self;
        let Self {
            zc_sent,
            zc_copied,
            zc_refused,
            enters,
            held,
            held_max,
            waiting,
            taken,
            missed,
            bad_completions,
            connect_refused,
            connect_timed_out,
            connect_unreachable,
            unlogged,
            ..
        } = *self;
        count("accepted", accepted);
        count("open", open);
        count("finished", finished);
        count("bytes_up", bytes_up);
        count("bytes_down", bytes_down);
        count("connect_failed", connect_failed);
        count("connect_refused", connect_refused);
        count("connect_timed_out", connect_timed_out);
        count("connect_unreachable", connect_unreachable);
        count("reset", reset);
        count("idle_timeout", idle_timeout);
        count("stopped", stopped);
        count("accept_errors", accept_errors);
        count("stalls", stalls);
        count("stalled", stalled);
        count("starved", starved);
        count("bytes_dropped", bytes_dropped);
        count("bytes_unacknowledged", bytes_unacknowledged);
        count("sends", sends);
        count("zc_sent", zc_sent);
        count("zc_copied", zc_copied);
        count("zc_refused", zc_refused);
        count("enters", enters);
        count("held", held);
        count("held_max", held_max);
        count("waiting", waiting);
        count("taken", taken);
        count("missed", missed);
        count("bad_completions", bad_completions);
        count("unlogged", unlogged);
    }

    /// Adds the counters of another worker.
    pub(super) fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.open += other.open;
        self.finished += other.finished;
        self.bytes_up += other.bytes_up;
        self.bytes_down += other.bytes_down;
        self.connect_failed += other.connect_failed;
        self.connect_refused += other.connect_refused;
        self.connect_timed_out += other.connect_timed_out;
        self.connect_unreachable += other.connect_unreachable;
        self.reset += other.reset;
        self.idle_timeout += other.idle_timeout;
        self.stopped += other.stopped;
        self.accept_errors += other.accept_errors;
        self.stalls += other.stalls;
        self.stalled += other.stalled;
        self.starved += other.starved;
        self.bytes_dropped += other.bytes_dropped;
        self.bytes_unacknowledged += other.bytes_unacknowledged;
        self.sends += other.sends;
        self.zc_sent += other.zc_sent;
        self.zc_copied += other.zc_copied;
        self.zc_refused += other.zc_refused;
        self.enters += other.enters;
        self.held += other.held;
        self.held_max += other.held_max;
        self.waiting += other.waiting;
        self.taken += other.taken;
        self.missed += other.missed;
        self.bad_completions += other.bad_completions;
        self.unlogged += other.unlogged;
    }
}
