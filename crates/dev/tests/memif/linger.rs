//! A file whose close waits, until somebody far away has read what is in it.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use crate::support::PATIENCE;

/// A socket that was filled to the brim and lingers: whoever closes its last copy waits for as long as this lives.
pub(crate) struct Lingering {
    pub(crate) file: Option<OwnedFd>,
    far: TcpStream,
}

impl Lingering {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut near = TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
        let (far, _) = listener.accept().expect("accepted");
        near.set_nonblocking(true).expect("it does not wait for its writer");
        let error = loop {
            if let Err(error) = near.write(&[0; 1 << 16]) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "full");
        rustix::net::sockopt::set_socket_linger(&near, Some(PATIENCE * 10)).expect("it lingers");
        Self { file: Some(near.into()), far }
    }

    pub(crate) fn file(&self) -> &OwnedFd {
        self.file.as_ref().expect("it is ours still")
    }

    /// From now on only others have it. (This closes a copy, but not the last one.)
    pub(crate) fn leave(&mut self) {
        self.file = None;
    }

    /// Reads what is in it: all, if it was closed. Where nobody has closed it this fails.
    pub(crate) fn release(mut self) {
        assert!(self.file.is_none());
        self.far.set_read_timeout(Some(PATIENCE)).expect("patience");
        let mut bytes = vec![0; 1 << 16];
        while self.far.read(&mut bytes).expect("its last copy was closed") > 0 {}
    }
}
