//! `afxdp:IFACE[:QUEUE],KEY=VALUE,...` as parameters.

use super::{Queues, Spec, SpecError};
use crate::DevError;
use crate::af_xdp::{AfXdpParams, AttachMode, BusyPoll, Rule, Rules, Steering, ZeroCopy};

/// The keys of `afxdp:`, each with a line of help.
pub const AF_XDP_KEYS: &[(&str, &str)] = &[
    ("dst", "take only packets to this address or prefix, e.g. 10.0.0.0/8 or 2001:db8::/32; may be repeated"),
    ("proto", "take only this IP protocol: a name such as udp, or a number; may be repeated"),
    ("port", "take only TCP and UDP packets to this port or range, e.g. 53 or 4000-4010; may be repeated"),
    (
        "mode",
        "where the XDP program runs: native (in the driver), generic, or auto (default auto: native if the driver can)",
    ),
    ("zerocopy", "ask, require or never (default ask: without a copy if the driver can)"),
    ("busy-poll", "poll the driver from system calls, for so many microseconds each (20 without a value)"),
    ("busy-budget", "packets per busy poll (default 64)"),
    ("need-wakeup", "on or off: system calls only when the kernel asks for them (default on)"),
    ("promisc", "take packets for any MAC address, as long as this process runs"),
    ("rx-ring", "slots of the ring of received packets, a power of two (default 2048)"),
    ("tx-ring", "slots of the ring of packets to send and of the ring of sent ones, a power of two (default 2048)"),
    ("fill-ring", "slots of the ring of empty pages, a power of two (default 4096)"),
];

/// The parameters that `spec` names, for its first queue, and which queues it names. Each queue is a device of its own.
///
/// # Errors
/// A queue that is none, a key that does not exist, or a value that it cannot have.
pub fn af_xdp(spec: &Spec) -> Result<(AfXdpParams, Queues), SpecError> {
    let (interface, queues) = spec.interface_and_queues()?;
    let mut params = AfXdpParams::new(interface, queues.first());
    spec.apply(AF_XDP_KEYS, |key, value| set(&mut params, key, value))?;
    Ok((params, queues))
}

fn set(params: &mut AfXdpParams, key: &str, value: &str) -> Result<(), String> {
    match key {
        "dst" => steer(params, value.parse().map(Rule::Dst)),
        "proto" => steer(params, format!("proto={value}").parse()),
        "port" => steer(params, value.parse().map(Rule::Port)),
        "mode" => {
            let modes = [("auto", AttachMode::Auto), ("native", AttachMode::Native), ("generic", AttachMode::Generic)];
            choose(&mut params.mode, key, value, &modes)
        }
        "zerocopy" => {
            let choices = [("ask", ZeroCopy::Ask), ("require", ZeroCopy::Require), ("never", ZeroCopy::Never)];
            choose(&mut params.zero_copy, key, value, &choices)
        }
        "busy-poll" => {
            let micros = if value.is_empty() { BusyPoll::default().micros } else { positive(key, value)? };
            params.busy_poll.get_or_insert_default().micros = micros;
            Ok(())
        }
        "busy-budget" => {
            params.busy_poll.get_or_insert_default().budget = positive(key, value)?;
            Ok(())
        }
        "need-wakeup" => choose(&mut params.need_wakeup, key, value, &[("on", true), ("off", false)]),
        "promisc" => choose(&mut params.promiscuous, key, value, &[("", true), ("on", true), ("off", false)]),
        "rx-ring" => {
            params.rx_ring = slots(key, value)?;
            Ok(())
        }
        "tx-ring" => {
            params.tx_ring = slots(key, value)?;
            params.completion_ring = params.tx_ring;
            Ok(())
        }
        "fill-ring" => {
            params.fill_ring = slots(key, value)?;
            Ok(())
        }
        _ => Err(format!("{key} is in the table of keys and is not understood")),
    }
}

