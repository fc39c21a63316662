//! What the running kernel's io_uring can do, and what is done without it.

use std::fmt;

use io_uring::{IoUring, Probe, opcode};

/// Features to do without, though the kernel may have them: for tests of the plain paths, and for measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Without {
    /// Buffer rings (Linux 5.19): each receive is given a page of its own then.
    pub buffer_ring: bool,
    /// Multishot receive (Linux 6.0): one request per receive then.
    pub multishot: bool,
    /// Receive bundles (Linux 6.10; taken from 6.16 on, as earlier ones could tell a wrong number of buffers): one page per completion then.
    pub bundle: bool,
    /// Zero-copy send with a report of its use (Linux 6.2): plain send then.
    pub send_zc: bool,
    /// Registered memory for zero-copy sends: the kernel pins pages for each send then.
    pub fixed: bool,
    /// Completions that are made when we ask for them (Linux 6.1): they interrupt us then.
    pub defer_taskrun: bool,
}

/// What is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features {
    /// Received bytes go into pages of a ring that all sockets share.
    pub buffer_ring: bool,
    /// One request receives until it is cancelled.
    pub multishot: bool,
    /// One completion may fill several pages.
    pub bundle: bool,
    /// Pages can be sent without a copy, and the kernel says when it is done with them and whether it copied.
    pub send_zc: bool,
    /// The zone's memory is registered.
    pub fixed: bool,
    /// Completions are made when we ask for them.
    pub defer_taskrun: bool,
}

impl Features {
    /// What `ring` offers, less what is not wanted. `buffer_ring` and `fixed` are tried by whoever registers them.
    pub(super) fn of(ring: &IoUring, without: Without, defer_taskrun: bool) -> Self {
        let mut probe = Probe::new();
        // A kernel that cannot be asked (before 5.6) has none of these.
        let asked = ring.submitter().register_probe(&mut probe).is_ok();
        let has = |code| asked && probe.is_supported(code);
        // Multishot receive has no flag; it came with an operation that can be asked for.
        let linux_6_0 = has(opcode::SendZc::CODE);
        // The report of use came with Linux 6.2, whose mark is that of 6.3 (registered rings by index): asked for by trial, see `Ring::sent`.
        let bundle = ring.params().is_feature_recvsend_bundle() && release() >= (6, 16);
        Self {
            buffer_ring: false,
            multishot: linux_6_0 && !without.multishot,
            bundle: bundle && !without.bundle,
            send_zc: has(opcode::SendMsgZc::CODE) && !without.send_zc,
            fixed: false,
            defer_taskrun,
        }
    }

    /// What is not used, by name.
    pub fn missing(&self) -> impl Iterator<Item = &'static str> {
        [
            (self.buffer_ring, "buffer rings"),
            (self.multishot, "multishot receive"),
            (self.bundle, "receive bundles"),
            (self.send_zc, "zero-copy send"),
            (self.fixed, "registered memory"),
            (self.defer_taskrun, "deferred task work"),
        ]
        .into_iter()
        .filter_map(|(used, name)| (!used).then_some(name))
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = self.missing().collect::<Vec<_>>().join(", ");
        if missing.is_empty() { f.write_str("io_uring") } else { write!(f, "io_uring without {missing}") }
    }
}

/// The kernel's version, as far as it matters here.
fn release() -> (u32, u32) {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
