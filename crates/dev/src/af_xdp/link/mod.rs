//! What the kernel knows about an interface: netlink, so that the answers are those of the calling thread's network namespace (sysfs shows the one it was
//! mounted in).

mod genl;
mod netlink;
mod route;

pub use genl::Features;
pub use route::default_routes;

use rustix::io::Errno;

use self::netlink::{ACK, Attrs, DUMP, Netlink, ROUTE, put, text, u16_at, u32_at};
use super::bpf::{XdpMode, describe_program, removal};
use super::{error, sys};
use crate::DevError;

const RTM_GETLINK: u16 = 18;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_XDP: u16 = 43;
const IFLA_PROP_LIST: u16 = 52;
const IFLA_ALT_IFNAME: u16 = 53;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;
const IFLA_XDP_SKB_PROG_ID: u16 = 6;
const IFINFOMSG: usize = 16;
const IFF_UP: u32 = 1;
const IFF_LOOPBACK: u32 = 8;
const IFF_PROMISC: u32 = 0x100;
const IFF_LOWER_UP: u32 = 0x10000;
/// `ARPHRD_ETHER` and `ARPHRD_LOOPBACK` (`include/uapi/linux/if_arp.h`): both have Ethernet headers.
const ETHERNET: [u16; 2] = [1, 772];
/// `IFNAMSIZ` less the final zero.
const NAME_MAX: usize = 15;
/// `ALTIFNAMSIZ` less the final zero.
const ALT_NAME_MAX: usize = 127;

/// An interface, as it was when asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Further names that it has (`ip link property add dev IF altname NAME`).
    pub alt_names: Vec<String>,
    /// Its number, which another interface may get only after this one is gone.
    pub index: u32,
    /// Its packets have an Ethernet header; those of a tun, a PPP connection or a WireGuard tunnel have none.
    pub ethernet: bool,
    /// Hardware address; empty when it has none.
    pub address: Vec<u8>,
    /// Largest IP packet, bytes.
    pub mtu: u32,
    /// Set up (`ip link set up`).
    pub up: bool,
    /// Has a carrier: the other end is there.
    pub carrier: bool,
    /// `lo`, or another loopback.
    pub loopback: bool,
    /// Takes in packets for other hardware addresses.
    pub promiscuous: bool,
    /// Receive queues in use, numbered from 0; the sockets of an interface are one per queue.
    pub rx_queues: u32,
    /// What kind of virtual interface it is (`veth`, `bridge`); nothing for hardware.
    pub kind: Option<String>,
    /// The XDP program on it.
    pub xdp: Option<Attached>,
}

/// An XDP program that is attached to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Its id, as `bpftool prog` shows it.
    pub prog_id: u32,
    /// Where it runs.
    pub mode: XdpMode,
}

impl Attached {
    /// The program in words: id, name, mode and who holds it, as far as can be known. Reads `/proc` of all processes.
    #[must_use]
    pub fn describe(&self) -> String {
        describe_program(self)
    }
}

impl Link {
    /// The interface of this name, or with this alternative name.
    ///
    /// # Errors
    /// When there is none; the message lists those that are there.
    pub fn by_name(name: &str) -> Result<Self, DevError> {
        if name.is_empty() || name.len() > ALT_NAME_MAX {
            let message = format!(
                "`{name}` is not an interface name: those have 1 to {NAME_MAX} bytes, alternative ones up to {ALT_NAME_MAX}"
            );
            return Err(error::config(message));
        }
        let mut request = vec![0; IFINFOMSG];
        let mut zero_ended = name.as_bytes().to_vec();
        zero_ended.push(0);
        // The kernel looks among both for either; only one of them has room for a long name.
        put(&mut request, if name.len() > NAME_MAX { IFLA_ALT_IFNAME } else { IFLA_IFNAME }, &zero_ended);
        match get(&request, ACK) {
            Ok(mut links) if !links.is_empty() => Ok(links.swap_remove(0)),
            Ok(_) | Err(Errno::NODEV) => {
                let names: Vec<String> = Self::all().unwrap_or_default().into_iter().map(|link| link.name).collect();
                Err(error::config(format!("there is no interface `{name}`: here are {}", names.join(", "))))
            }
            Err(errno) => Err(asking(name, errno)),
        }
    }

