//! Specs become devices.

use std::cell::RefCell;
use std::rc::Rc;

use waterwheel_dev::DevError;
use waterwheel_dev::af_xdp::link::Link;
use waterwheel_dev::af_xdp::{AfXdp, AfXdpParams, Rule, Rules, Steering, ZeroCopy};
use waterwheel_dev::generator::{Gen, GenParams};
use waterwheel_dev::memif::{Events, Memif, MemifParams, Role};
use waterwheel_dev::null::{Null, NullParams};
use waterwheel_dev::pcap::{PcapParams, PcapReader};
use waterwheel_dev::socket::{SocketParams, Tcp, Udp};
use waterwheel_dev::spec::{Kind, Queues, Spec, TcpSpec, UdpSpec, af_xdp, memif, tap_queues, tcp, udp};
use waterwheel_dev::tap::Tap;
use waterwheel_xdp::mm::{HugePages, Sampling, ZoneParams};
use waterwheel_xdp::page_pool::{DmaAddr, DmaError, DmaMap};
use waterwheel_xdp::{Device, Revive, Veth, Zone, veth};

use super::capture::{Run, Writing};
use super::given;
use super::sink::{Plugged, SendOnly};
use super::trust;
use crate::args;
use crate::config::{Plan, Port};
use crate::failure::{Class, Failure};
use crate::signals::Patience;

/// Frames that lie between the two ends of a `veth:`.
const VETH_RING: usize = 1024;
/// Slots of the receiving rings of a device that only sends: some drivers want them filled all the same.
const UNUSED: u32 = 64;

/// A device to be opened: one queue of one port of the plan.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Index in [`Plan::ports`].
    pub(super) port: usize,
    /// Which of the port's queues, from 0.
    pub(super) queue: usize,
    /// Empty pages that it posts.
    pub(super) posted: usize,
    /// Packets that it may have received and not handed out.
    pub(super) received: usize,
    /// Pages of others that it may have in its transmit rings.
    pub(super) tx_pages: usize,
    /// Its pool's blocks have `1 << order` pages; `posted` and `received` count blocks.
    pub(super) order: u8,
    recipe: Recipe,
}

/// What to open.
#[derive(Debug)]
enum Recipe {
    Gen(String, GenParams),
    Null,
    Source(Null),
    Read(String, PcapParams),
    Write(Box<Writing>),
    Tap(Rc<Taps>),
    SendToTap(Rc<Taps>),
    AfXdp(AfXdpParams),
    SendToAfXdp(AfXdpParams),
    Memif(Rc<Interface>),
    SendToMemif(Rc<Interface>),
    Udp(String, UdpSpec),
    Tcp(String, TcpSpec),
    Veth(Box<Veth>),
    Unplugged(String),
}

/// An interface whose queues are opened all at once, with the first of them.
#[derive(Debug)]
struct Interface {
    params: MemifParams,
    /// Those that are open and not handed out yet, the last one first.
    queues: RefCell<Vec<Memif>>,
}

impl Interface {
    fn next_queue(&self, zone: &Zone) -> Result<Memif, Failure> {
        let mut queues = self.queues.borrow_mut();
        if queues.is_empty() {
            *queues = Memif::open(zone, &self.params).map_err(failure)?;
            queues.reverse();
        }
        queues.pop().ok_or_else(|| Failure::new(Class::Other, "an interface without queues"))
    }
}

/// A tap whose queues are opened all at once, with the first of them.
#[derive(Debug)]
struct Taps {
    name: String,
    /// Of one that may have several.
    queues: Option<u16>,
    /// Those that are open and not handed out yet, the last one first.
    open: RefCell<Vec<Tap>>,
}

impl Taps {
    /// The queue of that number, and how it is opened again.
    fn next_queue(&self, queue: usize) -> Result<(Tap, impl FnMut() -> Result<Tap, DevError> + Send + use<>), Failure> {
        let mut open = self.open.borrow_mut();
        if open.is_empty() {
            *open = match self.queues {
                Some(queues) => Tap::open_queues(&self.name, queues).map_err(failure)?,
                None => vec![Tap::open(&self.name).map_err(failure)?],
            };
            open.reverse();
        }
        let tap = open.pop().ok_or_else(|| Failure::new(Class::Other, "a tap without queues"))?;
        let (interface, several) = (tap.interface().to_owned(), self.queues.is_some());
        let queue = u16::try_from(queue).unwrap_or(u16::MAX);
        let reopen = move || if several { Tap::open_queue(&interface, queue) } else { Tap::open(&interface) };
        Ok((tap, reopen))
    }
}

