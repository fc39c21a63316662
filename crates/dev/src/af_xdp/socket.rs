//! One AF_XDP socket: memory registered, rings mapped, bound to one queue (`net/xdp/xsk.c`, `Documentation/networking/af_xdp.rst`).
//!
//! **Addresses.** The UMEM is the caller's memory from its page 0 on, in chunks of 4096 bytes, aligned mode, with no headroom of its own. A page is posted by its byte
//! offset. The kernel keeps `XDP_PACKET_HEADROOM` (256) bytes free in front of a received packet and reports where the packet really starts: the
//! descriptor of a received packet says `page * 4096 + 256`, unless an XDP program moved the start. So there are 3840 bytes for a packet. Those of an
//! interface with longer frames go on in further chunks (`XDP_USE_SG`); kernels before 6.6 drop them (`rx_dropped`). A packet to send may start anywhere, and must end in its chunk. A completion repeats the address that was sent.
//!
//! **Sharing memory.** Every socket registers the memory for itself. The alternative, one registration that further sockets join with `XDP_SHARED_UMEM`, makes all
//! of them copy or zero-copy sockets as the first one is, ties their lives together, and saves no ring: each (interface, queue) has a fill
//! and a completion ring of its own either way. What it costs: every registration counts against `RLIMIT_MEMLOCK` of users without CAP_IPC_LOCK, and takes 8 bytes of
//! kernel memory per page.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{
    set_xdp_rx_ring_size, set_xdp_tx_ring_size, set_xdp_umem_completion_ring_size, set_xdp_umem_fill_ring_size,
    set_xdp_umem_reg, xdp_mmap_offsets, xdp_options, xdp_statistics,
};
use rustix::net::xdp::{
    SocketAddrXdp, SocketAddrXdpFlags, XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING, XDP_UMEM_PGOFF_COMPLETION_RING,
    XDP_UMEM_PGOFF_FILL_RING, XdpOptionsFlags, XdpStatistics, XdpUmemReg, XdpUmemRegFlags,
};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with};

use super::link::Link;
use super::rings::{Consumer, Desc, Producer, RingMemory};
use super::{AfXdpParams, BusyPoll, ZeroCopy, caps, error, sys};
use crate::{DevError, holders};

/// Bytes per chunk of the UMEM: one page of order 0.
pub(super) const CHUNK: usize = 4096;
/// Bytes that the kernel leaves free in front of a received packet (`XDP_PACKET_HEADROOM`, `include/uapi/linux/bpf.h`).
pub(super) const KERNEL_HEADROOM: usize = 256;
/// Ethernet header and one VLAN tag: what a frame has beyond the MTU.
const FRAME_OVERHEAD: usize = 14 + 4;
/// `XDP_USE_SG` (`include/uapi/linux/if_xdp.h`, Linux 6.6): packets may go on in further chunks.
const USE_SG: SocketAddrXdpFlags = SocketAddrXdpFlags::from_bits_retain(1 << 4);
/// Closing a socket ends in the background: its queue is free again within this time.
const PATIENCE: Duration = Duration::from_secs(2);

/// Calls that one [`Socket::kick_tx`] makes for packets that the driver drops.
const MOST_REFUSALS: u32 = 64;

/// Memory to register: the address of its first page, and its length in bytes, a multiple of [`CHUNK`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Umem {
    /// Address of the first byte, page aligned.
    pub(super) base: *const u8,
    /// Bytes.
    pub(super) len: usize,
}

/// A bound socket and our ends of its rings.
#[derive(Debug)]
pub(super) struct Socket {
    // The rings come first: their mappings keep the socket alive, and go before it.
    pub(super) fill: Producer<u64>,
    pub(super) rx: Consumer<Desc>,
    pub(super) tx: Producer<Desc>,
    pub(super) completion: Consumer<u64>,
    fd: OwnedFd,
    zero_copy: bool,
    fragments: bool,
    /// Packets that the kernel sends per system call in copy mode.
    tx_budget: u32,
    tx_refused: u64,
}

