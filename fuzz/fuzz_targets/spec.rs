//! Device specs: no text is too strange; what is a spec reads back as it was written; what is none is refused in one line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::fmt::Display;
use waterwheel::dev::generator::{Gen, GenParams};
use waterwheel::dev::null::NullParams;
use waterwheel::dev::pcap::PcapParams;
use waterwheel::dev::spec::{Kind, Spec, af_xdp, memif, tcp, udp};

/// A refusal is one line, and says something.
fn one_line<T>(result: Result<T, impl Display>) -> Option<T> {
    result
        .map_err(|error| {
            let text = error.to_string();
            assert!(!text.is_empty() && !text.contains(['\n', '\r']), "{text:?}");
        })
        .ok()
}

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Some(spec) = one_line(text.parse::<Spec>()) else { return };
    assert_eq!(spec.to_string().parse::<Spec>().as_ref(), Ok(&spec), "it does not read back");
    match spec.kind {
        Kind::Gen => {
            let mut params = GenParams::default();
            if one_line(spec.apply(GenParams::KEYS, |key, value| params.set(key, value))).is_some() {
                one_line(Gen::new(&params));
            }
        }
        Kind::Null => {
            let mut params = NullParams::default();
            one_line(spec.apply(NullParams::KEYS, |key, value| params.set(key, value)));
        }
        Kind::Pcap => {
            let mut params = PcapParams::default();
            one_line(spec.apply(PcapParams::KEYS, |key, value| params.set(key, value)));
        }
        Kind::AfXdp => {
            if let Some((params, queues)) = one_line(af_xdp(&spec)) {
                assert_eq!(params.queue, queues.first());
                assert!(!params.iface.is_empty(), "{spec}");
            }
        }
        Kind::Memif => drop(one_line(memif(&spec))),
        Kind::Udp => drop(one_line(udp(&spec))),
        Kind::Tcp => drop(one_line(tcp(&spec))),
        Kind::Tap | Kind::Veth => {
            one_line(spec.apply(&[], |_, _| Ok::<_, String>(())));
        }
    }
});
