//! `udp:ADDR,KEY=VALUE,...` and `tcp:ADDR,KEY=VALUE,...` as parameters.

use std::net::SocketAddr;

use super::{Problem, Spec, SpecError};
use crate::socket::{SocketParams, Udp};
use crate::uring::Send;

/// The keys of `udp:`, each with a line of help.
pub const UDP_KEYS: &[(&str, &str)] = &[
    ("peer", "ADDR:PORT to send to, and to receive from alone (default: receive from everybody, send nothing)"),
    ("mtu", "what the longest datagram to receive may carry, up to 65279 bytes (default 3839: a page)"),
    RING,
    SEND,
];

/// The keys of `tcp:`, each with a line of help.
pub const TCP_KEYS: &[(&str, &str)] =
    &[("listen", "accept connections at ADDR:PORT, one at a time (default: connect to it)"), RING, SEND];

const RING: (&str, &str) = ("ring", "pages to receive into, and to send, a power of two from 2 to 4096 (default 256)");
const SEND: (&str, &str) = (
    "send",
    "auto: without a copy where the kernel does not copy after all; plain: copy; zc: without a copy, whatever the kernel says (default auto)",
);

/// What `udp:` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UdpSpec {
    /// Where to bind.
    pub local: SocketAddr,
    /// Where to send.
    pub peer: Option<SocketAddr>,
    /// log2 of the pages in a block of the pool to receive into, so that the longest datagram fits.
    pub order: u8,
    /// The rest.
    pub params: SocketParams,
}

/// What `tcp:` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpSpec {
    /// Where to listen, or what to connect to.
    pub address: SocketAddr,
    /// Whether to listen.
    pub listen: bool,
    /// The rest.
    pub params: SocketParams,
}

/// The parameters that a `udp:` names.
///
/// # Errors
/// No address; a key that does not exist, or a value that it cannot have.
pub fn udp(spec: &Spec) -> Result<UdpSpec, SpecError> {
    let (mut peer, mut order, mut params) = (None, 0, SocketParams::default());
    spec.apply(UDP_KEYS, |key, value| match key {
        "peer" => {
            peer = Some(to(address(value).map_err(|why| format!("peer={value}: {why}"))?, "peer")?);
            Ok(())
        }
        "mtu" => {
            let fits = value.parse().ok().and_then(Udp::order_for);
            order = fits.ok_or_else(|| format!("mtu={value}: want 1 to {}", Udp::LONGEST))?;
            Ok(())
        }
        _ => set(&mut params, key, value),
    })?;
    let local = argument(spec)?;
    match peer {
        Some(peer) if peer.is_ipv6() != local.is_ipv6() => {
            Err(wrong(spec, format!("{local} is bound and {peer} is the peer: use two of IPv4, or two of IPv6")))
        }
        _ => Ok(UdpSpec { local, peer, order, params }),
    }
}

/// The parameters that a `tcp:` names.
///
/// # Errors
/// As [`udp`].
pub fn tcp(spec: &Spec) -> Result<TcpSpec, SpecError> {
    let (mut listen, mut params) = (false, SocketParams::default());
    spec.apply(TCP_KEYS, |key, value| match (key, value) {
        ("listen", "") => {
            listen = true;
            Ok(())
        }
        ("listen", _) => Err(format!("listen={value}: 'listen' has no value")),
        _ => set(&mut params, key, value),
    })?;
    let address = argument(spec)?;
    if !listen {
        to(address, "address").map_err(|why| wrong(spec, why))?;
    }
    Ok(TcpSpec { address, listen, params })
}

fn argument(spec: &Spec) -> Result<SocketAddr, SpecError> {
    address(&spec.arg).map_err(|why| wrong(spec, why))
}

fn wrong(spec: &Spec, reason: String) -> SpecError {
    SpecError { spec: spec.to_string(), problem: Problem::BadValue { key: "ADDR:PORT".to_owned(), reason } }
}

