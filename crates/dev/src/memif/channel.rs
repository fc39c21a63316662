//! The socket between the two sides: one message at a time, with a file or without. Nothing here waits.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use super::fault::Fault;
use super::message::{MESSAGE_SIZE, Message};

/// One end of a connected socket.
#[derive(Debug, Clone)]
pub(super) struct Channel(Arc<OwnedFd>);

/// A message and the file that came with it.
pub(super) type Received = (Message, Option<OwnedFd>);

impl Channel {
    /// `socket` does not block.
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self(Arc::new(socket))
    }

    /// What to wait on.
    pub(super) fn socket(&self) -> &Arc<OwnedFd> {
        &self.0
    }

    /// Sends one message.
    pub(super) fn send(&self, message: &Message, file: Option<BorrowedFd<'_>>) -> Result<(), Fault> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let files = file.as_slice();
        if !files.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(files));
        }
        let bytes = message.encode();
        match sendmsg(&*self.0, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(_) => Ok(()), // of such a socket, all or nothing
            Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => Err(Fault::Closed),
            Err(Errno::AGAIN) => Err(Fault::protocol("does not read its messages")),
            Err(errno) => Err(Fault::System(errno)),
        }
    }

    /// The next message, if there is one. Files that came along and are not asked for are closed.
    pub(super) fn receive(&self) -> Result<Option<Received>, Fault> {
        let mut bytes = [0; MESSAGE_SIZE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let got = match recvmsg(&*self.0, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags) {
            Ok(got) => got,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
            Err(Errno::CONNRESET | Errno::NOTCONN) => return Err(Fault::Closed),
            Err(errno) => return Err(Fault::System(errno)),
        };
        let (mut file, mut files) = (None, 0);
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(all) = message {
                for one in all {
                    file = Some(one); // the one before it is closed
                    files += 1;
                }
            }
        }
        if got.bytes == 0 {
            return Err(Fault::Closed);
        }
        if got.bytes != MESSAGE_SIZE || got.flags.contains(ReturnFlags::TRUNC) {
            return Err(Fault::protocol("invalid message size"));
        }
        if files > 1 || got.flags.contains(ReturnFlags::CTRUNC) {
            return Err(Fault::protocol("more than one file with a message"));
        }
        let message = Message::decode(&bytes).map_err(|bad| Fault::protocol(bad.to_string()))?;
        Ok(Some((message, file)))
    }

    /// We have nothing more to say.
    pub(super) fn finish(&self) {
        let _ = rustix::net::shutdown(&*self.0, rustix::net::Shutdown::Write);
    }

    /// Whether the other side has closed its end, which the kernel does for a process only when its memory is gone. The kernel is asked, and not the peer: a message without bytes would
    /// be read as the end, and one that cannot be read says nothing.
    pub(super) fn is_closed_there(&self) -> bool {
        let mut fds = [PollFd::new(&*self.0, PollFlags::RDHUP)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
