#![expect(unsafe_code, reason = "bpf(2) takes pointers in a union")]
//! The commands of `bpf(2)` that steering needs, each with the part of `union bpf_attr` (`include/uapi/linux/bpf.h`) that it reads.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

const MAP_CREATE: u32 = 0;
const MAP_UPDATE_ELEM: u32 = 2;
const MAP_DELETE_ELEM: u32 = 3;
const PROG_LOAD: u32 = 5;
#[cfg(test)]
const PROG_TEST_RUN: u32 = 10;
const PROG_GET_FD_BY_ID: u32 = 13;
const OBJ_GET_INFO_BY_FD: u32 = 15;
const BTF_LOAD: u32 = 18;
const LINK_CREATE: u32 = 28;
const LINK_GET_FD_BY_ID: u32 = 30;
const LINK_GET_NEXT_ID: u32 = 31;
const LINK_DETACH: u32 = 34;

const MAP_TYPE_XSKMAP: u32 = 17;
const PROG_TYPE_XDP: u32 = 6;
/// `BPF_F_XDP_HAS_FRAGS`.
const XDP_HAS_FRAGS: u32 = 1 << 5;
const ATTACH_TYPE_XDP: u32 = 37;
const LINK_TYPE_XDP: u32 = 6;

/// `XDP_FLAGS_SKB_MODE`: generic XDP, in the network stack.
pub(super) const SKB_MODE: u32 = 1 << 1;
/// `XDP_FLAGS_DRV_MODE`: native XDP, in the driver.
pub(super) const DRV_MODE: u32 = 1 << 2;

/// The verifier gives up with EAGAIN where its thread has something else to do (`signal_pending` in `do_check`). Signals wait, see below; for what else there is, it is tried again so often.
const TRIES: u32 = 1000;

/// The signals of this thread wait as long as this lives: with one every few microseconds no program would ever be verified.
struct SignalsWait(libc::sigset_t);

impl SignalsWait {
    fn begin() -> Self {
        // SAFETY: both sets are plain data of this frame, for which all zeros is a value; the calls write them, and change the mask of this thread only.
        unsafe {
            let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = (std::mem::zeroed(), std::mem::zeroed());
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            Self(before)
        }
    }
}

impl Drop for SignalsWait {
    fn drop(&mut self) {
        // SAFETY: the mask that this thread had before.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut()) };
    }
}

