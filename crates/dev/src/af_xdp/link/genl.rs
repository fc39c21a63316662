//! Questions to generic netlink families (`include/uapi/linux/genetlink.h`): `netdev` for XDP features, `ethtool` for channels.

use rustix::io::Errno;
use rustix::net::netlink::GENERIC;

use super::netlink::{ACK, Attrs, Netlink, put, u16_at, u32_at};

const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;

const ETHTOOL_MSG_CHANNELS_GET: u8 = 17;
const ETHTOOL_A_CHANNELS_HEADER: u16 = 1;
const ETHTOOL_A_HEADER_DEV_INDEX: u16 = 1;
const ETHTOOL_A_CHANNELS_RX_COUNT: u16 = 6;
const ETHTOOL_A_CHANNELS_COMBINED_COUNT: u16 = 9;
const NESTED: u16 = 0x8000;

/// Bytes of `struct genlmsghdr`.
const GENLMSG: usize = 4;

/// What a driver says that it can do with XDP (`enum netdev_xdp_act`, Linux 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    bits: u64,
}

impl Features {
    /// Runs XDP programs in the driver.
    #[must_use]
    pub fn native(self) -> bool {
        self.bits & 1 != 0
    }

    /// Redirects packets from the driver, also to AF_XDP sockets.
    #[must_use]
    pub fn redirect(self) -> bool {
        self.bits & 2 != 0
    }

    /// Lets AF_XDP sockets have their packets without a copy.
    #[must_use]
    pub fn zero_copy(self) -> bool {
        self.bits & 8 != 0
    }

    /// Takes frames that lie in several buffers, which those that are longer than a page do, to programs and sockets.
    #[must_use]
    pub fn fragments(self) -> bool {
        self.bits & 32 != 0
    }

    /// The bits of `enum netdev_xdp_act`.
    #[must_use]
    pub fn bits(self) -> u64 {
        self.bits
    }
}

pub(super) fn features(ifindex: u32) -> Result<Features, Errno> {
    let mut bits = None;
    let mut attrs = Vec::new();
    put(&mut attrs, NETDEV_A_DEV_IFINDEX, &ifindex.to_ne_bytes());
    ask("netdev", NETDEV_CMD_DEV_GET, &attrs, |kind, value| {
        if kind == NETDEV_A_DEV_XDP_FEATURES {
            bits = value.try_into().ok().map(u64::from_ne_bytes);
        }
    })?;
    Ok(Features { bits: bits.ok_or(Errno::NOENT)? })
}

/// Receive queues in use. A tap that nobody has open says 0: it has one all the same, on which nothing comes.
pub(super) fn rx_channels(ifindex: u32) -> Result<u32, Errno> {
    let (mut header, mut attrs, mut count) = (Vec::new(), Vec::new(), None);
    put(&mut header, ETHTOOL_A_HEADER_DEV_INDEX, &ifindex.to_ne_bytes());
    put(&mut attrs, ETHTOOL_A_CHANNELS_HEADER | NESTED, &header);
    ask("ethtool", ETHTOOL_MSG_CHANNELS_GET, &attrs, |kind, value| {
        if matches!(kind, ETHTOOL_A_CHANNELS_RX_COUNT | ETHTOOL_A_CHANNELS_COMBINED_COUNT) {
            count = Some(count.unwrap_or(0) + u32_at(value, 0));
        }
    })?;
    count.map(|count| count.max(1)).ok_or(Errno::NOENT)
}

/// One command to one family; `each` sees the attributes of the answer.
fn ask(family: &str, command: u8, attrs: &[u8], mut each: impl FnMut(u16, &[u8])) -> Result<(), Errno> {
    let mut netlink = Netlink::open(Some(GENERIC))?;
    let mut name = family.as_bytes().to_vec();
    name.push(0);
    let mut request = vec![CTRL_CMD_GETFAMILY, 1, 0, 0];
    put(&mut request, CTRL_ATTR_FAMILY_NAME, &name);
    let mut id = None;
    netlink.request(GENL_ID_CTRL, ACK, &request, |body| {
        let attrs = Attrs(body.get(GENLMSG..).unwrap_or_default());
        id = id.or(attrs.filter(|(kind, _)| *kind == CTRL_ATTR_FAMILY_ID).map(|(_, value)| u16_at(value, 0)).next());
    })?;

    let mut request = vec![command, 1, 0, 0];
    request.extend(attrs);
    netlink.request(id.ok_or(Errno::NOENT)?, ACK, &request, |body| {
        for (kind, value) in Attrs(body.get(GENLMSG..).unwrap_or_default()) {
            each(kind, value);
        }
    })
}