/// A device that is open.
pub(super) struct Opened {
    pub(super) device: Box<dyn Device>,
    /// What the operator should know of how it was opened.
    pub(super) mode: String,
    pub(super) dma: Option<Box<dyn DmaMap>>,
    /// What happens to its interface, where that has a life of its own; told by the first queue.
    pub(super) events: Option<Events>,
    /// Opens it again when it was lost; there is nothing to wait for where there is none.
    pub(super) reviver: Option<Box<dyn Revive>>,
}

impl Opened {
    /// It may be lost and come back.
    fn again<D: Device + 'static>(self, mut open: impl FnMut() -> Result<D, DevError> + Send + 'static) -> Self {
        let reviver = move || -> Result<Box<dyn Device>, String> {
            open().map(|device| Box::new(device) as Box<dyn Device>).map_err(|error| error.to_string())
        };
        Self { reviver: Some(Box::new(reviver)), ..self }
    }
}

/// Every device that the plan needs, understood as far as that goes without opening anything.
///
/// # Errors
/// Keys and values that no device takes, an interface that is not there.
pub(super) fn understand(plan: &Plan) -> Result<Vec<Wanted>, Failure> {
    let mut all = Vec::new();
    let mut ends = plugged(plan);
    for (index, port) in plan.ports.iter().enumerate() {
        let wanted = |recipe| Wanted { port: index, queue: 0, posted: 0, received: 0, tx_pages: 0, order: 0, recipe };
        let spec = &port.spec;
        match spec.kind {
            Kind::AfXdp => {
                for (queue, params) in af_xdp_queues(port, plan.require_zerocopy)?.into_iter().enumerate() {
                    let (posted, received) = (params.fill_ring as usize, params.rx_ring as usize);
                    let tx_pages = (params.tx_ring + params.completion_ring) as usize;
                    let recipe = if port.fate.is_some() { Recipe::AfXdp(params) } else { Recipe::SendToAfXdp(params) };
                    all.push(Wanted { queue, posted, received, tx_pages, ..wanted(recipe) });
                }
            }
            Kind::Gen => {
                let mut params = GenParams::default();
                spec.apply(GenParams::KEYS, |key, value| params.set(key, value))?;
                all.push(wanted(Recipe::Gen(spec.to_string(), params)));
            }
            Kind::Null => {
                let mut params = NullParams::default();
                spec.apply(NullParams::KEYS, |key, value| params.set(key, value))?;
                let source = |size| Null::source(size).map(|null| Recipe::Source(null.named(spec.to_string())));
                let recipe = match params.size.filter(|_| port.fate.is_some()) {
                    Some(size) => source(size).map_err(failure)?,
                    None => Recipe::Null,
                };
                all.push(wanted(recipe));
            }
            Kind::Pcap if port.fate.is_some() => {
                let mut params = PcapParams::default();
                spec.apply(PcapParams::KEYS, |key, value| params.set(key, value))?;
                all.push(wanted(Recipe::Read(spec.arg.clone(), params)));
            }
            Kind::Pcap => {
                all.push(wanted(Recipe::Write(Box::new(Writing::new(plan, spec)?))));
            }
            Kind::Tap => {
                let queues = tap_queues(spec)?;
                let taps = Rc::new(Taps { name: spec.arg.clone(), queues, open: RefCell::default() });
                for queue in 0..queues.unwrap_or(1).into() {
                    let taps = Rc::clone(&taps);
                    let recipe = if port.fate.is_some() { Recipe::Tap(taps) } else { Recipe::SendToTap(taps) };
                    all.push(Wanted { queue, ..wanted(recipe) });
                }
            }
            Kind::Memif => {
                let params = trust::on_the_users_word(memif(spec)?);
                let count = params.queues;
                // Pages are with the peer only when it is trusted.
                let lends = params.trust.is_some() && params.role == Role::Client;
                let tx_pages = if lends { params.ring as usize } else { 0 };
                let interface = Rc::new(Interface { params, queues: RefCell::default() });
                for queue in 0..usize::from(count) {
                    let interface = Rc::clone(&interface);
                    let (posted, recipe) = match port.fate {
                        Some(_) => (tx_pages, Recipe::Memif(interface)),
                        None => (0, Recipe::SendToMemif(interface)),
                    };
                    all.push(Wanted { queue, posted, tx_pages, ..wanted(recipe) });
                }
            }
            Kind::Udp => {
                let mut udp = udp(spec)?;
                udp.params.receive = port.fate.is_some();
                let (params, order) = (udp.params, udp.order);
                all.push(socket(&params, Wanted { order, ..wanted(Recipe::Udp(spec.to_string(), udp)) }));
            }
            Kind::Tcp => {
                let TcpSpec { address, listen, params } = tcp(spec)?;
                let params = SocketParams { receive: port.fate.is_some(), ..params };
                let recipe = Recipe::Tcp(spec.to_string(), TcpSpec { address, listen, params });
                all.push(socket(&params, wanted(recipe)));
            }
            Kind::Veth => {
                spec.apply(&[], |_, _| Ok::<_, String>(()))?;
                let recipe = match ends.pop() {
                    Some(end) => Recipe::Veth(Box::new(end)),
                    None => Recipe::Unplugged(spec.to_string()),
                };
                all.push(Wanted { tx_pages: VETH_RING, ..wanted(recipe) });
            }
        }
    }
    Ok(all)
}

