//! What was typed, understood: which devices, what happens to what each of them receives, and for how long.

use std::time::Duration;

use waterwheel_dev::spec::{Kind, Spec};
use waterwheel_xdp::mm::Sampling;

use crate::args::{Capture, Drop, Forward, Generate, HugePages, Idle, OnDeviceLoss, RunArgs, Tx};
use crate::engine::given;
use crate::failure::{Class, Failure};
use crate::report::{Output, Style};
use crate::typed;

/// A run that can be started.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The command in short, as the title of what is shown.
    pub(crate) title: String,
    /// The devices in the order typed.
    pub(crate) ports: Vec<Port>,
    /// The capture that gets a copy of what the second device sends and receives.
    pub(crate) copy: Option<Spec>,
    /// What the operator should know before it begins.
    pub(crate) notice: Option<String>,
    pub(crate) duration: Option<Duration>,
    /// Packets to receive, over all devices.
    pub(crate) count: Option<u64>,
    pub(crate) workers: Option<u64>,
    /// Pages of 4 KiB.
    pub(crate) pages: Option<u64>,
    pub(crate) huge_pages: HugePages,
    pub(crate) idle: Idle,
    pub(crate) require_zerocopy: bool,
    /// Whether interfaces that are lost are waited for.
    pub(crate) on_device_loss: OnDeviceLoss,
    /// Which pages are followed.
    pub(crate) trace_pages: Option<Sampling>,
    pub(crate) interval: Duration,
    pub(crate) style: Style,
    pub(crate) output: Output,
    #[cfg(feature = "plants")]
    pub(crate) plant: Option<crate::args::Plant>,
}

/// A device and its part in the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) spec: Spec,
    /// What happens to the packets that it receives; `None`: it only sends.
    pub(crate) fate: Option<Fate>,
    /// Whether packets are sent out of it.
    pub(crate) sends: bool,
}

/// What happens to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Drop,
    /// Back out of the same device, MAC addresses swapped.
    Tx,
    /// Out of the device with this index in [`Plan::ports`].
    Forward(usize),
}

impl Plan {
    /// # Errors
    /// A device that cannot be understood, or two between which nothing can flow.
    pub(crate) fn forward(args: &Forward) -> Result<Self, Failure> {
        let (a, b) = (Spec::parse(&args.a)?, Spec::parse(&args.b)?);
        let there = flows(&a, Side::Left, &b, Side::Right);
        let back = !args.one_way && flows(&b, Side::Right, &a, Side::Left);
        if !there && !back {
            let reason = match receives(&a, Side::Left) {
                true if b.kind == Kind::Udp => return Err(Failure::new(Class::Config, dead_end(&b))),
                true => format!("{}: nothing can be sent there", args.b),
                false => format!("{}: nothing comes from there", args.a),
            };
            let hint = if flows(&b, Side::Left, &a, Side::Right) {
                format!(", did you mean 'forward {} {}'?", args.b, args.a)
            } else {
                " (see 'waterwheel help devices')".to_owned()
            };
            return Err(Failure::new(Class::Config, format!("{reason}{hint}")));
        }
        let one_way = if args.one_way { " --one-way" } else { "" };
        let title = format!("forward {a} {b}{one_way}");
        let ports = vec![
            Port { spec: a, fate: there.then_some(Fate::Forward(1)), sends: back },
            Port { spec: b, fate: back.then_some(Fate::Forward(0)), sends: there },
        ];
        Ok(Self::new(title, ports, &args.run))
    }

    /// # Errors
    /// A device that cannot be understood, or that does not receive.
    pub(crate) fn drop(args: &Drop) -> Result<Self, Failure> {
        let spec = source(&args.a)?;
        Ok(Self::new(format!("drop {spec}"), vec![Port { spec, fate: Some(Fate::Drop), sends: false }], &args.run))
    }