impl Socket {
    /// Makes a socket over `umem` and binds it to `params.queue` of `link`. `force_copy`: ask for a copy whatever `params.zero_copy` says.
    ///
    /// The kernel writes only to chunks that are posted through the rings, so the caller's memory stays the caller's until then.
    ///
    /// # Errors
    /// Missing capabilities, a limit on locked memory, a queue that somebody else has (after 2 s of trying), a driver that cannot do what is required.
    pub(super) fn open(umem: Umem, link: &Link, params: &AfXdpParams, force_copy: bool) -> Result<Self, DevError> {
        let fd = new_socket(&params.iface)?;
        register(&fd, umem, params)?;
        let failed = |what: &str, errno: Errno| error::device(format!("{}: {what}: {errno}", params.iface));

        set_xdp_umem_fill_ring_size(&fd, params.fill_ring).map_err(|errno| failed("the fill ring", errno))?;
        set_xdp_umem_completion_ring_size(&fd, params.completion_ring)
            .map_err(|errno| failed("the completion ring", errno))?;
        set_xdp_rx_ring_size(&fd, params.rx_ring).map_err(|errno| failed("the rx ring", errno))?;
        set_xdp_tx_ring_size(&fd, params.tx_ring).map_err(|errno| failed("the tx ring", errno))?;
        let offsets = xdp_mmap_offsets(&fd).map_err(|errno| failed("the offsets of the rings", errno))?;
        let mapping = |errno| failed("mapping the rings", errno);
        let fill =
            RingMemory::map(fd.as_fd(), XDP_UMEM_PGOFF_FILL_RING, &offsets.fr, params.fill_ring).map_err(mapping)?;
        let completion =
            RingMemory::map(fd.as_fd(), XDP_UMEM_PGOFF_COMPLETION_RING, &offsets.cr, params.completion_ring)
                .map_err(mapping)?;
        let rx = RingMemory::map(fd.as_fd(), XDP_PGOFF_RX_RING, &offsets.rx, params.rx_ring).map_err(mapping)?;
        let tx = RingMemory::map(fd.as_fd(), XDP_PGOFF_TX_RING, &offsets.tx, params.tx_ring).map_err(mapping)?;

        // Kernels before 6.18 do not have the option, and send 32 packets per call.
        let tx_budget = if sys::set_tx_budget(fd.as_fd(), params.tx_ring).is_ok() { params.tx_ring } else { 32 };
        if let Some(BusyPoll { micros, budget }) = params.busy_poll {
            sys::set_busy_poll(fd.as_fd(), micros, budget).map_err(|errno| match errno {
                Errno::PERM => {
                    caps::missing(&format!("{}: busy polling was refused", params.iface), &[caps::NET_ADMIN])
                }
                Errno::NOPROTOOPT => error::device(format!(
                    "{}: this kernel has no preferred busy polling (Linux 5.11): leave busy polling out",
                    params.iface
                )),
                errno => failed("busy polling", errno),
            })?;
        }
        let fragments = bind_queue(&fd, link, params, force_copy)?;
        let zero_copy = xdp_options(&fd).is_ok_and(|flags| flags.contains(XdpOptionsFlags::XDP_OPTIONS_ZEROCOPY));
        Ok(Self {
            fill: Producer::new(fill),
            rx: Consumer::new(rx),
            tx: Producer::new(tx),
            completion: Consumer::new(completion),
            fd,
            zero_copy,
            fragments,
            tx_budget,
            tx_refused: 0,
        })
    }

    /// No socket before this one has the queue any more: see [`Probe`].
    pub(super) fn proof(&self) -> QueueIsFree {
        QueueIsFree(())
    }

    /// True when packets are neither copied in nor out.
    #[must_use]
    pub(super) fn zero_copy(&self) -> bool {
        self.zero_copy
    }

    /// True when packets may have several parts: the interface's frames do not fit into a chunk, and kernel and driver can do it.
    pub(super) fn fragments(&self) -> bool {
        self.fragments
    }

    /// The kernel's six counters (`XDP_STATISTICS`).
    ///
    /// # Errors
    /// What `getsockopt` says.
    pub(super) fn statistics(&self) -> Result<XdpStatistics, Errno> {
        xdp_statistics(&self.fd)
    }

    /// Our end of the fill ring: addresses of chunks for packets to come.
    pub(super) fn fill(&mut self) -> &mut Producer<u64> {
        &mut self.fill
    }

