//! What does not hold.

use std::fmt;
use waterwheel_mm::PageAccount;

/// Something that must hold did not: where, and what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Of the run.
    pub seed: u64,
    /// The thread that found it, such as `worker 1`.
    pub actor: String,
    /// The actor's step, from 1.
    pub step: u64,
    /// What was found.
    pub broken: Broken,
}

/// Which promise was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Broken {
    /// A packet's bytes are not those that were written.
    Bytes {
        /// The zone, by its node.
        zone: u32,
        /// The (first) page in its zone.
        page: u32,
        /// The first wrong byte, from the start of the page.
        offset: usize,
        /// What was written there.
        expected: u8,
        /// What is there.
        found: u8,
        /// The packet, as far as it is known.
        packet: String,
        /// Who looked: `received`, `held` and so on.
        place: &'static str,
    },
    /// Pages that nobody has, or that two have.
    Pages {
        /// The zone, by its node.
        zone: u32,
        /// What was found.
        account: PageAccount,
    },
    /// A pool's own count of its pages is not what it has at home and out.
    Pool {
        /// Pages taken from zones and not given back, as the pool counts them.
        inflight: u64,
        /// Pages in its cache.
        cached: u64,
        /// Pages that are out.
        outstanding: u64,
    },
    /// Received packets that were neither sent, nor passed on, nor dropped for a reason.
    Packets {
        /// Received.
        received: u64,
        /// Accounted for.
        accounted: u64,
    },
    /// Something happened so often, and was counted so often.
    Counts {
        /// What.
        what: &'static str,
        /// So often.
        happened: u64,
        /// By those who have to count it.
        counted: u64,
    },
    /// A worker died, and does not say so.
    Silence,
    /// A page was mapped twice for a device, unmapped without having been mapped, or still mapped when its pool was gone.
    Mapping(String),
    /// All pages are free, and by its history one is still with somebody.
    History(String),
    /// A thread panicked; its message is on standard error.
    Panic,
}

impl Broken {
    /// Pages are missing, or are more than they should be.
    pub fn is_leak(&self) -> bool {
        match self {
            Broken::Pages { account, .. } => account.conflicts == 0,
            Broken::Pool { .. } => true,
            Broken::Bytes { .. }
            | Broken::Packets { .. }
            | Broken::Counts { .. }
            | Broken::Silence
            | Broken::Mapping(_)
            | Broken::History(_)
            | Broken::Panic => false,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { seed, actor, step, broken } = self;
        match broken {
            Broken::Bytes { zone, page, offset, expected, found, packet, place } => write!(
                f,
                "corrupt packet: page {page} of zone {zone}: byte {offset} is {found:#04x} and was written as {expected:#04x} ({place}: {packet})"
            ),
            Broken::Pages { zone, account: a } => write!(
                f,
                "{}: zone {zone} has {} pages: {} free, {} frozen, {} held by devices, {} held by users, {} quarantined, {} with nobody, {} with two holders",
                if a.conflicts > 0 { "pages with two holders" } else { "pages leaked" },
                a.total,
                a.free,
                a.frozen,
                a.held_by_devices,
                a.held_by_users,
                a.quarantined,
                a.leaked,
                a.conflicts
            ),
            Broken::Pool { inflight, cached, outstanding } => {
                write!(f, "a pool counts {inflight} pages and has {cached} at home and {outstanding} out")
            }
            Broken::Packets { received, accounted } => {
                write!(f, "packets lost: {received} were received, {accounted} sent, passed on or dropped for a reason")
            }
            Broken::Counts { what, happened, counted } => {
                write!(f, "{what}: there were {happened}, and {counted} are counted")
            }
            Broken::Silence => f.write_str("a worker died, and does not say so"),
            Broken::Mapping(what) => write!(f, "device mappings: {what}"),
            Broken::History(held) => write!(f, "all pages are free, and this is said of them: {held}"),
            Broken::Panic => f.write_str("a thread panicked"),
        }?;
        write!(f, "; seed {seed}, {actor}, step {step}")
    }
}

impl std::error::Error for Violation {}
