//! A peer that says and writes what a test tells it. It touches the shared memory through the file, as any process may.

use std::io::{IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::{Errno, pread, pwrite};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen, recvmsg, sendmsg,
    socket_with,
};
use waterwheel_dev::memif::message::{AddRing, Hello, Init, Message, SECRET_SIZE, Text, VERSION};

/// Slots of the rings that a scripted client makes.
pub(crate) const SLOTS: u16 = 8;
/// Where its rings and its buffers lie, and how long its region is.
pub(crate) const TO_SERVER: u64 = 0;
pub(crate) const TO_CLIENT: u64 = 1024;
pub(crate) const BUFFERS: u64 = 4096;
pub(crate) const SIZE: u64 = BUFFERS + 2 * 8 * 2048;
const COOKIE: u32 = 0x03E3_1F20;

pub(crate) struct Peer {
    pub(crate) socket: OwnedFd,
    /// The memory, when it is there.
    pub(crate) region: Option<OwnedFd>,
}

fn socket() -> OwnedFd {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("a socket")
}

/// A descriptor of a ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Desc {
    pub(crate) flags: u16,
    pub(crate) region: u16,
    pub(crate) length: u32,
    pub(crate) offset: u32,
}

impl Peer {
    pub(crate) fn dial(path: &Path) -> Self {
        let socket = socket();
        connect(&socket, &SocketAddrUnix::new(path).expect("a path")).expect("the server listens");
        Self { socket, region: None }
    }

    pub(crate) fn listen(path: &Path) -> OwnedFd {
        let socket = socket();
        bind(&socket, &SocketAddrUnix::new(path).expect("a path")).expect("bound");
        listen(&socket, 4).expect("listening");
        socket
    }

    pub(crate) fn accept(listener: &OwnedFd) -> Option<Self> {
        let socket = accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK).ok()?;
        Some(Self { socket, region: None })
    }

    pub(crate) fn say(&self, message: &Message) {
        self.say_with(message, &[]);
    }

    pub(crate) fn say_with(&self, message: &Message, files: &[&OwnedFd]) {
        self.say_bytes(&message.encode(), files);
    }

    /// Whatever it is. That nobody is there any more is no surprise to a liar.
    pub(crate) fn say_bytes(&self, bytes: &[u8], files: &[&OwnedFd]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let files = files.iter().map(|file| file.as_fd()).collect::<Vec<_>>();
        if !files.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&files));
        }
        let _ = sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL);
    }

    /// What the other side has said: a message, nothing yet, or that it is gone.
    pub(crate) fn hear(&self) -> Result<Option<(Message, Option<OwnedFd>)>, ()> {
        let mut bytes = [0; 128];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = match recvmsg(&self.socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
        {
            Ok(got) if got.bytes == 128 => got,
            Err(Errno::AGAIN) => return Ok(None),
            _ => return Err(()),
        };
        let mut file = None;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                file = files.last();
            }
        }
        let _ = got;
        Ok(Some((Message::decode(&bytes).expect("our side says nothing wrong"), file)))
    }

    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) {
        let region = self.region.as_ref().expect("there is memory");
        assert_eq!(pwrite(region, bytes, offset), Ok(bytes.len()));
    }

    pub(crate) fn read(&self, offset: u64, bytes: &mut [u8]) {
        let region = self.region.as_ref().expect("there is memory");
        assert_eq!(pread(region, &mut *bytes, offset), Ok(bytes.len()));
    }

    pub(crate) fn set_head(&self, ring: u64, head: u16) {
        self.write(ring + 6, &head.to_ne_bytes());
    }

    pub(crate) fn set_tail(&self, ring: u64, tail: u16) {
        self.write(ring + 64, &tail.to_ne_bytes());
    }

    pub(crate) fn index(&self, at: u64) -> u16 {
        let mut bytes = [0; 2];
        self.read(at, &mut bytes);
        u16::from_ne_bytes(bytes)
    }

    pub(crate) fn describe(&self, ring: u64, slot: u16, desc: Desc) {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&desc.flags.to_ne_bytes());
        bytes[2..4].copy_from_slice(&desc.region.to_ne_bytes());
        bytes[4..8].copy_from_slice(&desc.length.to_ne_bytes());
        bytes[8..12].copy_from_slice(&desc.offset.to_ne_bytes());
        self.write(ring + 128 + u64::from(slot) * 16, &bytes);
    }
}

pub(crate) fn init() -> Message {
    Message::Init(Init { version: VERSION, id: 0, mode: 0, secret: [0; SECRET_SIZE], name: Text::new("script") })
}

pub(crate) fn hello() -> Hello {
    Hello {
        name: Text::new("script"),
        min_version: VERSION,
        max_version: VERSION,
        max_region: 255,
        max_to_client: 255,
        max_to_server: 255,
        max_log2_slots: 14,
    }
}

pub(crate) fn ring(to_server: bool) -> AddRing {
    let offset = if to_server { TO_SERVER } else { TO_CLIENT } as u32;
    AddRing { to_server, index: 0, region: 0, offset, log2_slots: 3, private_header: 0 }
}

/// A file of `size` bytes.
pub(crate) fn memory(size: u64, sealed: bool) -> OwnedFd {
    let file = memfd_create("ww-test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).expect("a memfd");
    ftruncate(&file, size).expect("longer");
    if sealed {
        fcntl_add_seals(&file, SealFlags::SHRINK).expect("sealed");
    }
    file
}

/// The memory of a client as it should be.
pub(crate) fn region() -> OwnedFd {
    let file = memory(SIZE, true);
    for ring in [TO_SERVER, TO_CLIENT] {
        assert_eq!(pwrite(&file, &COOKIE.to_ne_bytes(), ring), Ok(4));
    }
    file
}

pub(crate) fn event() -> OwnedFd {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("an eventfd")
}

/// A file whose copies can be counted, in a way: whether there is any but ours.
pub(crate) struct Traced {
    reads: std::fs::File,
    pub(crate) file: Option<OwnedFd>,
}

impl Traced {
    pub(crate) fn new() -> Self {
        let (reads, file) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).expect("a pipe");
        Self { reads: reads.into(), file: Some(file) }
    }

    /// True when nobody has it any more.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.file = None;
        matches!(self.reads.read(&mut [0]), Ok(0))
    }
}