fn steer(params: &mut AfXdpParams, rule: Result<Rule, DevError>) -> Result<(), String> {
    let mut rules = match std::mem::take(&mut params.steering) {
        Steering::Rules(rules) => rules,
        Steering::All | Steering::None => Rules::default(),
    };
    rules.add(rule.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
    params.steering = Steering::Rules(rules);
    Ok(())
}

fn choose<T: Copy>(target: &mut T, key: &str, value: &str, choices: &[(&str, T)]) -> Result<(), String> {
    match choices.iter().find(|(name, _)| *name == value) {
        Some((_, choice)) => {
            *target = *choice;
            Ok(())
        }
        None => {
            let names = choices.iter().map(|(name, _)| *name).filter(|name| !name.is_empty()).collect::<Vec<_>>();
            Err(format!("{key}={value}: want one of {}", names.join(", ")))
        }
    }
}

fn positive(key: &str, value: &str) -> Result<u32, String> {
    value.parse().ok().filter(|n| *n > 0).ok_or_else(|| format!("{key}={value}: want a whole number, 1 or more"))
}

fn slots(key: &str, value: &str) -> Result<u32, String> {
    let power = |n: &u32| n.is_power_of_two() && *n <= 1 << 16;
    value.parse().ok().filter(power).ok_or_else(|| format!("{key}={value}: want a power of two from 1 to 65536"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<(AfXdpParams, Queues), String> {
        af_xdp(&text.parse::<Spec>().expect(text)).map_err(|error| error.to_string())
    }

    #[test]
    fn keys_become_parameters() {
        let text = "afxdp:eth0:1-2,dst=10.0.0.0/8,dst=2001:db8::/32,proto=udp,port=53,mode=native,zerocopy=require,busy-poll=50,\
                    busy-budget=32,need-wakeup=off,promisc,rx-ring=512,tx-ring=1024,fill-ring=4096";
        let (params, queues) = parsed(text).expect(text);
        assert_eq!(queues, Queues::Range { first: 1, last: 2 });
        let steering = "dst=10.0.0.0/8,dst=2001:db8::/32,proto=udp,port=53".parse().expect("rules");
        let expected = AfXdpParams {
            iface: "eth0".into(),
            queue: 1,
            rx_ring: 512,
            tx_ring: 1024,
            fill_ring: 4096,
            completion_ring: 1024,
            zero_copy: ZeroCopy::Require,
            busy_poll: Some(BusyPoll { micros: 50, budget: 32 }),
            need_wakeup: false,
            steering,
            mode: AttachMode::Native,
            promiscuous: true,
        };
        assert_eq!(params, expected);
        assert_eq!(parsed("afxdp:eth0"), Ok((AfXdpParams::new("eth0", 0), Queues::All)));
    }

    #[test]
    fn every_key_in_the_table_is_understood() {
        for (key, _) in AF_XDP_KEYS {
            let error = parsed(&format!("afxdp:eth0,{key}=nonsense")).expect_err(key);
            assert!(error.contains("nonsense") && !error.contains("not understood"), "{error}");
        }
    }

    #[test]
    fn bad_values_are_named() {
        for (text, expected) in [
            ("afxdp:e,dst=10.0.0.0/33", "10.0.0.0/33"),
            ("afxdp:e,dst=10.0.0.1/8", "10.0.0.0/8"),
            ("afxdp:e,port=70000", "70000"),
            ("afxdp:e,proto=upd", "upd"),
            ("afxdp:e,mode=fast", "mode=fast: want one of auto, native, generic"),
            ("afxdp:e,rx-ring=1000", "rx-ring=1000: want a power of two"),
            ("afxdp:e,busy-poll=0", "1 or more"),
            ("afxdp:e,zerocpy=ask", "did you mean 'zerocopy'?"),
        ] {
            let error = parsed(text).expect_err(text);
            assert!(error.contains(expected), "{error}");
        }
    }
}
