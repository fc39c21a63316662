#![expect(unsafe_code, reason = "bpf(2) takes pointers in a union; unshare(2)")]
//! The commands of `bpf(2)` that live frames need, each with the part of `union bpf_attr` (`include/uapi/linux/bpf.h`) that it reads.

use rustix::io::Errno;
use rustix::thread::UnshareFlags;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const MAP_CREATE: u32 = 0;
const MAP_UPDATE_ELEM: u32 = 2;
const PROG_LOAD: u32 = 5;
const PROG_TEST_RUN: u32 = 10;
const LINK_CREATE: u32 = 28;

const MAP_TYPE_DEVMAP: u32 = 14;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_TYPE_XDP: u32 = 37;
/// `XDP_FLAGS_DRV_MODE`: in the driver.
const DRV_MODE: u32 = 1 << 2;
/// `BPF_F_TEST_XDP_LIVE_FRAMES`: packets go where the program says, in pages of the kernel's page_pool.
const LIVE_FRAMES: u32 = 1 << 1;

/// # Safety
/// `attr` is the attribute of the command `cmd`, and every pointer in it leads to memory of the length that goes with it, which the command only reads.
unsafe fn bpf<T>(cmd: u32, attr: &mut T) -> Result<i32, Errno> {
    // SAFETY: the kernel reads and writes at most `size_of::<T>()` bytes at `attr`; the rest is the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, cmd, std::ptr::from_mut(attr), size_of::<T>() as u32) };
    if result < 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
    }
    Ok(result as i32)
}

/// # Safety
/// `fd` was just returned by a command that makes a file descriptor.
unsafe fn owned(fd: i32) -> OwnedFd {
    // SAFETY: a fresh descriptor that nobody else has; bpf(2) sets close-on-exec on all it makes.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// A `DEVMAP` with one place: the interface `ifindex`.
pub(crate) fn devmap(ifindex: u32) -> Result<OwnedFd, Errno> {
    #[repr(C)]
    struct Create {
        map_type: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
    }
    #[repr(C)]
    struct Update {
        map_fd: u32,
        _pad: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    let mut create = Create { map_type: MAP_TYPE_DEVMAP, key_size: 4, value_size: 4, max_entries: 1 };
    // SAFETY: the attribute of this command, without pointers.
    let map = unsafe { bpf(MAP_CREATE, &mut create).map(|fd| owned(fd))? };
    let key = 0u32;
    let (key, value) = (std::ptr::from_ref(&key) as u64, std::ptr::from_ref(&ifindex) as u64);
    let mut update = Update { map_fd: map.as_raw_fd() as u32, _pad: 0, key, value, flags: 0 };
    // SAFETY: key and value point to 4 bytes each, the sizes that the map was made with.
    unsafe { bpf(MAP_UPDATE_ELEM, &mut update)? };
    Ok(map)
}

/// Loads an XDP program.
pub(crate) fn load(insns: &[u64]) -> Result<OwnedFd, Errno> {
    /// Up to `expected_attach_type`.
    #[repr(C)]
    struct Attr {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log: [u32; 4],
        kern_version: u32,
        prog_flags: u32,
        prog_name: [u8; 16],
        prog_ifindex: u32,
        expected_attach_type: u32,
    }
    let mut attr = Attr {
        prog_type: PROG_TYPE_XDP,
        insn_cnt: insns.len() as u32,
        insns: insns.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
        log: [0; 4],
        kern_version: 0,
        prog_flags: 0,
        prog_name: *b"ww_bench\0\0\0\0\0\0\0\0",
        prog_ifindex: 0,
        expected_attach_type: ATTACH_TYPE_XDP,
    };
    // SAFETY: the instructions are passed with their number, the licence ends with a zero byte, there is no log.
    unsafe { bpf(PROG_LOAD, &mut attr).map(|fd| owned(fd)) }
}

/// Attaches a program to an interface, for as long as the returned descriptor is open.
pub(crate) fn attach(prog: BorrowedFd<'_>, ifindex: u32) -> Result<OwnedFd, Errno> {
    #[repr(C)]
    struct Attr {
        prog_fd: u32,
        target_ifindex: u32,
        attach_type: u32,
        flags: u32,
    }
    let prog_fd = prog.as_raw_fd() as u32;
    let mut attr = Attr { prog_fd, target_ifindex: ifindex, attach_type: ATTACH_TYPE_XDP, flags: DRV_MODE };
    // SAFETY: the attribute of this command, without pointers.
    unsafe { bpf(LINK_CREATE, &mut attr).map(|fd| owned(fd)) }
}

/// Runs a program over `repeat` live frames with the content `packet`, as if they had come from `ifindex`, `batch` at a time.
pub(crate) fn run_live(
    prog: BorrowedFd<'_>,
    packet: &[u8],
    ifindex: u32,
    repeat: u32,
    batch: u32,
) -> Result<(), Errno> {
    /// `struct xdp_md`.
    #[repr(C)]
    struct Context {
        data: u32,
        data_end: u32,
        data_meta: u32,
        ingress_ifindex: u32,
        rx_queue_index: u32,
        egress_ifindex: u32,
    }
    #[repr(C)]
    struct Attr {
        prog_fd: u32,
        retval: u32,
        data_size_in: u32,
        data_size_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        duration: u32,
        ctx_size_in: u32,
        ctx_size_out: u32,
        ctx_in: u64,
        ctx_out: u64,
        flags: u32,
        cpu: u32,
        batch_size: u32,
        _pad: u32,
    }
    let data_end = packet.len() as u32;
    let context =
        Context { data: 0, data_end, data_meta: 0, ingress_ifindex: ifindex, rx_queue_index: 0, egress_ifindex: 0 };
    let mut attr = Attr {
        prog_fd: prog.as_raw_fd() as u32,
        retval: 0,
        data_size_in: data_end,
        data_size_out: 0,
        data_in: packet.as_ptr() as u64,
        data_out: 0,
        repeat,
        duration: 0,
        ctx_size_in: size_of::<Context>() as u32,
        ctx_size_out: 0,
        ctx_in: std::ptr::from_ref(&context) as u64,
        ctx_out: 0,
        flags: LIVE_FRAMES,
        cpu: 0,
        batch_size: batch,
        _pad: 0,
    };
    // SAFETY: packet and context are passed with their lengths; there are no output buffers.
    unsafe { bpf(PROG_TEST_RUN, &mut attr).map(drop) }
}

/// Moves the calling thread into a new network namespace, which goes with its last thread or process.
pub(crate) fn leave_network() -> Result<(), Errno> {
    // SAFETY: file descriptors stay shared, so that none of another thread becomes unusable.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
}
