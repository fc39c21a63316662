//! Two network namespaces with a veth pair between them: the relays in one, everybody else in the other.

use crate::peers::kernel::{Namespace, ip, number, program, sys};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, OwnedFd};

/// Both namespaces; they go with this and with who is in them.
pub(crate) struct Road {
    world: Namespace,
    relays: Namespace,
}

impl Road {
    /// Where relays listen; each of them at a port of its own, from this on.
    pub(crate) const LISTEN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(10, 7, 0, 2), 9000));
    /// Where they connect.
    pub(crate) const CONNECT: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(10, 7, 0, 1), 9999));

    pub(crate) fn lay() -> Result<Self, String> {
        let road = Self { world: Namespace::new()?, relays: Namespace::new()? };
        road.world.run(|| {
            ip(&format!("link add world type veth peer name relays netns {}", road.relays.path()))?;
            up("world", Self::CONNECT)
        })?;
        road.relays.run(|| up("relays", Self::LISTEN))?;
        Ok(road)
    }

    /// From now on one packet in `one_in` that comes to the clients and servers is lost, data and acknowledgements alike, as long as what this gives is kept.
    pub(crate) fn lose(&self, one_in: u32) -> Result<OwnedFd, String> {
        let error = |errno: rustix::io::Errno| format!("losing packets by XDP (needs CAP_BPF): {errno}");
        self.world.run(|| {
            let program = sys::load(&program::lossy(one_in.cast_signed())).map_err(error)?;
            sys::attach(program.as_fd(), number("world")?).map_err(error)
        })
    }

    /// Where clients and servers are.
    pub(crate) fn world(&self) -> &Namespace {
        &self.world
    }

    /// Where relays are.
    pub(crate) fn relays(&self) -> &Namespace {
        &self.relays
    }
}

fn up(interface: &str, address: SocketAddr) -> Result<(), String> {
    ip(&format!("addr add {}/24 dev {interface}", address.ip()))?;
    ip(&format!("link set dev {interface} up"))?;
    ip("link set dev lo up")
}