/// The pages that a socket may have.
fn socket(params: &SocketParams, wanted: Wanted) -> Wanted {
    let ring = params.ring.into();
    Wanted { posted: if params.receive { ring } else { 0 }, tx_pages: ring, ..wanted }
}

/// The two ends of a `veth:` that is named twice; they are taken from the back.
fn plugged(plan: &Plan) -> Vec<Veth> {
    let names = plan.ports.iter().filter(|port| port.spec.kind == Kind::Veth).map(|port| port.spec.to_string());
    match names.collect::<Vec<_>>().as_slice() {
        [left, right] if left == right => {
            let (left, right) = veth(&format!("{left} (left)"), &format!("{right} (right)"), VETH_RING);
            vec![right, left]
        }
        _ => Vec::new(),
    }
}

/// One set of parameters for each queue of an interface.
fn af_xdp_queues(port: &Port, require_zerocopy: bool) -> Result<Vec<AfXdpParams>, Failure> {
    let (mut params, queues) = af_xdp(&port.spec)?;
    if require_zerocopy {
        params.zero_copy = ZeroCopy::Require;
    }
    let link = Link::by_name(&params.iface).map_err(failure)?;
    if port.fate.is_none() {
        send_only(&mut params, &link, &port.spec)?;
    }
    let numbers = match queues {
        // One that only sends needs no more than one queue.
        Queues::All if port.fate.is_none() => 0..=0,
        Queues::All => 0..=link.rx_queues.saturating_sub(1),
        Queues::Range { first, last } => first..=last,
    };
    Ok(numbers.map(|queue| AfXdpParams { queue, ..params.clone() }).collect())
}

/// Nothing is taken from the host by a device that only sends. Where the driver sends in copy mode it needs no XDP program at all; zero-copy queues are set up
/// by drivers only while there is one, so that it steers nothing then: protocol 255 is reserved (RFC 5237).
fn send_only(params: &mut AfXdpParams, link: &Link, spec: &Spec) -> Result<(), Failure> {
    if params.steering != Steering::All {
        let message =
            format!("{spec}: nothing is received here, so there is nothing to steer: leave out dst, proto and port");
        return Err(Failure::new(Class::Config, message));
    }
    (params.fill_ring, params.rx_ring) = (UNUSED, UNUSED);
    params.steering = if params.zero_copy != ZeroCopy::Never && link.features().is_some_and(|driver| driver.zero_copy())
    {
        let mut rules = Rules::default();
        rules.add(Rule::Proto(255)).map_err(failure)?;
        Steering::Rules(rules)
    } else {
        Steering::None
    };
    Ok(())
}

