//! Captures that are written: their keys, and where they may be written to.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, OnceLock};

use rustix::fs::{FileType, Stat, fstat, stat};
use waterwheel_dev::af_xdp::Rules;
use waterwheel_dev::pcap::{Counted, PcapWriteParams, PcapWriter};
use waterwheel_dev::spec::{Kind, Spec};
use waterwheel_xdp::Control;

use super::given;
use super::open::failure;
use super::tee::Told;
use crate::config::{Fate, Plan};
use crate::failure::{Class, Failure};
use crate::report::{Output, Snapshot};
use crate::signals::Patience;

/// What a capture file is written with: the keys of `pcap:`, and rules that choose packets.
#[derive(Debug)]
pub(super) struct Writing {
    file: String,
    params: PcapWriteParams,
    rules: Option<Rules>,
    /// The device that the packets come from: its index in [`Plan::ports`].
    source: Option<usize>,
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
        let source = plan.ports.iter().position(|port| match (port.fate, target) {
            (Some(Fate::Forward(to)), Some(target)) => to == target,
            (fate, _) => fate.is_some(),
        });
        if let Some(source) = source.map(|source| &plan.ports[source].spec) {
            params.payloads = matches!(source.kind, Kind::Udp | Kind::Tcp);
            params.interface = source.to_string();
        }
        Ok(Self { file: spec.arg.clone(), params, rules: filtered.then_some(rules), source, copies: target.is_none() })
    }

    /// Whether it turns out only later which files there are.
    pub(super) fn rotates(&self) -> bool {
        self.params.file_size.is_some() || self.params.file_time.is_some()
    }

    /// # Errors
    /// It cannot be written, or something else that is written would be overwritten.
    pub(super) fn open(mut self, patience: &Patience, run: &Run) -> Result<PcapWriter, Failure> {
        if let Some(interface) = self.source.and_then(|source| run.interfaces.borrow().get(&source).cloned()) {
            self.params.interface = interface;
        }
        let descriptor = given::number(&self.file, 1);
        run.alone(&self.file, descriptor)?;
        self.params.spared = run.files.borrow().clone();
        let writer = match descriptor {
            Some(number) => {
                let name = if number == 1 { "-" } else { &self.file };
                self.params.given(given::take(number)?, name)
            }
            None => self.params.create(&self.file),
        };
        let writer = writer.map_err(failure)?;
        run.files.borrow_mut().extend(writer.identity());
        let (patience, control) = (patience.clone(), run.control.clone());
        let (counted, told) = (run.counted.clone(), self.copies.then(|| run.told.clone()));
        let counted = move || {
            let missed = told.as_ref().map_or(0, |told| told.refused());
            counted.get().map(|&Counted { received, dropped }| Counted { received, dropped: dropped + missed })
        };
        let writer = writer.patient(move || patience()).counted(counted).at_limit(move || {
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

/// Device and inode.
type Identity = (u64, u64);

/// What a capture is written to or read from, as far as it is there.
fn place(file: &str, descriptor: Option<i32>) -> Option<Stat> {
    match descriptor {
        Some(number) => given::take(number).ok().and_then(|fd| fstat(fd).ok()),
        None => stat(file).ok(),
    }
}

fn identity(stat: &Stat) -> Identity {
    (stat.st_dev, stat.st_ino)
}

/// What captures and the run tell each other.
#[derive(Default)]
pub(super) struct Run {
    control: Arc<OnceLock<Control>>,
    counted: Arc<OnceLock<Counted>>,
    /// What is known of copies.
    pub(super) told: Arc<Told>,
    /// Files that are read, written, or take what is said: no capture may overwrite them.
    files: RefCell<Vec<Identity>>,
    /// Pipes that captures are written to: no two may be mixed.
    pipes: RefCell<Vec<Identity>>,
    /// The interfaces' own names, of devices by their index in [`Plan::ports`].
    interfaces: RefCell<HashMap<usize, String>>,
}

impl Run {
    pub(super) fn new(plan: &Plan) -> Self {
        let sources = plan.ports.iter().filter(|port| port.spec.kind == Kind::Pcap && port.fate.is_some());
        let sources = sources.filter_map(|port| place(&port.spec.arg, given::number(&port.spec.arg, 0)));
        // Notices go to standard error, wherever the statistics go.
        let report = (plan.output == Output::Stdout).then(|| fstat(io::stdout()));
        let said = [Some(fstat(io::stderr())), report].into_iter().flatten().filter_map(Result::ok);
        Self { files: RefCell::new(sources.chain(said).map(|stat| identity(&stat)).collect()), ..Self::default() }
    }

    /// # Errors
    /// Another capture is written to the same pipe or socket.
    fn alone(&self, file: &str, descriptor: Option<i32>) -> Result<(), Failure> {
        let Some(stat) = place(file, descriptor) else { return Ok(()) };
        if matches!(FileType::from_raw_mode(stat.st_mode), FileType::Fifo | FileType::Socket) {
            let mut pipes = self.pipes.borrow_mut();
            if pipes.contains(&identity(&stat)) {
                let message = format!("{file}: two captures in one pipe cannot be told apart");
                return Err(Failure::new(Class::Config, message));
            }
            pipes.push(identity(&stat));
        }
        Ok(())
    }

    /// The name of the interface of a device that is open.
    pub(super) fn interface(&self, port: usize, name: &str) {
        self.interfaces.borrow_mut().insert(port, name.to_owned());
    }

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
