//! Captures that are written: their keys, and copies of what goes elsewhere.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::fd::BorrowedFd;
use waterwheel_dev::af_xdp::Rules;
use waterwheel_dev::pcap::{Counted, PcapWriteParams, PcapWriter};
use waterwheel_dev::spec::{Kind, Spec};
use waterwheel_xdp::mm::Account;
use waterwheel_xdp::{Capabilities, Control, Device, Drops, Health, Homes, PagePool, Traffic, Wait, XdpBuff, XdpFrame};

use super::open::{failure, handle};
use crate::config::{Fate, Plan};
use crate::failure::Failure;
use crate::report::Snapshot;
use crate::signals::Patience;

/// What a capture file is written with: the keys of `pcap:`, and rules that choose packets.
#[derive(Debug)]
pub(super) struct Writing {
    file: String,
    params: PcapWriteParams,
    rules: Option<Rules>,
}

/// The keys of `pcap:` that choose packets, as those of `afxdp:` do.
pub(crate) const FILTER_KEYS: &[(&str, &str)] = &[
    ("dst", "write only packets to this address or prefix; may be repeated"),
    ("proto", "write only this IP protocol: a name such as udp, or a number; may be repeated"),
    ("port", "write only TCP and UDP packets to this port or range; may be repeated"),
];

impl Writing {
    /// # Errors
    /// Keys and values that it does not take.
    pub(super) fn new(plan: &Plan, spec: &Spec) -> Result<Self, Failure> {
        let (mut params, mut rules) = (PcapWriteParams::default(), Rules::default());
        let mut filtered = false;
        let keys = [PcapWriteParams::KEYS, FILTER_KEYS].concat();
        spec.apply(&keys, |key, value| {
            if !FILTER_KEYS.iter().any(|(name, _)| *name == key) {
                return params.set(key, value);
            }
            filtered = true;
            rules.add(format!("{key}={value}").parse()?)
        })?;
        // The first whose packets are written, in the order of the command.
        let target = plan.ports.iter().position(|port| port.spec == *spec);
        let source = plan.ports.iter().find(|port| match (port.fate, target) {
            (Some(Fate::Forward(to)), Some(target)) => to == target,
            (fate, _) => fate.is_some(),
        });
        if let Some(source) = source {
            params.payloads = matches!(source.spec.kind, Kind::Udp | Kind::Tcp);
            params.interface = match source.spec.kind {
                Kind::AfXdp => source.spec.interface_and_queues()?.0.to_owned(),
                Kind::Tap => source.spec.arg.clone(),
                _ => source.spec.to_string(),
            };
        }
        params.spared = plan
            .ports
            .iter()
            .filter(|port| port.spec != *spec || port.fate.is_some())
            .filter_map(|port| identity(&port.spec))
            .collect();
        Ok(Self { file: spec.arg.clone(), params, rules: filtered.then_some(rules) })
    }

    /// # Errors
    /// It cannot be written.
    pub(super) fn open(self, patience: &Patience, run: &Run) -> Result<PcapWriter, Failure> {
        let writer = match self.file.as_str() {
            // Not opened again by its name: it may be anything, and others may have it.
            "-" | "/dev/stdout" => self.params.given(handle(io::stdout().as_fd(), "standard output")?, "-"),
            file => self.params.create(file),
        };
        let (patience, counted, control) = (patience.clone(), run.counted.clone(), run.control.clone());
        let writer = writer.map_err(failure)?.patient(move || patience()).counted(move || counted.get().copied());
        let writer = writer.at_limit(move || {
            if let Some(control) = control.get() {
                control.stop();
            }
        });
        Ok(match self.rules {
            Some(rules) => writer.filtered(move |packet| rules.matches(packet)),
            None => writer,
        })
    }
}

/// Device and inode of a capture file that is there.
fn identity(spec: &Spec) -> Option<(u64, u64)> {
    if spec.kind != Kind::Pcap {
        return None;
    }
    let identity = |stat: rustix::fs::Stat| (stat.st_dev, stat.st_ino);
    match spec.arg.as_str() {
        "-" | "/dev/stdin" => rustix::fs::fstat(io::stdin()).ok().map(identity),
        file => std::fs::metadata(file).ok().map(|file| (file.dev(), file.ino())),
    }
}

/// What captures and the run tell each other.
#[derive(Default)]
pub(super) struct Run {
    control: Arc<OnceLock<Control>>,
    counted: Arc<OnceLock<Counted>>,
}

