//! What every driver has to keep, as a suite that a driver is written against (feature `conformance`).
//!
//! A driver's tests say how a device and the other end of its wire are made (a [`Rig`]) and what the device promises (its [`Profile`]); [`conform`] runs every check of [`CHECKS`] that
//! applies and fails by the name of the rule that was broken. `docs/new-driver.md` writes a driver this way.
//!
//! ```
//! use waterwheel_xdp::conformance::{DevicePeer, Pair, Profile, Rig, conform};
//! use waterwheel_xdp::{Zone, veth};
//!
//! struct Memory;
//!
//! impl Rig for Memory {
//!     fn profile(&self) -> Profile {
//!         Profile { fills: true, longest: 9000, ..Profile::default() }
//!     }
//!
//!     fn open(&mut self, zone: &Zone, _: &[Vec<u8>]) -> Pair {
//!         let (near, far) = veth("near", "far", 256);
//!         Pair { device: Box::new(near), peer: Box::new(DevicePeer::new(Box::new(far), zone)) }
//!     }
//! }
//!
//! conform(&mut Memory);
//! ```
//!
//! Nothing here is timed: [`Profile::patience`] only says when the suite gives up on what does not come.

mod bed;
mod counts;
mod ends;
mod fragments;
mod losses;
mod pages;
mod pattern;
mod peer;
mod rings;
mod traffic;

pub use peer::{DevicePeer, Nobody, Peer};

use crate::device::Device;
use crate::mm::{HugePages, Users, ZoneParams};
use crate::{Account, Zone};
use std::fmt;
use std::time::Duration;

/// Makes the device under test.
pub trait Rig {
    /// What the device can do and promises. It is held to it.
    fn profile(&self) -> Profile;

    /// A new device and the other end of its wire. It may register the memory of `zone`, in which the suite's pool lies.
    ///
    /// `inbound` is what the device will be asked to receive: for one that reads from something which is there before it ([`Receives::File`]). Others leave it alone and are given
    /// their frames by [`Peer::put`].
    ///
    /// # Panics
    /// When it cannot be made: there is nothing to test then.
    fn open(&mut self, zone: &Zone, inbound: &[Vec<u8>]) -> Pair;

    /// A new device whose other end takes some frames, or none, and then no more for good: a full disk, a closed pipe, a connection that breaks. Nothing where that does not exist: what such a device takes
    /// is sent, dropped or left over at once.
    fn choke(&mut self, zone: &Zone) -> Option<Pair> {
        let _ = zone;
        None
    }

    /// Takes the other end away in the roughest manner there is, with frames in flight: the interface is deleted, the peer killed. What the next [`open`](Self::open) needs is there again
    /// by then. The other end itself is dropped right after.
    fn cut(&mut self) -> Cut {
        Cut::Survived
    }
}

/// A device and the other end of its wire.
pub struct Pair {
    /// The device under test.
    pub device: Box<dyn Device>,
    /// Who puts frames in and takes frames out.
    pub peer: Box<dyn Peer>,
}

/// What a device promises.
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    /// Where its packets come from.
    pub receives: Receives,
    /// Where its packets go.
    pub sends: Sends,
    /// What goes in comes out as long as both ends keep up; what does not is counted by a [`DropReason`](crate::DropReason).
    pub lossless: bool,
    /// In the order in which it went in, and once.
    pub ordered: bool,
    /// What goes in comes out byte by byte.
    pub faithful: bool,
    /// It knows of every packet that was lost before `rx` could give it: received + [lost](Device::lost) = what the other end put on the wire, as soon as it is quiet.
    pub knows_losses: bool,
    /// Its transmit ring has an end: when nobody kicks it and nobody takes anything out, `tx` leaves some of a few hundred frames over.
    pub fills: bool,
    /// The shortest frame that gets through, in bytes from the Ethernet header on, without FCS; at least 14.
    pub shortest: usize,
    /// The longest frame that gets through to the other end and back, in the same bytes: its MTU and 14.
    pub longest: usize,
    /// After so long without a sign of a frame the suite takes it for lost.
    pub patience: Duration,
}

impl Default for Profile {
    /// A wire with an MTU of 1500 that promises everything, with a transmit queue that has no end.
    fn default() -> Self {
        Self {
            receives: Receives::Wire,
            sends: Sends::Wire,
            lossless: true,
            ordered: true,
            faithful: true,
            knows_losses: false,
            fills: false,
            shortest: 14,
            longest: 1514,
            patience: Duration::from_secs(2),
        }
    }
}

/// Where a device's packets come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receives {
    /// It receives nothing.
    Nothing,
    /// From the other end.
    Wire,
    /// From what was there before it: the frames that [`Rig::open`] was given, and no more.
    File,
    /// It makes them.
    Own,
}

/// Where a device's packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sends {
    /// It sends nothing.
    Nothing,
    /// To the other end.
    Wire,
    /// To where the other end finds them once the device is shut down.
    File,
    /// Nobody sees them again.
    Sink,
}

/// What [`Rig::cut`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Nothing that the device notices: it stays up.
    Survived,
    /// The device is of no more use, and has to say so ([`Health::Failed`](crate::Health::Failed)).
    Failed,
}

/// A check, by the rule that it holds a device to.
#[derive(Clone, Copy)]
pub struct Check {
    /// The rule's name.
    pub name: &'static str,
    /// The rule.
    pub rule: &'static str,
    run: fn(&mut dyn Rig, &Zone) -> Verdict,
}

/// Of one check: whether there was anything to check, or how the rule was broken.
type Verdict = Result<Asked, String>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Yes,
    /// The profile does not promise that, and the device cannot do it.
    No,
}