/// The memory for all devices.
///
/// # Errors
/// It cannot be had.
pub(crate) fn zone(pages: usize, huge_pages: args::HugePages, trace: Option<Sampling>) -> Result<Zone, Failure> {
    let huge_pages = match huge_pages {
        args::HugePages::Try => HugePages::Try,
        args::HugePages::Require => HugePages::Require,
        args::HugePages::Never => HugePages::Never,
    };
    let zone = Zone::new(&ZoneParams { huge_pages, ..ZoneParams::pages(pages) })
        .map_err(|error| Failure::new(Class::Config, error))?;
    if let Some(sampling) = trace {
        zone.trace(sampling).map_err(|error| Failure::new(Class::Other, error))?;
    }
    Ok(zone)
}

/// Opens one device.
pub(super) fn device(zone: &Zone, wanted: Wanted, patience: &Patience, run: &Run) -> Result<Opened, Failure> {
    let plain =
        |device: Box<dyn Device>| Opened { device, mode: String::new(), dma: None, events: None, reviver: None };
    let first = wanted.queue == 0;
    Ok(match wanted.recipe {
        Recipe::Gen(name, params) => plain(Box::new(Gen::new(&params).map_err(failure)?.named(name))),
        Recipe::Null => plain(Box::new(Null::new())),
        Recipe::Source(null) => plain(Box::new(null)),
        Recipe::Read(file, params) => {
            let reader = match given::number(&file, 0) {
                Some(number) => {
                    let name = if number == 0 { "-" } else { &file };
                    PcapReader::given(given::take(number)?, name, &params)
                }
                None => PcapReader::open(&file, &params),
            };
            plain(Box::new(reader.map_err(failure)?))
        }
        Recipe::Write(writing) => plain(Box::new(writing.open(patience, run)?)),
        Recipe::Tap(taps) => {
            let (tap, reopen) = taps.next_queue(wanted.queue)?;
            run.interface(wanted.port, tap.interface());
            plain(Box::new(tap)).again(reopen)
        }
        Recipe::SendToTap(taps) => {
            let (tap, mut reopen) = taps.next_queue(wanted.queue)?;
            plain(Box::new(SendOnly::new(tap, ""))).again(move || Ok(SendOnly::new(reopen()?, "")))
        }
        Recipe::AfXdp(params) => {
            let device = AfXdp::open(zone, &params).map_err(failure)?;
            run.interface(wanted.port, &device.link().name);
            let (mode, zone) = (device.mode(), zone.clone());
            Opened { mode, dma: Some(Box::new(Umem)), ..plain(Box::new(device)) }
                .again(move || AfXdp::open(&zone, &params))
        }
        Recipe::SendToAfXdp(params) => {
            let device = send_to(zone, &params).map_err(failure)?;
            let (mode, zone) = (device.mode(), zone.clone());
            Opened { mode, dma: Some(Box::new(Umem)), ..plain(Box::new(device)) }.again(move || send_to(&zone, &params))
        }
        Recipe::Memif(interface) => {
            let device = interface.next_queue(zone)?;
            let events = first.then(|| device.events());
            Opened { mode: device.mode(), events, ..plain(Box::new(device)) }
        }
        Recipe::SendToMemif(interface) => {
            let device = interface.next_queue(zone)?;
            let events = first.then(|| device.events());
            Opened { mode: device.mode(), events, ..plain(Box::new(SendOnly::new(device, "sends only"))) }
        }
        Recipe::Udp(name, spec) => {
            let zone = zone.clone();
            let UdpSpec { local, peer, params, .. } = spec;
            socket_device(params, move || Ok(Udp::open(&zone, local, peer, &params)?.named(&name)))?
        }
        Recipe::Tcp(name, TcpSpec { address, listen, params }) => {
            let (zone, patience) = (zone.clone(), patience.clone());
            let open = if listen { Tcp::listen } else { Tcp::connect };
            let patient = move |tcp: Tcp| {
                let patience = patience.clone();
                tcp.patient(move || patience())
            };
            socket_device(params, move || Ok(patient(open(&zone, address, &params)?.named(&name))))?
        }
        Recipe::Veth(end) => plain(end),
        Recipe::Unplugged(name) => {
            let (near, far) = veth(&name, "the other end", VETH_RING);
            plain(Box::new(Plugged::new(near, far)))
        }
    })
}

