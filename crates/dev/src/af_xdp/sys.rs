#![expect(unsafe_code, reason = "socket options and an ioctl that rustix does not have")]
//! System calls that `rustix` has no safe form of.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// `SO_BUSY_POLL_BUDGET` and the like have numbers of their own on a few architectures; these are those of all others (`include/uapi/asm-generic/socket.h`).
const SO_BUSY_POLL: i32 = 46;
const SO_PREFER_BUSY_POLL: i32 = 69;
const SO_BUSY_POLL_BUDGET: i32 = 70;
/// Linux 6.18 (`include/uapi/linux/if_xdp.h`).
const XDP_MAX_TX_SKB_BUDGET: i32 = 9;
const PACKET_ADD_MEMBERSHIP: i32 = 1;
const PACKET_MR_PROMISC: u16 = 1;
const ETHTOOL_GDRVINFO: u32 = 3;
const SIOCETHTOOL: libc::Ioctl = 0x8946;

fn check(result: i32) -> Result<(), Errno> {
    if result >= 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}

/// A `setsockopt` whose value is plain data.
fn set_option<T: Copy>(fd: BorrowedFd<'_>, level: i32, name: i32, value: &T) -> Result<(), Errno> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of a value that lives through the call.
    check(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    })
}

/// The socket's system calls drive the device: `SO_PREFER_BUSY_POLL`, `SO_BUSY_POLL` (microseconds) and `SO_BUSY_POLL_BUDGET` (packets), Linux 5.11.
pub(super) fn set_busy_poll(fd: BorrowedFd<'_>, micros: u32, budget: u32) -> Result<(), Errno> {
    set_option(fd, libc::SOL_SOCKET, SO_PREFER_BUSY_POLL, &1i32)?;
    set_option(fd, libc::SOL_SOCKET, SO_BUSY_POLL, &micros)?;
    set_option(fd, libc::SOL_SOCKET, SO_BUSY_POLL_BUDGET, &budget)
}

/// How many packets one system call sends in copy mode; the kernel takes from 32 to the size of the tx ring.
pub(super) fn set_tx_budget(fd: BorrowedFd<'_>, packets: u32) -> Result<(), Errno> {
    set_option(fd, libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &packets)
}

/// Makes an interface take in packets for any hardware address, as long as the packet socket `fd` is open.
pub(super) fn join_promiscuous(fd: BorrowedFd<'_>, ifindex: u32) -> Result<(), Errno> {
    /// `struct packet_mreq` (`include/uapi/linux/if_packet.h`)
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct PacketMreq {
        ifindex: i32,
        kind: u16,
        address_len: u16,
        address: [u8; 8],
    }
    let request = PacketMreq { ifindex: ifindex as i32, kind: PACKET_MR_PROMISC, address_len: 0, address: [0; 8] };
    set_option(fd, libc::SOL_PACKET, PACKET_ADD_MEMBERSHIP, &request)
}

/// The name of an interface's driver (`ETHTOOL_GDRVINFO`).
pub(super) fn ethtool_driver(name: &str) -> Result<String, Errno> {
    /// `struct ethtool_drvinfo` (`include/uapi/linux/ethtool.h`)
    #[repr(C)]
    struct DrvInfo {
        cmd: u32,
        driver: [u8; 32],
        rest: [u8; 160],
    }
    /// `struct ifreq`, with the pointer that this request uses of its union.
    #[repr(C)]
    struct IfReq {
        name: [u8; 16],
        data: *mut DrvInfo,
        rest: [u8; 24 - size_of::<*mut DrvInfo>()],
    }
    const _: () = assert!(size_of::<DrvInfo>() == 196 && size_of::<IfReq>() == 40);

    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let mut info = DrvInfo { cmd: ETHTOOL_GDRVINFO, driver: [0; 32], rest: [0; 160] };
    let mut request = IfReq { name: [0; 16], data: &raw mut info, rest: [0; _] };
    for (to, from) in request.name.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    // SAFETY: the request is a whole `struct ifreq` whose pointer leads to a whole `struct ethtool_drvinfo`; both live through the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) })?;
    Ok(info.driver.iter().take_while(|byte| **byte != 0).map(|byte| char::from(*byte)).collect())
}