/// # Safety
/// `attr` is the attribute of the command `cmd`, and every pointer in it leads to memory of the length that goes with it, writable where the command writes.
unsafe fn bpf<T>(cmd: u32, attr: &mut T) -> Result<i32, Errno> {
    let _signals = SignalsWait::begin();
    let mut tries = TRIES;
    loop {
        // SAFETY: the kernel reads and writes at most `size_of::<T>()` bytes at `attr`; the rest is the caller's promise.
        let result = unsafe { libc::syscall(libc::SYS_bpf, cmd, std::ptr::from_mut(attr), size_of::<T>() as u32) };
        if result >= 0 {
            return Ok(result as i32);
        }
        match last_errno() {
            Errno::AGAIN | Errno::INTR if tries > 0 => tries -= 1,
            errno => return Err(errno),
        }
    }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// # Safety
/// `fd` was just returned by a command that makes a file descriptor.
unsafe fn owned(fd: i32) -> OwnedFd {
    // SAFETY: a fresh descriptor that nobody else has; bpf(2) sets close-on-exec on all it makes.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn name(text: &str) -> [u8; 16] {
    let mut name = [0; 16];
    for (to, from) in name.iter_mut().take(15).zip(text.bytes()) {
        *to = from;
    }
    name
}

/// Makes an `XSKMAP`: socket by queue number.
pub(super) fn create_xskmap(max_entries: u32) -> Result<OwnedFd, Errno> {
    #[repr(C)]
    struct Attr {
        map_type: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
        map_flags: u32,
        inner_map_fd: u32,
        numa_node: u32,
        map_name: [u8; 16],
    }
    let mut attr = Attr {
        map_type: MAP_TYPE_XSKMAP,
        key_size: 4,
        value_size: 4,
        max_entries,
        map_flags: 0,
        inner_map_fd: 0,
        numa_node: 0,
        map_name: name("ww_xsks"),
    };
    // SAFETY: the attribute of this command, without pointers.
    unsafe { bpf(MAP_CREATE, &mut attr).map(|fd| owned(fd)) }
}

#[repr(C)]
struct ElemAttr {
    map_fd: u32,
    _pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Puts a socket into an `XSKMAP` under its queue number.
pub(super) fn update_xskmap(map: BorrowedFd<'_>, queue: u32, socket: BorrowedFd<'_>) -> Result<(), Errno> {
    let value = socket.as_raw_fd() as u32;
    let mut attr = ElemAttr {
        map_fd: map.as_raw_fd() as u32,
        _pad: 0,
        key: std::ptr::from_ref(&queue) as u64,
        value: std::ptr::from_ref(&value) as u64,
        flags: 0,
    };
    // SAFETY: key and value point to 4 bytes each, the sizes that the map was made with; the command only reads them.
    unsafe { bpf(MAP_UPDATE_ELEM, &mut attr).map(|_| ()) }
}

/// Takes the socket of a queue out of an `XSKMAP`.
pub(super) fn delete_xskmap(map: BorrowedFd<'_>, queue: u32) -> Result<(), Errno> {
    let mut attr = ElemAttr {
        map_fd: map.as_raw_fd() as u32,
        _pad: 0,
        key: std::ptr::from_ref(&queue) as u64,
        value: 0,
        flags: 0,
    };
    // SAFETY: the key points to 4 bytes, the key size of the map; the command only reads it.
    unsafe { bpf(MAP_DELETE_ELEM, &mut attr).map(|_| ()) }
}

/// Gives the kernel the types of a program (`Documentation/bpf/btf.rst`).
pub(super) fn load_btf(btf: &[u8]) -> Result<OwnedFd, Errno> {
    #[repr(C)]
    struct Attr {
        btf: u64,
        log: u64,
        size: u32,
        log_size: u32,
        log_level: u32,
    }
    let mut attr = Attr { btf: btf.as_ptr() as u64, log: 0, size: btf.len() as u32, log_size: 0, log_level: 0 };
    // SAFETY: the types are passed with their length and only read; there is no log.
    unsafe { bpf(BTF_LOAD, &mut attr).map(|fd| owned(fd)) }
}

/// Loads an XDP program. A `log` that is not empty is filled with the verifier's words. `types`, with the number of the program's function among them, are left out where the
/// kernel does not take them.
///
/// It takes packets with fragments, of which it sees the first part, where the kernel has such (Linux 5.18).
pub(super) fn load_xdp(
    insns: &[u64],
    prog_name: &str,
    types: Option<(BorrowedFd<'_>, u32)>,
    license: &CStr,
    log: &mut [u8],
) -> Result<OwnedFd, Errno> {
    let mut load = |types, flags| load_with(insns, prog_name, types, license, log, flags);
    match load(types, XDP_HAS_FRAGS) {
        Err(Errno::INVAL) if types.is_some() => load(None, XDP_HAS_FRAGS).or_else(|_| load(None, 0)),
        Err(Errno::INVAL) => load(None, 0),
        result => result,
    }
}

fn load_with(
    insns: &[u64],
    prog_name: &str,
    types: Option<(BorrowedFd<'_>, u32)>,
    license: &CStr,
    log: &mut [u8],
    prog_flags: u32,
) -> Result<OwnedFd, Errno> {
    /// `struct bpf_func_info`: a function begins at an instruction.
    #[repr(C)]
    struct FuncInfo {
        insn_off: u32,
        type_id: u32,
    }
    #[repr(C)]
    struct Attr {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
        kern_version: u32,
        prog_flags: u32,
        prog_name: [u8; 16],
        prog_ifindex: u32,
        expected_attach_type: u32,
        prog_btf_fd: u32,
        func_info_rec_size: u32,
        func_info: u64,
        func_info_cnt: u32,
    }
    let function = FuncInfo { insn_off: 0, type_id: types.map_or(0, |(_, function)| function) };
    let mut attr = Attr {
        prog_type: PROG_TYPE_XDP,
        insn_cnt: insns.len() as u32,
        insns: insns.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: u32::from(!log.is_empty()),
        log_size: log.len() as u32,
        log_buf: if log.is_empty() { 0 } else { log.as_mut_ptr() as u64 },
        kern_version: 0,
        prog_flags,
        prog_name: name(prog_name),
        prog_ifindex: 0,
        expected_attach_type: ATTACH_TYPE_XDP,
        prog_btf_fd: types.map_or(0, |(btf, _)| btf.as_raw_fd() as u32),
        func_info_rec_size: if types.is_some() { size_of::<FuncInfo>() as u32 } else { 0 },
        func_info: if types.is_some() { std::ptr::from_ref(&function) as u64 } else { 0 },
        func_info_cnt: types.is_some().into(),
    };
    // SAFETY: instructions, log and the one function are passed with their lengths, the licence ends with a zero byte; only the log is written to.
    unsafe { bpf(PROG_LOAD, &mut attr).map(|fd| owned(fd)) }
}

/// Attaches an XDP program to an interface; it is attached as long as the returned descriptor, or a copy of it, is open.
pub(super) fn link_xdp(prog: BorrowedFd<'_>, ifindex: u32, flags: u32) -> Result<OwnedFd, Errno> {
    #[repr(C)]
    struct Attr {
        prog_fd: u32,
        target_ifindex: u32,
        attach_type: u32,
        flags: u32,
    }
    let mut attr =
        Attr { prog_fd: prog.as_raw_fd() as u32, target_ifindex: ifindex, attach_type: ATTACH_TYPE_XDP, flags };
    // SAFETY: the attribute of this command, without pointers.
    unsafe { bpf(LINK_CREATE, &mut attr).map(|fd| owned(fd)) }
}

/// Detaches the program of a link now, also when copies of the link's descriptor are open (in a child that is about to `exec`).
pub(super) fn detach_link(link: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut link_fd = link.as_raw_fd() as u32;
    // SAFETY: the attribute of this command is the descriptor alone.
    unsafe { bpf(LINK_DETACH, &mut link_fd).map(|_| ()) }
}

#[repr(C)]
struct IdAttr {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

#[repr(C)]
struct InfoAttr {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The first words of what the kernel tells of a program or a link. What would be read through pointers is left out.
fn info<const WORDS: usize>(object: &impl AsRawFd) -> Result<[u32; WORDS], Errno> {
    let mut info = [0u32; WORDS];
    let mut attr = InfoAttr {
        bpf_fd: object.as_raw_fd() as u32,
        info_len: size_of_val(&info) as u32,
        info: info.as_mut_ptr() as u64,
    };
    // SAFETY: `info` is as long as `info_len` says; its array lengths and pointers are 0, so the kernel follows none.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr)? };
    Ok(info)
}

/// The link that holds a program on an interface, if one does; needs CAP_SYS_ADMIN. The same program may be on other interfaces, by links of their own.
pub(super) fn xdp_link_of(prog_id: u32, ifindex: u32) -> Result<Option<u32>, Errno> {
    let mut ids = IdAttr { id: 0, next_id: 0, open_flags: 0 };
    loop {
        // SAFETY: the attribute of this command, without pointers.
        match unsafe { bpf(LINK_GET_NEXT_ID, &mut ids) } {
            Ok(_) => ids.id = ids.next_id,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno),
        }
        let mut one = IdAttr { id: ids.id, next_id: 0, open_flags: 0 };
        // SAFETY: as above.
        let link = match unsafe { bpf(LINK_GET_FD_BY_ID, &mut one).map(|fd| owned(fd)) } {
            Ok(link) => link,
            Err(Errno::NOENT) => continue, // it has gone meanwhile
            Err(errno) => return Err(errno),
        };
        // `struct bpf_link_info` begins with type, id of the link, id of its program, and behind a gap, for this kind, the interface; other kinds of links follow pointers in what comes then, which is zero here.
        if let Ok([LINK_TYPE_XDP, id, prog, _, index, ..]) = info::<16>(&link)
            && (prog, index) == (prog_id, ifindex)
        {
            return Ok(Some(id));
        }
    }
}

/// The name of a loaded program; needs CAP_SYS_ADMIN.
pub(super) fn program_name(id: u32) -> Result<String, Errno> {
    /// Where `name` lies in `struct bpf_prog_info`, and how long it is.
    const NAME: std::ops::Range<usize> = 64..80;

    // SAFETY: the attribute of this command, without pointers.
    let prog = unsafe { bpf(PROG_GET_FD_BY_ID, &mut IdAttr { id, next_id: 0, open_flags: 0 }).map(|fd| owned(fd))? };
    let bytes: Vec<u8> = info::<20>(&prog)?.iter().flat_map(|word| word.to_ne_bytes()).collect();
    Ok(bytes[NAME].iter().take_while(|byte| **byte != 0).map(|byte| char::from(*byte)).collect())
}

/// What the kernel has of the types of a program: their number, and the functions that they tell of.
#[cfg(test)]
pub(super) fn types_of(prog: BorrowedFd<'_>) -> Result<(u32, u32), Errno> {
    /// Where `btf_id` and `nr_func_info` lie in `struct bpf_prog_info`, in words.
    const BTF_ID: usize = 128 / 4;
    const FUNCTIONS: usize = 144 / 4;
    let info = info::<58>(&prog)?;
    Ok((info[BTF_ID], info[FUNCTIONS]))
}

/// Runs an XDP program once over a packet and answers its verdict.
#[cfg(test)]
pub(super) fn test_run(prog: BorrowedFd<'_>, packet: &[u8]) -> Result<u32, Errno> {
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
    }
    let mut attr = Attr {
        prog_fd: prog.as_raw_fd() as u32,
        retval: 0,
        data_size_in: packet.len() as u32,
        data_size_out: 0,
        data_in: packet.as_ptr() as u64,
        data_out: 0,
        repeat: 1,
        duration: 0,
    };
    // SAFETY: the packet is passed with its length and only read; there is no output buffer.
    unsafe { bpf(PROG_TEST_RUN, &mut attr)? };
    Ok(attr.retval)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::SignalsWait;

    static HANDLED: AtomicBool = AtomicBool::new(false);

    extern "C" fn handle(_: libc::c_int) {
        HANDLED.store(true, Ordering::Relaxed);
    }

    #[test]
    fn a_signal_comes_when_the_kernel_has_answered_and_no_sooner() {
        // SAFETY: a handler that writes an atomic, which a handler may do, of a signal that nothing else here uses.
        unsafe { libc::signal(libc::SIGURG, handle as extern "C" fn(libc::c_int) as libc::sighandler_t) };
        let signals = SignalsWait::begin();
        // SAFETY: sends this thread a signal that has a handler.
        unsafe { libc::raise(libc::SIGURG) };
        assert!(!HANDLED.load(Ordering::Relaxed));
        drop(signals);
        assert!(HANDLED.load(Ordering::Relaxed), "and it is not lost");
    }
}
