//! `memif:SOCKET,KEY=VALUE,...` as parameters.

use super::{Spec, SpecError};
use crate::memif::{MemifParams, Role, Wakeup};

/// The keys of `memif:`, each with a line of help.
pub const MEMIF_KEYS: &[(&str, &str)] = &[
    ("role", "client: connects, and brings the memory; server: listens (default client)"),
    ("id", "number of the interface behind the socket, which may serve several (default 0)"),
    ("queues", "queues, each a ring in either direction, 1 to 16; the side with fewer decides (default 1)"),
    ("ring", "slots of each ring, a power of two from 2 to 16384; the client's word counts (default 1024)"),
    ("mode", "interrupt: sleep until the peer wakes us; poll: look all the time (default interrupt)"),
    ("secret", "at most 24 bytes, which both sides must know (default none)"),
    (
        "trust",
        "peer: copy nothing; the peer of a client can then write to all packet memory, and must trust us too where that is huge pages (default: copy, and trust nobody)",
    ),
];

/// What a spec asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemifSpec {
    /// Everything but trust: nobody is trusted in them.
    pub params: MemifParams,
    /// `trust=peer` was asked for. To trust is a promise, [`Trust::peer`](crate::memif::Trust::peer), which whoever runs the spec has to make: a text cannot.
    pub trust_peer: bool,
}

/// What `spec` asks for.
///
/// # Errors
/// A key that does not exist, or a value that it cannot have.
pub fn memif(spec: &Spec) -> Result<MemifSpec, SpecError> {
    let mut memif = MemifSpec { params: MemifParams::new(&spec.arg), trust_peer: false };
    spec.apply(MEMIF_KEYS, |key, value| set(&mut memif, key, value))?;
    Ok(memif)
}

fn set(MemifSpec { params, trust_peer }: &mut MemifSpec, key: &str, value: &str) -> Result<(), String> {
    match key {
        "role" => params.role = choose(key, value, &[("client", Role::Client), ("server", Role::Server)])?,
        "id" => params.id = number(key, value, u32::MAX)?,
        "queues" => params.queues = number(key, value, 16)?,
        "ring" => params.ring = number(key, value, 16384)?,
        "mode" => params.wakeup = choose(key, value, &[("interrupt", Wakeup::Interrupt), ("poll", Wakeup::Poll)])?,
        "secret" => params.secret = value.to_owned(),
        "trust" => {
            choose(key, value, &[("peer", ())])?;
            *trust_peer = true;
        }
        _ => return Err(format!("{key} is in the table of keys and is not understood")),
    }
    // Each value by itself has its range; what is typed later does not mend what was typed before.
    params.check().map_err(|error| error.to_string())
}

fn choose<T: Copy>(key: &str, value: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let names = || choices.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" or ");
    let found = choices.iter().find(|(name, _)| *name == value).map(|(_, choice)| *choice);
    found.ok_or_else(|| format!("{key}={value}: want {}", names()))
}

fn number<T: std::str::FromStr + std::fmt::Display>(key: &str, value: &str, most: T) -> Result<T, String> {
    value.parse().map_err(|_| format!("{key}={value}: want a whole number up to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<MemifSpec, String> {
        memif(&text.parse::<Spec>().expect(text)).map_err(|error| error.to_string())
    }

    #[test]
    fn keys_become_parameters() {
        let text = "memif:/tmp/m.sock,role=server,id=7,queues=2,ring=512,mode=poll,secret=sesame,trust=peer";
        let expected = MemifParams {
            id: 7,
            queues: 2,
            ring: 512,
            wakeup: Wakeup::Poll,
            secret: "sesame".into(),
            ..MemifParams::new("/tmp/m.sock").server()
        };
        assert_eq!(parsed(text), Ok(MemifSpec { params: expected, trust_peer: true }), "asked for, and not granted");
        assert_eq!(parsed("memif:m"), Ok(MemifSpec { params: MemifParams::new("m"), trust_peer: false }));
    }

    #[test]
    fn every_key_in_the_table_is_understood() {
        for (key, _) in MEMIF_KEYS {
            let nonsense = "nonsense, of more than 24 bytes".replace(',', "\\,");
            let error = parsed(&format!("memif:m,{key}={nonsense}")).expect_err(key);
            assert!(!error.contains("not understood"), "{error}");
        }
    }

    #[test]
    fn bad_values_are_named() {
        for (text, expected) in [
            ("memif:m,role=master", "role=master: want client or server"),
            ("memif:m,ring=1000", "ring=1000: want a power of two"),
            ("memif:m,queues=0", "queues=0: want 1 to 16"),
            ("memif:m,id=-1", "id=-1: want a whole number"),
            ("memif:m,id=99999999999", "id=99999999999: want a whole number up to 4294967295"),
            ("memif:m,mode=fast", "mode=fast: want interrupt or poll"),
            ("memif:m,trust=everybody", "trust=everybody: want peer"),
            ("memif:m,rings=5", "did you mean 'ring'?"),
        ] {
            let error = parsed(text).expect_err(text);
            assert!(error.contains(expected), "{error}");
        }
    }
}