/// A socket, which may be lost and opened again.
fn socket_device<D: Device + 'static>(
    params: SocketParams,
    mut open: impl FnMut() -> Result<D, DevError> + Send + 'static,
) -> Result<Opened, Failure> {
    let device = open().map_err(failure)?;
    let mode = device.mode();
    let opened = |device| Opened { device, mode, dma: None, events: None, reviver: None };
    Ok(if params.receive {
        opened(Box::new(device) as Box<dyn Device>).again(open)
    } else {
        opened(Box::new(SendOnly::polled(device, "sends only")))
            .again(move || Ok(SendOnly::polled(open()?, "sends only")))
    })
}

fn send_to(zone: &Zone, params: &AfXdpParams) -> Result<SendOnly<AfXdp>, DevError> {
    let device = AfXdp::open(zone, params)?;
    let mode = if device.zero_copy() { "sends only, zero copy" } else { "sends only, copy" };
    Ok(SendOnly::polled(device, mode))
}

/// The memory of an AF_XDP socket: opening it has registered the whole region, at address 0.
struct Umem;

impl DmaMap for Umem {
    fn map_region(&mut self, _: &Zone) -> Result<Option<DmaAddr>, DmaError> {
        Ok(Some(DmaAddr(0)))
    }

    fn map(&mut self, _: &Zone, number: u32, _: usize) -> Result<DmaAddr, DmaError> {
        Err(DmaError(format!("page {number} is not of the region that the socket registered")))
    }

    fn unmap(&mut self, _: DmaAddr, _: usize) {}
}

impl Wanted {
    /// Whether packets come from it.
    pub(super) fn receives(&self) -> bool {
        use Recipe::{Null, SendToAfXdp, SendToMemif, SendToTap, Tcp, Udp, Unplugged, Write};
        match &self.recipe {
            Udp(_, UdpSpec { params, .. }) | Tcp(_, TcpSpec { params, .. }) => params.receive,
            Null | Write(..) | SendToTap(_) | SendToAfXdp(_) | SendToMemif(_) | Unplugged(_) => false,
            _ => true,
        }
    }

    /// A source that loses nothing by waiting until its target has room.
    pub(super) fn is_patient(&self) -> bool {
        matches!(self.recipe, Recipe::Gen(..) | Recipe::Source(_) | Recipe::Read(..))
    }
}

pub(crate) fn failure(error: DevError) -> Failure {
    use waterwheel_dev::ErrorClass;
    let class = match error.class() {
        // What a device is opened with was understood: it is a value that it cannot have.
        ErrorClass::Usage | ErrorClass::Config => Class::Config,
        ErrorClass::Permission => Class::Permission,
        ErrorClass::Device => Class::Device,
    };
    Failure::new(class, error)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Ports with so many queues, each that posts 1000 pages, holds 1000 received ones and 1000 to send.
    pub(in crate::engine) fn queues(counts: &[usize]) -> Vec<Wanted> {
        let port = |(port, count): (usize, &usize)| {
            let recipe = || Recipe::Tap(Rc::new(Taps { name: String::new(), queues: None, open: RefCell::default() }));
            let wanted = move |queue| Wanted {
                port,
                queue,
                posted: 1000,
                received: 1000,
                tx_pages: 1000,
                order: 0,
                recipe: recipe(),
            };
            (0..*count).map(wanted).collect::<Vec<_>>()
        };
        counts.iter().enumerate().flat_map(port).collect()
    }

    #[test]
    fn a_generator_with_bad_values_is_refused_before_anything_is_open() {
        for (line, class, expected) in [
            ("drop gen:sze=64", Class::Usage, "did you mean 'size'?"),
            ("drop gen:size=5", Class::Config, "size=5"),
            ("forward gen: null:x=1 --one-way", Class::Usage, "the keys are size"),
            ("forward gen: null:size=5 --one-way", Class::Config, "size=5"),
            ("drop pcap:x,timing=late", Class::Config, "timing=late"),
        ] {
            let plan = crate::config::tests::plan(line).expect(line);
            let failure = understand(&plan).map(|_| ()).expect_err(line);
            assert_eq!(failure.class, class, "{line}: {}", failure.message);
            assert!(failure.message.contains(expected), "{line}: {}", failure.message);
        }
    }
}
