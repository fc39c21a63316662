//! `dpdk-testpmd` over `net_null`, DPDK's device in memory: `rxonly`, `macswap` and `io`.
//!
//! It forwards on the CPU that ours is measured on, and stands still while ours runs. How fast it is is told by what it has counted between two moments of our clock;
//! its own column of packets per second is not used.

use super::{NOT_ASKED, child::Talk};
use crate::event::Side;
use crate::harness::{Clock, Group, Lap};
use crate::programs::xdp::{SIZE, Verdict};
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

/// As it is called in the rows.
pub(crate) const NAME: &str = "dpdk-testpmd";
/// Packets at a time, of the cases in which it is a contender.
pub(crate) const BURSTS: [usize; 2] = [32, 64];

/// What it counts is read twice, so long apart: a reading comes some hundredth of a millisecond after the clock, sooner or later.
pub(crate) const INTERVAL: Duration = Duration::from_millis(30);
/// Between the start of forwarding and the first reading.
const RUN_UP: Duration = Duration::from_millis(5);
/// DPDK sets itself up within a second or two.
const START: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(5);
/// Buffers in its pool, which has a cache of 250 of them for its CPU.
const BUFFERS: usize = 8192;
/// Its memory in MiB, of which the buffers take a third.
const MEMORY: usize = 64;

/// Adds it to the contenders, or says why it is absent.
pub(crate) fn contend(group: &mut Group<'_, '_>, verdict: Verdict, burst: usize, huge_pages: bool) {
    if !group.session().options().peers {
        return group.absent(NAME, NOT_ASKED);
    }
    let &[forwarding, commands, ..] = group.session().cpus() else {
        return group.absent(NAME, "it needs a second CPU for its command line");
    };
    let (mode, ports) = match verdict {
        Verdict::Drop => ("rxonly", 1),
        Verdict::Tx => ("macswap", 1),
        Verdict::Redirect => ("io", 2),
    };
    let devices = (0..ports).map(|port| format!("net_null{port},size={SIZE}")).collect();
    let (buffers, memory) = (BUFFERS, MEMORY);
    let setup = Setup { devices, mode, burst, forwarding, commands, huge_pages, buffers, memory };
    let mut testpmd = match Testpmd::start(&setup) {
        Ok(testpmd) => testpmd,
        Err(why) => return group.absent(NAME, why),
    };
    let memory = if huge_pages { "huge pages" } else { "4 KiB pages" };
    let does = match verdict {
        Verdict::Drop => "rxonly over one net_null: an mbuf from the mempool, freed at once",
        Verdict::Tx => {
            "macswap over one net_null: an mbuf from the mempool, its addresses swapped, freed one by one while it is sent"
        }
        Verdict::Redirect => {
            "io over two net_null, both ways: an mbuf from the mempool, freed one by one while it is sent"
        }
    };
    let work = format!("{does}; {SIZE} bytes not written to, {memory}; received {burst} at a time; counted");
    let clock = group.clock();
    group.fallible(Side::Peer, NAME, work, move |_| testpmd.interval(clock));
}

/// How it is set up.
pub(crate) struct Setup {
    /// Its devices, in the words of `--vdev`: two forward to each other, one to itself.
    pub(crate) devices: Vec<String>,
    /// `io`, `rxonly` ...
    pub(crate) mode: &'static str,
    /// Packets at a time.
    pub(crate) burst: usize,
    /// CPU that forwards.
    pub(crate) forwarding: usize,
    /// CPU of its command line.
    pub(crate) commands: usize,
    /// Else pages of 4 KiB.
    pub(crate) huge_pages: bool,
    /// Buffers in its pool.
    pub(crate) buffers: usize,
    /// All of its memory, MiB.
    pub(crate) memory: usize,
}

impl Setup {
    fn command(&self, folder: &Folder) -> Command {
        // Through a pipe it would keep what it says until it has 4 KiB of it.
        let mut command = Command::new("stdbuf");
        command.args(["-oL", "dpdk-testpmd"]).env("RUNTIME_DIRECTORY", &folder.0);
        command.args(["--no-pci", "--no-telemetry", "--file-prefix", "waterwheel"]);
        command.arg("--lcores").arg(format!("0@{},1@{}", self.commands, self.forwarding));
        command.args(if self.huge_pages { &["--in-memory"][..] } else { &["--no-huge", "--no-shconf"] });
        command.args(["-m", &self.memory.to_string()]);
        command.args(self.devices.iter().map(|device| format!("--vdev={device}")));
        command.args(["--", "--interactive", "--nb-cores=1", "--no-flush-rx"]);
        command.args([
            format!("--forward-mode={}", self.mode),
            format!("--burst={}", self.burst),
            format!("--total-num-mbufs={}", self.buffers),
        ]);
        command
    }
}