    /// Our end of the ring of received packets.
    pub(super) fn rx(&mut self) -> &mut Consumer<Desc> {
        &mut self.rx
    }

    /// Our end of the ring of packets to send.
    pub(super) fn tx(&mut self) -> &mut Producer<Desc> {
        &mut self.tx
    }

    /// Our end of the ring of addresses that were sent.
    pub(super) fn completion(&mut self) -> &mut Consumer<u64> {
        &mut self.completion
    }

    /// Makes the kernel look at the tx ring. Answers whether packets are left there for another call, because the driver was busy or took all that one call may.
    ///
    /// # Errors
    /// `ENETDOWN` and `ENXIO`: the interface is down, or gone.
    pub(super) fn kick_tx(&mut self) -> Result<bool, Errno> {
        // In copy mode one call sends a limited number of packets; the calls are limited too, so that a slow driver cannot hold the caller.
        let mut calls = self.tx.pending().div_ceil(self.tx_budget).max(1);
        let mut refusals = MOST_REFUSALS;
        while calls > 0 {
            match send(&self.fd, &[], SendFlags::DONTWAIT) {
                Ok(_) | Err(Errno::AGAIN) => calls -= 1,
                // In copy mode: the driver dropped a packet, and the call ended with it. The rest is sent by further ones.
                Err(Errno::BUSY) if !self.zero_copy && refusals > 0 => {
                    self.tx_refused += 1;
                    refusals -= 1;
                }
                Err(Errno::BUSY | Errno::NOBUFS | Errno::INTR) => return Ok(true),
                Err(errno) => return Err(errno),
            }
            if self.tx.pending() == 0 {
                return Ok(false);
            }
        }
        Ok(self.tx.pending() > 0)
    }

    /// Packets that the driver dropped when it was given them (copy mode).
    pub(super) fn tx_refused(&self) -> u64 {
        self.tx_refused
    }

