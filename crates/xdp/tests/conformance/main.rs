//! The conformance suite on the devices of this crate, and on devices that break one rule each.

mod broken;

use std::sync::{Arc, Mutex};
use waterwheel_xdp::conformance::{DevicePeer, Pair, Profile, Rig, conform};
use waterwheel_xdp::wrap::{Count, Fault, FaultParams, Heading, Sink, Trace};
use waterwheel_xdp::{Device, Veth, Zone, veth};

/// A veth with something around its near end.
struct Wrapped<F>(F, Profile);

/// What a veth promises.
fn profile() -> Profile {
    Profile { fills: true, knows_losses: true, longest: 9000, ..Profile::default() }
}

/// The rules for devices that read what was there before them.
const OF_FILES: [&str; 1] = ["the_last_packet"];

impl<F: FnMut(Veth) -> Box<dyn Device>> Rig for Wrapped<F> {
    fn profile(&self) -> Profile {
        self.1
    }

    fn open(&mut self, zone: &Zone, _: &[Vec<u8>]) -> Pair {
        let (near, far) = veth("near", "far", 256);
        Pair { device: (self.0)(near), peer: Box::new(DevicePeer::new(Box::new(far), zone)) }
    }
}

#[test]
fn a_veth_conforms() {
    let report = conform(&mut Wrapped(|near| Box::new(near) as Box<dyn Device>, profile()));
    assert_eq!(report.not_asked, OF_FILES);
}

#[test]
fn a_counted_veth_conforms() {
    let report = conform(&mut Wrapped(|near| Box::new(Count::new(near).0) as Box<dyn Device>, profile()));
    assert_eq!(report.not_asked, OF_FILES);
}

/// Remembers the bytes that it is shown.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<u64>>);

impl Sink for Seen {
    fn packet(&mut self, _: Heading, data: &[u8]) {
        *self.0.lock().unwrap() += data.len() as u64;
    }
}

#[test]
fn a_traced_veth_conforms() {
    let seen = Seen::default();
    let trace = |near| Box::new(Trace::new(near, seen.clone())) as Box<dyn Device>;
    let report = conform(&mut Wrapped(trace, profile()));
    assert_eq!(report.not_asked, OF_FILES);
    assert!(*seen.0.lock().unwrap() > 1_000_000, "it was shown what passed");
}

#[test]
fn a_perfect_line_conforms_and_a_bad_one_does_but_for_what_it_does_not_promise() {
    let perfect = |near| Box::new(Fault::new(near, FaultParams::default())) as Box<dyn Device>;
    assert_eq!(conform(&mut Wrapped(perfect, profile())).not_asked, OF_FILES);

    let params = FaultParams { rx_loss: 100_000, tx_loss: 100_000, corrupt: 50_000, duplicate: 50_000, seed: 3 };
    let bad = move |near| Box::new(Fault::new(near, params)) as Box<dyn Device>;
    let promises_less = Profile {
        lossless: false,
        knows_losses: false, // and what comes twice
        ordered: false,
        faithful: false,
        patience: std::time::Duration::from_millis(20),
        ..profile()
    };
    let report = conform(&mut Wrapped(bad, promises_less));
    let not_asked = ["order", "payload", "loss", "duplicates", "lengths", "bursts", "ring_full", "the_last_packet"];
    assert_eq!(report.not_asked, not_asked);
}