/// It runs, and forwards when it is told to.
pub(crate) struct Testpmd {
    talk: Talk,
    /// Packets count when they come in, as nothing goes out.
    only_receives: bool,
}

impl Testpmd {
    /// Starts it in the network namespace of the calling thread.
    pub(crate) fn start(setup: &Setup) -> Result<Self, String> {
        let folder = Folder::new()?; // goes when it has started: it has its files open then
        let mut testpmd = Self { talk: Talk::start(setup.command(&folder))?, only_receives: setup.mode == "rxonly" };
        testpmd.packets(START)?;
        Ok(testpmd)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.talk.pid()
    }

    /// Lets it forward until [`rest`](Self::rest).
    pub(crate) fn forward(&mut self) -> Result<(), String> {
        self.talk.say("start")
    }

    /// It stands still when this returns.
    pub(crate) fn rest(&mut self) -> Result<(), String> {
        self.talk.say("stop")?;
        self.answer(PATIENCE).map(drop) // it says what it has done when its CPU has come to rest
    }

    /// Lets it forward for a while: what it did between two readings.
    pub(crate) fn interval(&mut self, clock: Clock) -> Result<Lap, String> {
        self.forward()?;
        sleep(RUN_UP);
        let (begin, before) = (clock.now(), self.packets(PATIENCE)?);
        sleep(INTERVAL);
        let (end, after) = (clock.now(), self.packets(PATIENCE)?);
        self.rest()?;
        match after.checked_sub(before) {
            None | Some(0) => Err("it forwarded nothing".to_owned()),
            Some(elements) => Ok(Lap { ticks: end - begin, elements }),
        }
    }

    /// What it has counted since the start.
    fn packets(&mut self, patience: Duration) -> Result<u64, String> {
        self.talk.say("show fwd stats all")?;
        self.answer(patience)
    }

    fn answer(&mut self, patience: Duration) -> Result<u64, String> {
        let mut totals = Totals::default();
        let (received, sent) = self.talk.hear(patience, |line| totals.read(line))?;
        Ok(if self.only_receives { received } else { sent })
    }
}

/// Reads the last block of its statistics, that of all ports.
#[derive(Debug, Default)]
struct Totals {
    begun: bool,
    received: Option<u64>,
}

impl Totals {
    /// Packets received and sent, once both lines are there.
    fn read(&mut self, line: &str) -> Option<(u64, u64)> {
        let number = |label| line.trim_start().strip_prefix(label)?.split_whitespace().next()?.parse().ok();
        self.begun |= line.contains("Accumulated forward statistics");
        if self.begun {
            self.received = number("RX-packets:").or(self.received);
        }
        Some((self.received?, number("TX-packets:")?))
    }
}

/// A folder for the files that DPDK makes where it runs without huge pages.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("waterwheel-testpmd-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What DPDK 22.11 says to `show fwd stats all`.
    const SAID: &str = "
testpmd> show fwd stats all
  ---------------------- Forward statistics for port 0  ----------------------
  RX-packets: 13261568       RX-dropped: 0             RX-total: 13261568
  TX-packets: 13261504       TX-dropped: 0             TX-total: 13261504
  ----------------------------------------------------------------------------

  ---------------------- Forward statistics for port 1  ----------------------
  RX-packets: 13261632       RX-dropped: 0             RX-total: 13261632
  TX-packets: 13261696       TX-dropped: 0             TX-total: 13261696
  ----------------------------------------------------------------------------

  +++++++++++++++ Accumulated forward statistics for all ports+++++++++++++++
  RX-packets: 26523264       RX-dropped: 0             RX-total: 26523264
  TX-packets: 26523200       TX-dropped: 0             TX-total: 26523200
  ++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++
";

    #[test]
    fn the_totals_are_those_of_all_ports() {
        let mut totals = Totals::default();
        let found: Vec<_> = SAID.lines().filter_map(|line| totals.read(line)).collect();
        assert_eq!(found, [(26_523_264, 26_523_200)]);
    }

    #[test]
    fn what_is_cut_short_or_no_number_is_no_answer() {
        let ends = [SAID.find("RX-packets: 26").expect("there"), SAID.find("TX-packets: 26").expect("there"), 0];
        for end in ends {
            let mut totals = Totals::default();
            assert_eq!(SAID[..end].lines().find_map(|line| totals.read(line)), None, "{end}");
        }
        let mut totals = Totals { begun: true, received: Some(1) };
        assert_eq!(totals.read("  TX-packets: many"), None);
    }

    #[test]
    fn its_folder_goes_with_it() {
        let folder = Folder::new().expect("a folder");
        let path = folder.0.clone();
        fs::write(path.join("config"), "x").expect("a file");
        drop(folder);
        assert!(!path.exists());
    }
}
