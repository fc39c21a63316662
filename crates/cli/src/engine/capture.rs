//! Captures that are written: their keys, and what they and the run tell each other.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, OnceLock};

use waterwheel_dev::af_xdp::Rules;
use waterwheel_dev::pcap::{Counted, PcapWriteParams, PcapWriter};
use waterwheel_dev::spec::{Kind, Spec};
use waterwheel_xdp::Control;

use super::open::{failure, handle};
use super::tee::Told;
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
    /// It gets copies of what goes elsewhere.
    copies: bool,
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
        Ok(Self { file: spec.arg.clone(), params, rules: filtered.then_some(rules), copies: target.is_none() })
    }

    /// # Errors
    /// It cannot be written.
    pub(super) fn open(self, patience: &Patience, run: &Run) -> Result<PcapWriter, Failure> {
        let writer = match self.file.as_str() {
            // Not opened again by its name: it may be anything, and others may have it.
            "-" | "/dev/stdout" => self.params.given(handle(io::stdout().as_fd(), "standard output")?, "-"),
            file => self.params.create(file),
        };
        let (patience, control) = (patience.clone(), run.control.clone());
        let (counted, told) = (run.counted.clone(), self.copies.then(|| run.told.clone()));
        let counted = move || {
            let missed = told.as_ref().map_or(0, |told| told.refused());
            counted.get().map(|&Counted { received, dropped }| Counted { received, dropped: dropped + missed })
        };
        let writer = writer.map_err(failure)?.patient(move || patience()).counted(counted);
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
    /// What is known of copies.
    pub(super) told: Arc<Told>,
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