impl Run {
    /// What ends the run.
    pub(super) fn begins(&self, control: &Control) {
        let _ = self.control.set(control.clone());
    }

    /// The last counts before the devices are closed.
    pub(super) fn ends(&self, snapshot: &Snapshot) {
        let lost = snapshot.devices.iter().map(|device| device.lost.total()).sum::<u64>();
        let dropped = snapshot.drops.total() - snapshot.drops.get("program");
        let _ = self.counted.set(Counted { received: snapshot.rx_packets + lost, dropped });
    }
}

/// A device whose packets, both ways, are copied into a capture.
pub(super) struct Tee {
    device: Box<dyn Device>,
    /// Shared by the queues of the device. The last one closes it.
    capture: Option<Arc<Mutex<PcapWriter>>>,
    /// Copies that there was no place for.
    missed: u64,
    /// Why nothing is captured any more.
    failure: Option<String>,
}

impl Tee {
    pub(super) fn new(device: Box<dyn Device>, capture: Arc<Mutex<PcapWriter>>) -> Self {
        Self { device, capture: Some(capture), missed: 0, failure: None }
    }

    /// Copies packets; how many there was no place for, is counted.
    fn copy(&mut self, copy: impl FnOnce(&mut PcapWriter) -> usize) {
        let missed = self.capture().map_or(0, |mut capture| copy(&mut capture));
        self.missed += missed as u64;
    }

    fn capture(&self) -> Option<MutexGuard<'_, PcapWriter>> {
        self.capture.as_ref().map(|capture| capture.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Device for Tee {
    fn name(&self) -> &str {
        self.device.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.device.capabilities()
    }

    fn complete(&mut self, homes: &mut Homes<'_>) -> usize {
        self.device.complete(homes)
    }

    fn rx(&mut self, pool: &mut PagePool, batch: &mut Vec<XdpBuff>, budget: usize) -> usize {
        let before = batch.len();
        let received = self.device.rx(pool, batch, budget);
        self.copy(|capture| {
            batch[before..].iter().filter(|packet| !capture.copy(packet.parts(), packet.meta())).count()
        });
        received
    }

    fn tx(&mut self, pool: &mut PagePool, frames: &mut Vec<XdpFrame>, drops: &mut Drops) -> Traffic {
        self.copy(|capture| frames.iter().filter(|frame| !capture.copy(frame.parts(), frame.meta())).count());
        self.device.tx(pool, frames, drops)
    }

    fn tx_room(&mut self) -> usize {
        self.device.tx_room()
    }

    fn wait_tx(&self) -> Wait {
        self.device.wait_tx()
    }

    fn flush(&mut self) {
        self.device.flush();
        if let Some(mut capture) = self.capture() {
            capture.flush();
        }
    }

    fn wait(&self) -> Wait {
        let capture = self.capture().map_or(Wait::Never, |capture| match capture.wait() {
            Wait::Readable => Wait::soon(), // its descriptor is not among those of the device
            wait => wait,
        });
        self.device.wait().or(capture)
    }

    fn fds<'a>(&'a self, add: &mut dyn FnMut(BorrowedFd<'a>)) {
        self.device.fds(add);
    }

    fn health(&mut self) -> Health {
        if let Some(Health::Failed(why)) = self.capture().map(|mut capture| capture.health()) {
            self.failure.get_or_insert(why);
        }
        match self.device.health() {
            failed @ Health::Failed(_) => failed,
            health => self.failure.clone().map_or(health, Health::Failed),
        }
    }

    fn mode(&self) -> String {
        self.device.mode()
    }

    fn counters(&self, count: &mut dyn FnMut(&'static str, u64)) {
        self.device.counters(count);
        count("capture_missed", self.missed);
    }

    fn lost(&self, count: &mut dyn FnMut(&'static str, u64)) {
        self.device.lost(count);
    }

    fn unsent(&self) -> Traffic {
        self.device.unsent()
    }

    fn in_flight(&self) -> usize {
        self.device.in_flight()
    }

    fn account(&self, account: &mut Account) {
        self.device.account(account);
    }

    fn shutdown(&mut self, homes: &mut Homes<'_>) {
        self.device.shutdown(homes);
        if let Some(capture) = self.capture.take().and_then(Arc::into_inner) {
            let mut capture = capture.into_inner().unwrap_or_else(PoisonError::into_inner);
            capture.shutdown(homes);
            if let Health::Failed(why) = capture.health() {
                self.failure = Some(why);
            }
        }
    }
}
