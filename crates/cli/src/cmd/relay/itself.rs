//! Whether a relay would connect to itself: each connection that it accepted would then make another one.

use std::net::{IpAddr, SocketAddr, UdpSocket};

/// Those of `addresses` that do not lead back; none if all of them do.
pub(super) fn elsewhere(listen: SocketAddr, mut addresses: Vec<SocketAddr>) -> Option<Vec<SocketAddr>> {
    addresses.retain(|address| !leads_back(listen, *address));
    (!addresses.is_empty()).then_some(addresses)
}

/// Whether whoever connects to `to` comes to `listen`. Both stand for addresses of one kind only: [::] is no IPv4 address.
fn leads_back(listen: SocketAddr, to: SocketAddr) -> bool {
    if listen.port() != to.port() || listen.is_ipv4() != to.is_ipv4() {
        return false;
    }
    // To connect to no address is to connect to this machine.
    let everywhere = listen.ip().is_unspecified();
    listen.ip() == to.ip()
        || (everywhere && is_here(to.ip()))
        || (to.ip().is_unspecified() && (everywhere || listen.ip().is_loopback()))
}

/// Whether it is an address of this machine: what is sent there is sent from there. Nothing is sent to find out.
fn is_here(ip: IpAddr) -> bool {
    let any: SocketAddr = if ip.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
    let from = || {
        let socket = UdpSocket::bind(any)?;
        socket.connect((ip, 9))?;
        socket.local_addr()
    };
    ip.is_loopback() || from().is_ok_and(|from| from.ip() == ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_back_is_known() {
        let leads = |listen: &str, to: &str| leads_back(listen.parse().expect(listen), to.parse().expect(to));
        for (listen, to) in [
            ("127.0.0.1:9", "127.0.0.1:9"),
            ("192.0.2.1:9", "192.0.2.1:9"),
            ("0.0.0.0:9", "127.3.2.1:9"),
            ("0.0.0.0:9", "0.0.0.0:9"),
            ("127.0.0.1:9", "0.0.0.0:9"),
            ("[::]:9", "[::1]:9"),
        ] {
            assert!(leads(listen, to), "{listen} {to}");
        }
        for (listen, to) in [
            ("127.0.0.1:9", "127.0.0.1:8"),
            ("127.0.0.1:9", "127.0.0.2:9"),
            ("0.0.0.0:9", "192.0.2.1:9"),
            ("192.0.2.1:9", "0.0.0.0:9"),
            ("[::]:9", "127.0.0.1:9"),
            ("0.0.0.0:9", "[::1]:9"),
        ] {
            assert!(!leads(listen, to), "{listen} {to}");
        }
    }
}