/// An address that something can be sent to.
fn to(address: SocketAddr, what: &str) -> Result<SocketAddr, String> {
    if address.port() == 0 {
        Err(format!("the {what} has port 0: name the port of the other side"))
    } else {
        Ok(address)
    }
}

fn set(params: &mut SocketParams, key: &str, value: &str) -> Result<(), String> {
    match key {
        "ring" => {
            params.ring = value.parse().map_err(|_| format!("ring={value}: want a power of two from 2 to 4096"))?
        }
        "send" => {
            params.send = match value {
                "auto" => Send::Auto,
                "plain" => Send::Plain,
                "zc" => Send::Zc,
                _ => return Err(format!("send={value}: want auto, plain or zc")),
            }
        }
        _ => return Err(format!("{key} is in the table of keys and is not understood")),
    }
    params.check().map_err(|error| error.to_string())
}

/// Where a socket is: `127.0.0.1:80`, `[::1]:80`.
///
/// # Errors
/// What is wrong, and the way out.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse::<SocketAddr>().map_err(|_| {
        let why = match text.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_err() && !host.contains(':') => {
                format!("'{port}' is no port (0 to 65535)")
            }
            Some((host, _)) if host.contains(':') && !host.starts_with('[') => {
                "an IPv6 address stands in brackets before its port".to_owned()
            }
            Some((host, _)) => format!("'{host}' is no IP address (names are not looked up)"),
            None => "the port is missing".to_owned(),
        };
        format!("{why}: use ADDR:PORT, e.g. 127.0.0.1:8080 or [::1]:8080")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(text: &str) -> Result<(), String> {
        let spec = text.parse::<Spec>().expect(text);
        let parsed = if text.starts_with("udp") { udp(&spec).map(drop) } else { tcp(&spec).map(drop) };
        parsed.map_err(|error| error.to_string())
    }

    #[test]
    fn keys_become_parameters() {
        let spec = "udp:127.0.0.1:0,peer=127.0.0.1:9,ring=64,send=plain,mtu=9000".parse::<Spec>().expect("a spec");
        let params = SocketParams { ring: 64, send: Send::Plain, ..SocketParams::default() };
        let expected =
            UdpSpec { local: ([127, 0, 0, 1], 0).into(), peer: Some(([127, 0, 0, 1], 9).into()), order: 2, params };
        assert_eq!(udp(&spec), Ok(expected));
        let spec = "tcp:[::1]:80,listen".parse::<Spec>().expect("a spec");
        let params = SocketParams::default();
        assert_eq!(tcp(&spec), Ok(TcpSpec { address: "[::1]:80".parse().expect("one"), listen: true, params }));
    }

    #[test]
    fn bad_values_are_named() {
        for (text, expected) in [
            ("udp:localhost:1", "'localhost' is no IP address"),
            ("udp:127.0.0.1", "the port is missing"),
            ("udp:127.0.0.1:99999", "'99999' is no port"),
            ("udp:127.0.0.1:1,peer=x", "peer=x: the port is missing"),
            ("udp:127.0.0.1:1,peer=127.0.0.1:0", "has port 0"),
            ("udp:127.0.0.1:1,peer=[::1]:2", "use two of IPv4, or two of IPv6"),
            ("udp:127.0.0.1:1,ring=100", "ring=100: want a power of two"),
            ("udp:127.0.0.1:1,mtu=0", "mtu=0: want 1 to 65279"),
            ("udp:127.0.0.1:1,mtu=65280", "mtu=65280: want 1 to 65279"),
            ("udp:127.0.0.1:1,mtu=9k", "mtu=9k: want 1 to 65279"),
            ("udp:127.0.0.1:1,listen", "unknown key 'listen'"),
            ("tcp:127.0.0.1:1,send=fast", "send=fast: want auto, plain or zc"),
            ("tcp:127.0.0.1:1,listen=yes", "'listen' has no value"),
            ("tcp:127.0.0.1:0", "has port 0"),
            ("tcp:::1:80", "stands in brackets"),
        ] {
            let error = both(text).expect_err(text);
            assert!(error.contains(expected), "{error}");
        }
    }
}
