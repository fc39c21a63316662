//! The socket between the two sides: one message at a time, with a file or without. Nothing here waits.
//!
//! A message is looked at before it is taken: files that come with it and that nobody has asked for, or more of them than one, stay in the socket's queue, and go with it. Else the kernel would close what
//! has no room here, within our call, and to close a file that a stranger has sent may wait for ever (see [`super::closer`], which also closes the socket).

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, Shutdown, recv, recvmsg, sendmsg, shutdown,
};

use super::closer::{self, Foreign};
use super::fault::Fault;
use super::message::{MESSAGE_SIZE, Message};

/// A socket that strangers talk to: what they have said, with files, may lie in its queue.
#[derive(Debug)]
pub(super) struct Socket(Foreign);

impl From<OwnedFd> for Socket {
    fn from(socket: OwnedFd) -> Self {
        Self(socket.into())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for Socket {
    /// The other side is told now. The file is closed elsewhere, after everything was read: what is unread at the close would reach the other side as an error, before our last words.
    fn drop(&mut self) {
        let _ = shutdown(&self.0, Shutdown::Both);
        if let Some(socket) = self.0.take() {
            closer::later(Unread(socket));
        }
    }
}

/// The rest of a socket. What it reads is closed here, so it is dropped by the closer only.
struct Unread(OwnedFd);

impl Drop for Unread {
    fn drop(&mut self) {
        while recv(&self.0, &mut [0; MESSAGE_SIZE][..], RecvFlags::DONTWAIT).is_ok_and(|(bytes, _)| bytes > 0) {}
    }
}

/// One end of a connected socket.
#[derive(Debug, Clone)]
pub(super) struct Channel(Arc<Socket>);

/// A message and the file that came with it.
pub(super) type Received = (Message, Option<Foreign>);

impl Channel {
    /// `socket` does not block.
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self(Arc::new(socket.into()))
    }

    /// Sends one message.
    pub(super) fn send(&self, message: &Message, file: Option<BorrowedFd<'_>>) -> Result<(), Fault> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let files = file.as_slice();
        if !files.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(files));
        }
        let (bytes, flags) = (message.encode(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
        match retry_on_intr(|| sendmsg(self, &[IoSlice::new(&bytes)], &mut control, flags)) {
            Ok(_) => Ok(()), // of such a socket, all or nothing
            Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => Err(Fault::Closed),
            Err(Errno::AGAIN) => Err(Fault::protocol("does not read its messages")),
            Err(errno) => Err(Fault::System(errno)),
        }
    }

    /// The next message, if there is one. `files`: whether a file may come with it now.
    ///
    /// # Errors
    /// The end; or it is no message, or not one that may come so. Then it is still there.
    pub(super) fn receive(&self, files: bool) -> Result<Option<Received>, Fault> {
        let mut bytes = [0; MESSAGE_SIZE];
        let Some(got) = self.read(&mut bytes, &mut RecvAncillaryBuffer::default(), RecvFlags::PEEK)? else {
            return Ok(None);
        };
        if got.contains(ReturnFlags::TRUNC) {
            return Err(Fault::protocol("invalid message size"));
        }
        let message = Message::decode(&bytes).map_err(|bad| Fault::protocol(bad.to_string()))?;
        let mut file = None;
        if got.contains(ReturnFlags::CTRUNC) {
            if !files || !matches!(message, Message::AddRegion { .. } | Message::AddRing(_)) {
                return Err(Fault::protocol("a file that was not asked for"));
            }
            file = Some(self.file(&mut bytes)?);
        }
        // What is closed by this is not the last copy of anything: we have one.
        self.read(&mut bytes, &mut RecvAncillaryBuffer::default(), RecvFlags::empty())?;
        Ok(Some((message, file)))
    }

    /// A copy of the one file of the next message.
    fn file(&self, bytes: &mut [u8; MESSAGE_SIZE]) -> Result<Foreign, Fault> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::PEEK | RecvFlags::CMSG_CLOEXEC;
        let cut = self.read(bytes, &mut control, flags)?.is_none_or(|got| got.contains(ReturnFlags::CTRUNC));
        // There is room for one; for two where the kernel's rounding gives it.
        let rights = |message| if let RecvAncillaryMessage::ScmRights(files) = message { Some(files) } else { None };
        let mut files = control.drain().filter_map(rights).flatten().map(Foreign::from).collect::<Vec<_>>();
        match files.pop() {
            Some(file) if !cut && files.is_empty() => Ok(file),
            Some(_) => Err(Fault::protocol("more than one file with a message")),
            None => Err(Fault::System(Errno::MFILE)),
        }
    }

    /// One call, for as many bytes as a message has: the flags of the answer.
    fn read(
        &self,
        bytes: &mut [u8; MESSAGE_SIZE],
        control: &mut RecvAncillaryBuffer<'_>,
        flags: RecvFlags,
    ) -> Result<Option<ReturnFlags>, Fault> {
        let flags = flags | RecvFlags::DONTWAIT;
        match retry_on_intr(|| recvmsg(self, &mut [IoSliceMut::new(bytes)], control, flags)) {
            Ok(got) if got.bytes == 0 => Err(Fault::Closed),
            Ok(got) if got.bytes != MESSAGE_SIZE => Err(Fault::protocol("invalid message size")),
            Ok(got) => Ok(Some(got.flags)),
            Err(Errno::AGAIN) => Ok(None),
            Err(Errno::CONNRESET | Errno::NOTCONN) => Err(Fault::Closed),
            Err(errno) => Err(Fault::System(errno)),
        }
    }

    /// We have nothing more to say.
    pub(super) fn finish(&self) {
        let _ = shutdown(self, Shutdown::Write);
    }

    /// Whether the other side has closed its end, which the kernel does for a process only when its memory is gone. The kernel is asked, and not the peer: a message without bytes would
    /// be read as the end, and one that cannot be read says nothing.
    pub(super) fn is_closed_there(&self) -> bool {
        let mut fds = [PollFd::new(self, PollFlags::RDHUP)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
