//! What a TCP socket says of the other side: a structure that rustix does not have.

#![expect(unsafe_code, reason = "getsockopt fills in a C structure")]

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// What a socket tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Bytes that the other side has acknowledged since the socket was made; a SYN and a FIN count as one each.
    pub(super) bytes: u64,
    /// The connection is over: nothing more will be acknowledged.
    pub(super) closed: bool,
}

/// `struct tcp_info` of `linux/tcp.h` up to `tcpi_bytes_acked`, which Linux has since 4.1; later fields are cut off.
const WORDS: usize = 16;
const BYTES_ACKED: usize = 15;
/// `TCP_CLOSE` of the kernel's states, which are in the first byte.
const CLOSE: u8 = 7;

/// How many bytes of what was sent by `socket` are acknowledged.
pub(super) fn acknowledged(socket: BorrowedFd<'_>) -> Result<Told, Errno> {
    let mut info = [0u64; WORDS];
    let mut len = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes, which `info` has, of plain numbers.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut len)
    };
    if result != 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
    }
    let [state, ..] = info[0].to_ne_bytes();
    Ok(Told { bytes: info[BYTES_ACKED], closed: state == CLOSE })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_socket_tells_what_has_arrived_and_that_it_is_over() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut other, _) = listener.accept().unwrap();
        let before = acknowledged(one.as_fd()).unwrap();
        assert!(!before.closed);
        one.write_all(&[7; 1000]).unwrap();
        one.shutdown(Shutdown::Write).unwrap();
        assert_eq!(other.read_to_end(&mut Vec::new()).unwrap(), 1000);
        drop(other);
        assert_eq!(one.read(&mut [0]).unwrap(), 0);
        while !acknowledged(one.as_fd()).unwrap().closed {
            std::thread::yield_now();
        }
        assert_eq!(acknowledged(one.as_fd()).unwrap().bytes - before.bytes, 1001, "the end counts as one");
    }
}