    /// # Errors
    /// A device that cannot be understood, or that does not both receive and send.
    pub(crate) fn tx(args: &Tx) -> Result<Self, Failure> {
        let spec = source(&args.a)?;
        if !sends(&spec, Side::Left) {
            let message = match spec.kind {
                Kind::Udp => dead_end(&spec),
                _ => format!(
                    "{spec}: nothing can be sent back there: tx needs a device that receives and sends, e.g. afxdp:IFACE"
                ),
            };
            return Err(Failure::new(Class::Config, message));
        }
        Ok(Self::new(format!("tx {spec}"), vec![Port { spec, fate: Some(Fate::Tx), sends: true }], &args.run))
    }

    /// # Errors
    /// A device that cannot be understood, or that does not send; a key of the generator given twice.
    pub(crate) fn generate(args: &Generate) -> Result<Self, Failure> {
        let target = Spec::parse(&args.a)?;
        if target.kind == Kind::Gen || !sends(&target, Side::Right) {
            return Err(Failure::new(Class::Config, dead_end(&target)));
        }
        let source = typed::traffic(&args.traffic)?;
        let title = format!("generate {target} ({source})");
        let ports = vec![
            Port { spec: source, fate: Some(Fate::Forward(1)), sends: false },
            Port { spec: target, fate: None, sends: true },
        ];
        Ok(Self::new(title, ports, &args.run))
    }

    /// # Errors
    /// A device that cannot be understood, or that does not receive.
    pub(crate) fn capture(args: &Capture) -> Result<Self, Failure> {
        let spec = source(&args.a)?;
        let mut file = typed::capture_file(args)?;
        let title = format!("capture {spec} {}", args.file);
        // Of packets that are chosen, and of copies, so many are counted as are captured.
        let counts = args.to.is_some() || typed::chooses(&file);
        if let Some(count) = args.run.count.filter(|_| counts) {
            typed::refuse_twice("count", &file, "pcap:")?;
            file.options.push(("count".to_owned(), count.to_string()));
        }
        let mut plan = match &args.to {
            None => {
                let ports = vec![
                    Port { spec, fate: Some(Fate::Forward(1)), sends: false },
                    Port { spec: file, fate: None, sends: true },
                ];
                let mut plan = Self::new(title, ports, &args.run);
                if let Port { spec, .. } = &plan.ports[0]
                    && spec.kind == Kind::AfXdp
                {
                    plan.notice = Some(format!(
                        "{spec}: what is captured is taken from this host; with '--to tap:NAME' it goes on"
                    ));
                }
                plan
            }
            Some(to) => {
                let to = Spec::parse(to)?;
                if !sends(&to, Side::Right) || to.kind == Kind::Gen {
                    return Err(Failure::new(Class::Config, dead_end(&to)));
                }
                let back = flows(&to, Side::Right, &spec, Side::Left);
                let title = format!("{title} --to {to}");
                let ports = vec![
                    Port { spec, fate: Some(Fate::Forward(1)), sends: back },
                    Port { spec: to, fate: back.then_some(Fate::Forward(0)), sends: true },
                ];
                let mut plan = Self::new(title, ports, &args.run);
                if is_stdout(&file) {
                    plan.output = Output::Stderr;
                    plan.style = Style::choose(args.run.json, args.run.plain, plan.output);
                }
                plan.copy = Some(file);
                plan
            }
        };
        plan.count = plan.count.filter(|_| !counts);
        Ok(plan)
    }

    fn new(title: String, ports: Vec<Port>, run: &RunArgs) -> Self {
        let to_stdout = |port: &Port| port.sends && port.spec.kind == Kind::Pcap && is_stdout(&port.spec);
        let output = if ports.iter().any(to_stdout) { Output::Stderr } else { Output::Stdout };
        Self {
            title,
            ports,
            copy: None,
            notice: None,
            duration: run.duration,
            count: run.count,
            workers: run.workers,
            pages: run.pages,
            huge_pages: run.huge_pages,
            idle: run.idle,
            require_zerocopy: run.require_zerocopy,
            on_device_loss: run.on_device_loss,
            trace_pages: run.trace_pages,
            interval: run.interval,
            style: Style::choose(run.json, run.plain, output),
            output,
            #[cfg(feature = "plants")]
            plant: run.plant,
        }
    }
}