    /// Makes the kernel look at the fill ring; in busy polling, makes it receive. Also the way to ask whether the socket's interface is still there.
    ///
    /// # Errors
    /// `ENETDOWN` and `ENXIO`: the interface is down, or gone.
    pub(super) fn kick_rx(&self) -> Result<(), Errno> {
        match recv(&self.fd, &mut [0u8; 0][..], RecvFlags::DONTWAIT) {
            Ok(_) | Err(Errno::AGAIN | Errno::BUSY | Errno::NOBUFS | Errno::INTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// How often the kernel's indices made no sense, in all four rings.
    pub(super) fn corrupt(&self) -> u64 {
        self.fill.corrupt() + self.rx.corrupt() + self.tx.corrupt() + self.completion.corrupt()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn new_socket(iface: &str) -> Result<OwnedFd, DevError> {
    socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None).map_err(|errno| match errno {
        Errno::PERM | Errno::ACCESS => {
            caps::missing(&format!("{iface}: an AF_XDP socket was refused"), &[caps::NET_RAW])
        }
        Errno::AFNOSUPPORT => error::device(format!(
            "{iface}: this kernel has no AF_XDP: it needs CONFIG_XDP_SOCKETS (Linux 5.4 or newer)"
        )),
        errno => error::device(format!("{iface}: an AF_XDP socket: {errno}")),
    })
}

fn register(fd: &OwnedFd, umem: Umem, params: &AfXdpParams) -> Result<(), DevError> {
    let registration = XdpUmemReg {
        addr: umem.base as u64,
        len: umem.len as u64,
        chunk_size: CHUNK as u32,
        headroom: 0,
        flags: XdpUmemRegFlags::empty(),
        tx_metadata_len: 0,
    };
    let iface = &params.iface;
    set_xdp_umem_reg(fd, registration).map_err(|errno| match errno {
        Errno::NOBUFS if !caps::has(caps::IPC_LOCK) => error::permission(format!(
            "{iface}: registering {} MiB goes beyond the limit on locked memory: raise it (`ulimit -l unlimited`), use fewer pages, or give CAP_IPC_LOCK: `{}`",
            umem.len >> 20,
            caps::setcap()
        )),
        errno => error::device(format!(
            "{iface}: registering {} MiB of packet memory at {:p}: {errno}",
            umem.len >> 20,
            umem.base
        )),
    })
}

/// The longest frame of an interface, in bytes without FCS.
pub(super) fn longest_frame(link: &Link) -> usize {
    link.mtu as usize + FRAME_OVERHEAD
}

/// Binds the socket; tells whether packets may have several parts.
fn bind_queue(fd: &OwnedFd, link: &Link, params: &AfXdpParams, force_copy: bool) -> Result<bool, DevError> {
    let mut flags = SocketAddrXdpFlags::empty();
    flags.set(SocketAddrXdpFlags::XDP_USE_NEED_WAKEUP, params.need_wakeup);
    flags |= match params.zero_copy {
        _ if force_copy => SocketAddrXdpFlags::XDP_COPY,
        ZeroCopy::Ask => SocketAddrXdpFlags::empty(),
        ZeroCopy::Require => SocketAddrXdpFlags::XDP_ZEROCOPY,
        ZeroCopy::Never => SocketAddrXdpFlags::XDP_COPY,
    };
    // Only where frames need it: not every driver can do both that and zero copy.
    if longest_frame(link) > CHUNK - KERNEL_HEADROOM {
        match bind_with(fd, link, params, flags | USE_SG) {
            Err(Errno::INVAL | Errno::OPNOTSUPP) => {}
            result => return result.map(|()| true).map_err(|errno| bind_error(link, params, errno)),
        }
    }
    bind_with(fd, link, params, flags).map(|()| false).map_err(|errno| bind_error(link, params, errno))
}

/// Binds the socket, waiting for one that is being closed.
fn bind_with(fd: &OwnedFd, link: &Link, params: &AfXdpParams, flags: SocketAddrXdpFlags) -> Result<(), Errno> {
    let address = SocketAddrXdp::new(flags, link.index, params.queue);
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(1);
    loop {
        match bind(fd, &address) {
            Ok(()) => return Ok(()),
            Err(Errno::BUSY) if Instant::now() < deadline => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(50));
            }
            Err(errno) => return Err(errno),
        }
    }
}

fn bind_error(link: &Link, params: &AfXdpParams, errno: Errno) -> DevError {
    let (iface, queue) = (&params.iface, params.queue);
    match errno {
        Errno::BUSY => error::device(format!("{iface}: queue {queue} is taken: {}", queue_holder(link))),
        Errno::INVAL if queue >= link.rx_queues => no_such_queue(link, queue),
        Errno::OPNOTSUPP | Errno::INVAL if params.zero_copy == ZeroCopy::Require => error::device(format!(
            "{iface}: queue {queue} cannot do zero copy (driver {}): without --require-zerocopy and zerocopy=require packets are copied",
            link.driver()
        )),
        Errno::NETDOWN => error::device(format!("{iface} is down: `ip link set {iface} up`")),
        Errno::NODEV => error::device(format!("{iface}: the interface is gone")),
        Errno::PERM | Errno::ACCESS => {
            caps::missing(&format!("{iface}: binding queue {queue} was refused"), &[caps::NET_RAW, caps::NET_ADMIN])
        }
        errno => error::device(format!("{iface}: binding queue {queue}: {errno}")),
    }
}

/// The error for a queue that the interface does not have.
pub(super) fn no_such_queue(link: &Link, queue: u32) -> DevError {
    let last = link.rx_queues.saturating_sub(1);
    let range = if last == 0 { "only queue 0".to_owned() } else { format!("queues 0 to {last}") };
    error::config(format!("{} has {range}: there is no queue {queue}", link.name))
}

fn queue_holder(link: &Link) -> String {
    let sockets = holders::of_sockets(1); // the one that was to be bound
    let program = Link::by_index(link.index).ok().and_then(|link| link.xdp);
    match (sockets.as_slice(), program) {
        ([], None) => "by a process that cannot be seen from here".to_owned(),
        ([], Some(program)) => format!("its interface has {}", program.describe()),
        (sockets, None) => format!("AF_XDP sockets are open in {}", sockets.join(", ")),
        (sockets, Some(program)) => {
            format!("AF_XDP sockets are open in {}; the interface has {}", sockets.join(", "), program.describe())
        }
    }
}

/// Says that no former socket has the queue that it was asked for, so that nobody writes to the memory of one that was closed. Only who has bound a socket there makes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueIsFree(());

#[cfg(test)]
impl QueueIsFree {
    /// For tests that play the kernel.
    pub(super) fn as_the_kernel() -> Self {
        Self(())
    }
}

/// Asks the kernel whether a queue is free of sockets.
///
/// Closing is the kernel's to finish: the last reference to a socket may be held elsewhere (a copied descriptor, a child that is about to `exec`), and the
/// driver lets go in the background. The kernel gives a queue to one socket at a time (`xp_assign_dev`, `net/xdp/xsk_buff_pool.c`), so a socket that can be bound
/// there proves that the former is gone. It is made before it is needed, while the process surely has the capabilities.
#[derive(Debug)]
pub(super) struct Probe {
    fd: OwnedFd,
    address: SocketAddrXdp,
    /// Registered as the probe's memory; nothing of it is ever posted.
    _scratch: Box<Scratch>,
}

#[derive(Debug)]
#[repr(align(4096))]
struct Scratch(#[expect(dead_code, reason = "the kernel wants memory; nobody reads it")] [u8; CHUNK]);

impl Probe {
    /// A probe for `queue` of the interface `ifindex`.
    pub(super) fn new(iface: &str, ifindex: u32, queue: u32) -> Result<Self, DevError> {
        let scratch = Box::new(Scratch([0; CHUNK]));
        let fd = new_socket(iface)?;
        let registration = XdpUmemReg {
            addr: std::ptr::from_ref(&*scratch).addr() as u64,
            len: CHUNK as u64,
            chunk_size: CHUNK as u32,
            headroom: 0,
            flags: XdpUmemRegFlags::empty(),
            tx_metadata_len: 0,
        };
        let made = set_xdp_umem_reg(&fd, registration)
            .and_then(|()| set_xdp_umem_fill_ring_size(&fd, 1))
            .and_then(|()| set_xdp_umem_completion_ring_size(&fd, 1))
            .and_then(|()| set_xdp_tx_ring_size(&fd, 1));
        made.map_err(|errno| error::device(format!("{iface}: a second AF_XDP socket: {errno}")))?;
        let address = SocketAddrXdp::new(SocketAddrXdpFlags::XDP_COPY, ifindex, queue);
        Ok(Self { fd, address, _scratch: scratch })
    }

    /// Binds the probe to the queue; when that works, nobody else has it, and nobody else will before the probe is dropped.
    ///
    /// # Errors
    /// `EBUSY` while a socket has the queue; anything else says nothing about it.
    pub(super) fn ask(&self) -> Result<QueueIsFree, Errno> {
        match bind(&self.fd, &self.address) {
            // An interface that is gone took its queues, and everybody who had one, along.
            Ok(()) | Err(Errno::NODEV) => Ok(QueueIsFree(())),
            Err(errno) => Err(errno),
        }
    }

    /// Asks again and again for at most `patience`.
    pub(super) fn wait(&self, patience: Duration) -> Result<QueueIsFree, Errno> {
        let deadline = Instant::now() + patience;
        let mut pause = Duration::from_millis(1);
        loop {
            match self.ask() {
                Err(_) if Instant::now() < deadline => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(20));
                }
                answer => return answer,
            }
        }
    }
}

/// Holds an interface in promiscuous mode while it lives.
#[derive(Debug)]
pub(super) struct Promiscuous {
    _socket: OwnedFd,
}

impl Promiscuous {
    pub(super) fn join(link: &Link) -> Result<Self, DevError> {
        // Protocol 0: the socket itself receives nothing.
        let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None);
        let joined = socket.and_then(|socket| {
            sys::join_promiscuous(socket.as_fd(), link.index)?;
            Ok(Self { _socket: socket })
        });
        joined.map_err(|errno| match errno {
            Errno::PERM | Errno::ACCESS => {
                caps::missing(&format!("{}: promiscuous mode was refused", link.name), &[caps::NET_RAW])
            }
            errno => error::device(format!("{}: promiscuous mode: {errno}", link.name)),
        })
    }
}