    /// The interface of this number.
    ///
    /// # Errors
    /// When there is none.
    pub fn by_index(index: u32) -> Result<Self, DevError> {
        let mut request = vec![0; IFINFOMSG];
        request[4..8].copy_from_slice(&index.to_ne_bytes());
        let links = get(&request, ACK).map_err(|errno| match errno {
            Errno::NODEV => error::device(format!("the interface of number {index} is gone")),
            errno => asking(&format!("interface {index}"), errno),
        })?;
        links.into_iter().next().ok_or_else(|| error::device(format!("the interface of number {index} is gone")))
    }

    /// All interfaces, by number.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn all() -> Result<Vec<Self>, DevError> {
        get(&[0; IFINFOMSG], DUMP).map_err(|errno| asking("the list of interfaces", errno))
    }

    /// The driver's name, or the kind of a virtual interface, or `unknown`.
    #[must_use]
    pub fn driver(&self) -> String {
        let driver = sys::ethtool_driver(&self.name).ok().filter(|name| !name.is_empty());
        driver.or_else(|| self.kind.clone()).unwrap_or_else(|| "unknown".to_owned())
    }

    /// The command that takes its XDP program off: another one for each mode, and for a program that a link holds, which `ip` cannot remove. Nothing when it has none.
    #[must_use]
    pub fn removal(&self) -> Option<String> {
        self.xdp.map(|attached| removal(&attached, self))
    }

    /// What the driver can do with XDP. Nothing when the kernel (before 6.3) does not tell.
    #[must_use]
    pub fn features(&self) -> Option<Features> {
        genl::features(self.index).ok()
    }
}

fn asking(what: &str, errno: Errno) -> DevError {
    error::device(format!("{what}: the kernel does not answer: {errno}"))
}

fn get(request: &[u8], flags: u16) -> Result<Vec<Link>, Errno> {
    let mut links = Vec::new();
    Netlink::open(ROUTE)?.request(RTM_GETLINK, flags, request, |body| links.extend(parse(body)))?;
    for link in &mut links {
        // The count that the link message carries is what the driver allocated, not what it uses.
        if let Ok(channels) = genl::rx_channels(link.index) {
            link.rx_queues = channels;
        }
    }
    Ok(links)
}

fn parse(body: &[u8]) -> Option<Link> {
    let flags = u32_at(body, 8);
    let mut link = Link {
        name: String::new(),
        alt_names: Vec::new(),
        ethernet: ETHERNET.contains(&u16_at(body, 2)),
        index: u32_at(body, 4),
        address: Vec::new(),
        mtu: 0,
        up: flags & IFF_UP != 0,
        carrier: flags & IFF_LOWER_UP != 0,
        loopback: flags & IFF_LOOPBACK != 0,
        promiscuous: flags & IFF_PROMISC != 0,
        rx_queues: 1,
        kind: None,
        xdp: None,
    };
    for (kind, value) in Attrs(body.get(IFINFOMSG..)?) {
        match kind {
            IFLA_IFNAME => link.name = text(value),
            IFLA_ADDRESS => link.address = value.to_vec(),
            IFLA_MTU => link.mtu = u32_at(value, 0),
            IFLA_NUM_RX_QUEUES => link.rx_queues = u32_at(value, 0).max(1),
            IFLA_LINKINFO => {
                link.kind = Attrs(value).find(|(kind, _)| *kind == IFLA_INFO_KIND).map(|(_, name)| text(name));
            }
            IFLA_XDP => link.xdp = attached(value),
            IFLA_PROP_LIST => {
                link.alt_names =
                    Attrs(value).filter(|(kind, _)| *kind == IFLA_ALT_IFNAME).map(|(_, name)| text(name)).collect();
            }
            _ => {}
        }
    }
    Some(link)
}

fn attached(value: &[u8]) -> Option<Attached> {
    let find = |wanted: u16| Attrs(value).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let mode = match find(IFLA_XDP_ATTACHED)?.first()? {
        0 => return None,
        1 => XdpMode::Native,
        2 => XdpMode::Generic,
        // Several at once: the driver's is named, or the generic one.
        4 if find(IFLA_XDP_SKB_PROG_ID).is_some() => XdpMode::Generic,
        _ => XdpMode::Offloaded,
    };
    let prog_id = find(IFLA_XDP_PROG_ID).or_else(|| find(IFLA_XDP_SKB_PROG_ID)).map_or(0, |id| u32_at(id, 0));
    Some(Attached { prog_id, mode })
}

#[cfg(test)]
mod tests;
