//! Two network namespaces with a veth pair between them: the relays in one, everybody else in the other.

use crate::peers::kernel::{Namespace, ip};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

/// Both namespaces; they go with this and with who is in them.
pub(super) struct Road {
    world: Namespace,
    relays: Namespace,
}

impl Road {
    /// Where relays listen; each of them at a port of its own, from this on.
    pub(super) const LISTEN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(10, 7, 0, 2), 9000));
    /// Where they connect.
    pub(super) const CONNECT: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(10, 7, 0, 1), 9999));

    pub(super) fn lay() -> Result<Self, String> {
        let road = Self { world: Namespace::new()?, relays: Namespace::new()? };
        road.world.run(|| {
            ip(&format!("link add world type veth peer name relays netns {}", road.relays.path()))?;
            up("world", Self::CONNECT)
        })?;
        road.relays.run(|| up("relays", Self::LISTEN))?;
        Ok(road)
    }

    /// Where clients and servers are.
    pub(super) fn world(&self) -> &Namespace {
        &self.world
    }

    /// Where relays are.
    pub(super) fn relays(&self) -> &Namespace {
        &self.relays
    }
}

fn up(interface: &str, address: SocketAddr) -> Result<(), String> {
    ip(&format!("addr add {}/24 dev {interface}", address.ip()))?;
    ip(&format!("link set dev {interface} up"))?;
    ip("link set dev lo up")
}