/// Where a device stands in the command; a pcap file is read on the left and written on the right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

/// Whether it is what this process was given as standard output, under whatever name.
fn is_stdout(file: &Spec) -> bool {
    given::number(&file.arg, 1) == Some(1)
}

/// That nothing can be sent to a device, and what to do.
fn dead_end(spec: &Spec) -> String {
    let way_out = match spec.kind {
        Kind::Udp => "say to whom, with peer=ADDR:PORT",
        _ => "use e.g. afxdp:IFACE, tap:NAME, pcap:FILE or null:",
    };
    format!("{spec}: nothing can be sent there: {way_out}")
}

fn receives(spec: &Spec, side: Side) -> bool {
    match spec.kind {
        Kind::Gen | Kind::Tap | Kind::AfXdp | Kind::Memif | Kind::Veth => true,
        Kind::Null => spec.option("size").is_some(),
        Kind::Udp | Kind::Tcp => true,
        Kind::Pcap => side == Side::Left,
    }
}

fn sends(spec: &Spec, side: Side) -> bool {
    match spec.kind {
        Kind::Gen | Kind::Null | Kind::Tap | Kind::AfXdp | Kind::Memif | Kind::Veth => true,
        Kind::Tcp => true,
        Kind::Udp => spec.option("peer").is_some(), // else there is nobody to send to
        Kind::Pcap => side == Side::Right,
    }
}

/// Whether packets flow from one device to the other. A generator swallows what it made itself (`tx gen:`, `forward gen: gen:`); taking packets from anywhere
/// else to throw them away is not what `forward gen: afxdp:eth1` means.
fn flows(from: &Spec, from_side: Side, to: &Spec, to_side: Side) -> bool {
    receives(from, from_side) && sends(to, to_side) && (to.kind != Kind::Gen || from.kind == Kind::Gen)
}