/// Every check.
pub const CHECKS: &[Check] = &[
    Check {
        name: "profile",
        rule: "a device does what its profile and its capabilities say, and no more",
        run: counts::profile,
    },
    Check { name: "order", rule: "frames come out in the order in which they went in", run: traffic::order },
    Check { name: "payload", rule: "every byte comes out as it went in", run: traffic::payload },
    Check { name: "loss", rule: "what was taken comes out, or is counted as dropped", run: traffic::loss },
    Check { name: "duplicates", rule: "what went in once comes out once", run: traffic::duplicates },
    Check {
        name: "lengths",
        rule: "frames of every length up to the longest get through; longer ones are counted",
        run: traffic::lengths,
    },
    Check {
        name: "runts",
        rule: "what is shorter than an Ethernet header is sent or counted, and its page comes home",
        run: traffic::runts,
    },
    Check { name: "bursts", rule: "1, 2, 63, 64, 65 and 256 frames at once are all the same", run: traffic::bursts },
    Check {
        name: "fragments",
        rule: "a packet of several parts comes out whole, and one of more parts than the device takes is counted",
        run: fragments::fragments,
    },
    Check {
        name: "counters",
        rule: "taken = sent + dropped, in packets and in bytes, and received = what was appended",
        run: counts::counters,
    },
    Check {
        name: "losses",
        rule: "what is lost before rx is counted by a name for why, once, and no count becomes smaller",
        run: losses::losses,
    },
    Check {
        name: "unsent",
        rule: "what tx took and then could not write is unsent, and its health says why; nothing else is",
        run: losses::unsent,
    },
    Check { name: "budget", rule: "rx gives no more than it was asked for", run: counts::budget },
    Check {
        name: "ring_full",
        rule: "what finds no room stays in `frames`, in order; nothing of it is lost",
        run: rings::ring_full,
    },
    Check {
        name: "ring_empty",
        rule: "with nothing to receive there is no work, and `wait` says what wakes",
        run: rings::ring_empty,
    },
    Check {
        name: "tx_wait",
        rule: "without room to send, `wait_tx` says when there will be some, and never Now",
        run: rings::tx_wait,
    },
    Check { name: "returns", rule: "no call waits for the other end, or loops without a bound", run: ends::returns },
    Check { name: "the_last_packet", rule: "a source that has given everything says so", run: rings::the_last_packet },
    Check {
        name: "conservation",
        rule: "at every quiet moment every page is found, once, and `in_flight` counts the device's",
        run: pages::conservation,
    },
    Check {
        name: "foreign_pages",
        rule: "a page of another region is sent, copied or counted, and goes home",
        run: pages::foreign_pages,
    },
    Check { name: "orphans", rule: "a page whose pool is gone is sent as any other, and freed", run: pages::orphans },
    Check {
        name: "stop_while_busy",
        rule: "shut down with frames in flight, a device gives every page back",
        run: ends::stop_while_busy,
    },
    Check {
        name: "drop_while_busy",
        rule: "dropped with frames in flight, a device gives every page back",
        run: ends::drop_while_busy,
    },
    Check {
        name: "reset_while_busy",
        rule: "when the other end vanishes, nothing breaks, no page is lost, and the next device works",
        run: ends::reset_while_busy,
    },
    Check { name: "reopen", rule: "a device can be made again and again under one pool", run: ends::reopen },
];

/// A rule that a device broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule's name.
    pub rule: &'static str,
    /// What was seen.
    pub seen: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = CHECKS.iter().find(|check| check.name == self.rule).map_or("", |check| check.rule);
        write!(f, "{}: {} (the rule: {rule})", self.rule, self.seen)
    }
}

/// What became of a device.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Rules that were kept.
    pub kept: Vec<&'static str>,
    /// Rules that do not apply, by the profile.
    pub not_asked: Vec<&'static str>,
    /// Rules that were broken.
    pub broken: Vec<Violation>,
}

/// Runs every check, each with a device, a pool and memory of its own, and looks for every page after each.
pub fn run(rig: &mut dyn Rig) -> Report {
    let mut report = Report::default();
    for check in CHECKS {
        let zone = zone(bed::PAGES);
        match (check.run)(rig, &zone) {
            Ok(Asked::Yes) => report.kept.push(check.name),
            Ok(Asked::No) => report.not_asked.push(check.name),
            Err(seen) => report.broken.push(Violation { rule: check.name, seen }),
        }
        let account = Account::open(&zone).close(Users::Gone);
        if !account.is_whole() {
            let seen = format!("after `{}`, with nobody left: {account:?}", check.name);
            report.broken.push(Violation { rule: "conservation", seen });
        }
    }
    report
}

/// Runs every check, and says which rules were kept.
///
/// # Panics
/// When a rule was broken: with the name of each, and what was seen.
pub fn conform(rig: &mut dyn Rig) -> Report {
    let report = run(rig);
    let broken = report.broken.iter().map(|violation| format!("\n  {violation}")).collect::<String>();
    assert!(broken.is_empty(), "the device does not conform:{broken}");
    report
}

/// Memory of small pages: the machine's huge pages are not for tests.
fn zone(pages: usize) -> Zone {
    Zone::new(&ZoneParams { pages, huge_pages: HugePages::Never, ..ZoneParams::default() }).expect("memory for a test")
}

/// Ends a check with what was seen unless the condition holds.
macro_rules! ensure {
    ($holds:expr, $($seen:tt)+) => {
        if !$holds {
            return Err(format!($($seen)+));
        }
    };
}
use ensure;