fn source(text: &str) -> Result<Spec, Failure> {
    let spec = Spec::parse(text)?;
    if receives(&spec, Side::Left) {
        return Ok(spec);
    }
    let message = format!("{spec}: nothing comes from there: use e.g. afxdp:IFACE, pcap:FILE or gen:");
    Err(Failure::new(Class::Config, message))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::args::{self, Verb};

    pub(crate) fn plan(line: &str) -> Result<Plan, Failure> {
        let words = std::iter::once("waterwheel").chain(line.split_whitespace()).map(Into::into);
        match args::parse(words).expect(line) {
            Verb::Forward(args) => Plan::forward(&args),
            Verb::Drop(args) => Plan::drop(&args),
            Verb::Tx(args) => Plan::tx(&args),
            Verb::Generate(args) => Plan::generate(&args),
            Verb::Capture(args) => Plan::capture(&args),
            Verb::Bench(_) | Verb::Relay(_) | Verb::Soak(_) | Verb::Devices(_) | Verb::Help(_) => {
                panic!("{line}: not a run")
            }
        }
    }

    fn fates(line: &str) -> Vec<Option<Fate>> {
        plan(line).expect(line).ports.iter().map(|port| port.fate).collect()
    }

    #[test]
    fn packets_flow_where_they_can() {
        let (to_a, to_b) = (Some(Fate::Forward(0)), Some(Fate::Forward(1)));
        assert_eq!(fates("forward afxdp:a afxdp:b"), [to_b, to_a]);
        assert_eq!(fates("forward afxdp:a afxdp:b --one-way"), [to_b, None]);
        assert_eq!(fates("forward gen: afxdp:b"), [to_b, None], "nothing is taken from b only to be thrown away");
        assert_eq!(fates("forward afxdp:a null:"), [to_b, None]);
        assert_eq!(fates("forward pcap:in pcap:out"), [to_b, None]);
        assert_eq!(fates("forward null: afxdp:b"), [None, to_a]);
        assert_eq!(fates("drop gen:"), [Some(Fate::Drop)]);
        assert_eq!(fates("forward gen: gen:"), [to_b, to_a]);
        assert_eq!(fates("tx tap:t"), [Some(Fate::Tx)]);
        assert_eq!(fates("tx gen:"), [Some(Fate::Tx)]);
        assert_eq!(fates("generate null:"), [to_b, None]);
        assert_eq!(fates("capture gen: -"), [to_b, None]);
    }

    #[test]
    fn what_cannot_flow_is_said() {
        for (line, message) in [
            ("forward null: gen: --one-way", "null:: nothing comes from there, did you mean 'forward gen: null:'?"),
            ("forward tap:t gen: --one-way", "gen:: nothing can be sent there, did you mean 'forward gen: tap:t'?"),
            ("drop null:", "null:: nothing comes from there: use e.g. afxdp:IFACE, pcap:FILE or gen:"),
        ] {
            let failure = plan(line).expect_err(line);
            assert_eq!((failure.class, failure.message.as_str()), (Class::Config, message));
        }
        let nobody = "udp:127.0.0.1:9: nothing can be sent there: say to whom, with peer=ADDR:PORT";
        for line in [
            "forward gen: udp:127.0.0.1:9",
            "generate udp:127.0.0.1:9",
            "tx udp:127.0.0.1:9",
            "capture gen: f --to udp:127.0.0.1:9",
        ] {
            let failure = plan(line).expect_err(line);
            assert_eq!((failure.class, failure.message.as_str()), (Class::Config, nobody), "{line}");
        }
        assert_eq!(plan("tx pcap:x").expect_err("tx to a file").class, Class::Config);
        assert_eq!(plan("generate gen:").expect_err("gen to gen").class, Class::Config);
        assert_eq!(plan("drop eth0").expect_err("no kind").class, Class::Usage);
    }

    #[test]
    fn traffic_options_are_keys_of_the_generator() {
        let plan = plan("generate null: --size 64 --rate 1M --gen vary=random,seed=7 --gen ip=v6").expect("a plan");
        assert_eq!(plan.ports[0].spec.to_string(), "gen:vary=random,seed=7,ip=v6,size=64,rate=1M");
        let twice = super::tests::plan("generate null: --size 64 --gen size=65").expect_err("twice");
        assert_eq!(twice.class, Class::Usage);
    }

    #[test]
    fn a_capture_takes_packets_away_or_copies_them() {
        let taken = plan("capture afxdp:a f --snap 60 --filter proto=udp,port=53 --count 5").expect("a plan");
        assert!(taken.notice.is_some_and(|notice| notice.contains("is taken from this host")));
        assert_eq!(taken.ports[1].spec.to_string(), "pcap:f,proto=udp,port=53,snap=60,count=5");
        assert_eq!(taken.count, None, "so many are captured, and not received");
        let copied = plan("capture afxdp:a - --to tap:t --count 5").expect("a plan");
        assert_eq!((copied.notice, copied.output, copied.count), (None, Output::Stderr, None));
        assert_eq!(copied.copy.map(|copy| copy.to_string()), Some("pcap:-,count=5".to_owned()));
        assert_eq!(fates("capture afxdp:a f --to tap:t"), [Some(Fate::Forward(1)), Some(Fate::Forward(0))]);
        assert_eq!(fates("capture gen: f --to pcap:g"), [Some(Fate::Forward(1)), None]);
        assert_eq!(plan("capture tap:t f --to gen:").expect_err("a source").class, Class::Config);
        let plain = plan("capture tap:t f --count 5").expect("a plan");
        assert_eq!((plain.notice, plain.count), (None, Some(5)));
    }

    #[test]
    fn packets_on_standard_output_push_the_statistics_aside() {
        assert_eq!(plan("capture gen: -").expect("a plan").output, Output::Stderr);
        assert_eq!(plan("forward gen: pcap:-").expect("a plan").output, Output::Stderr);
        assert_eq!(plan("forward pcap:- null:").expect("a plan").output, Output::Stdout);
    }
}
