//! A server's socket. Several interfaces, each with its number, may listen behind one; the first message of a client tells which it wants.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen, socket_with,
};

use super::channel::{Channel, Socket};
use super::closer;
use super::fault::Fault;
use super::handshake::hello;
use super::interface::Interface;
use super::message::{Init, Message, Text};
use super::params::abstract_name;
use crate::error::{DevError, ErrorClass};

/// Clients that have not said yet what they want; above this the oldest has to go.
const MAX_PENDING: usize = 4;
/// How long a client may take for that, and for each of its messages.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How long the socket of a server that has ended may take to close.
const CLOSING: Duration = Duration::from_secs(2);
/// Clients that are let in at once.
const ACCEPTS: usize = 8;

/// All listeners of this process: who names one's socket again joins it.
static LISTENERS: Mutex<Vec<Weak<Listener>>> = Mutex::new(Vec::new());

/// A socket that clients connect to.
#[derive(Debug)]
pub(super) struct Listener {
    path: PathBuf,
    /// Device and number of the socket's file: it is removed in the end if it is still ours.
    file: Option<(u64, u64)>,
    /// Clients wait in its queue, and what they have said already.
    socket: Socket,
    /// Readable when a client comes, or one that has come says what it wants.
    watch: Arc<OwnedFd>,
    /// Clients that were sent away.
    rejected: AtomicU64,
    /// Nobody is let in, as too much is being closed.
    shut: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    pending: Vec<(Channel, Instant)>,
    interfaces: Vec<(u32, Weak<Interface>)>,
}

/// A client that is turned away.
struct Refusal {
    fault: Fault,
    /// By the interface that it wanted: it is no concern of the others.
    told: bool,
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self { fault, told: false }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Listener {
    /// The listener at `path`: a new one, or this process's own.
    ///
    /// # Errors
    /// One line that says what is at that path.
    pub(super) fn open(path: &Path) -> Result<Arc<Self>, DevError> {
        let mut all = lock(&LISTENERS);
        all.retain(|listener| listener.strong_count() > 0);
        if let Some(listener) = all.iter().filter_map(Weak::upgrade).find(|listener| listener.path == path) {
            return Ok(listener);
        }
        let socket = bind_or_replace(path)?;
        let system = |errno: Errno| refused(path, "listen on it", errno);
        listen(&socket, MAX_PENDING as i32).map_err(system)?;
        let watch = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(system)?;
        let data = epoll::EventData::new_u64(0);
        epoll::add(&watch, &socket, data, epoll::EventFlags::IN).map_err(system)?;
        let listener = Arc::new(Self {
            path: path.to_owned(),
            file: abstract_name(path).is_none().then(|| identity(path)).flatten(),
            socket: socket.into(),
            watch: Arc::new(watch),
            rejected: AtomicU64::new(0),
            shut: AtomicBool::new(false),
            inner: Mutex::default(),
        });
        all.push(Arc::downgrade(&listener));
        Ok(listener)
    }

    /// From now on clients may ask for `interface`.
    ///
    /// # Errors
    /// There is one of that number.
    pub(super) fn join(&self, interface: &Arc<Interface>) -> Result<(), DevError> {
        let mut inner = lock(&self.inner);
        inner.interfaces.retain(|(_, other)| other.strong_count() > 0);
        let id = interface.params.id;
        if inner.interfaces.iter().any(|(other, _)| *other == id) {
            let message =
                format!("{}: interface {id} of that socket is open already: choose another id", interface.name);
            return Err(DevError::new(ErrorClass::Config, message));
        }
        inner.interfaces.push((id, Arc::downgrade(interface)));
        Ok(())
    }

    /// What to wait on.
    pub(super) fn watch(&self) -> &Arc<OwnedFd> {
        &self.watch
    }

    /// Clients that were sent away.
    pub(super) fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// Looks after clients that have come. Does nothing while another thread does.
    pub(super) fn tend(&self) {
        let Ok(mut inner) = self.inner.try_lock() else { return };
        if self.is_open() {
            self.accept(&mut inner);
        }
        let now = Instant::now();
        let mut i = 0;
        while i < inner.pending.len() {
            let (channel, since) = &inner.pending[i];
            let done = match channel.receive(false) {
                Ok(None) if now.duration_since(*since) < PATIENCE => None,
                Ok(None) => Some(Err(Fault::Silent.into())),
                Ok(Some((Message::Init(init), _))) => Some(inner.introduce(channel, &init)),
                Ok(Some((Message::Disconnect { .. }, _))) => Some(Err(Fault::Closed.into())),
                Ok(Some(_)) => Some(Err(Fault::protocol("unexpected message").into())),
                Err(fault) => Some(Err(fault.into())),
            };
            match done {
                None => i += 1,
                Some(outcome) => {
                    let (channel, _) = inner.pending.swap_remove(i);
                    let _ = epoll::delete(&self.watch, &channel);
                    match outcome {
                        Ok(()) | Err(Refusal { fault: Fault::Closed, .. }) => {}
                        Err(Refusal { fault, told }) => {
                            if !told {
                                inner.tell_of(&fault);
                            }
                            self.reject(&channel, &fault);
                        }
                    }
                }
            }
        }
    }

    /// Whether clients are let in. While they are not, nobody is woken by those that come. The caller has the lock.
    fn is_open(&self) -> bool {
        let open = closer::has_room();
        if open == self.shut.load(Ordering::Relaxed) {
            let changed = match open {
                true => epoll::add(&self.watch, &self.socket, epoll::EventData::new_u64(0), epoll::EventFlags::IN),
                false => epoll::delete(&self.watch, &self.socket),
            };
            if changed.is_ok() {
                self.shut.store(!open, Ordering::Relaxed);
            }
        }
        open
    }

    /// Whether clients may be waiting that nobody is woken by.
    pub(super) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::Relaxed)
    }

    fn accept(&self, inner: &mut Inner) {
        for _ in 0..ACCEPTS {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let Ok(socket) = retry_on_intr(|| accept_with(&self.socket, flags)) else { return };
            let channel = Channel::new(socket);
            if channel.send(&hello(inner.queues()), None).is_err() {
                continue;
            }
            if inner.pending.len() == MAX_PENDING {
                let (oldest, _) = inner.pending.remove(0);
                let _ = epoll::delete(&self.watch, &oldest);
                self.reject(&oldest, &Fault::Silent);
            }
            if epoll::add(&self.watch, &channel, epoll::EventData::new_u64(1), epoll::EventFlags::IN).is_ok() {
                inner.pending.push((channel, Instant::now()));
            }
        }
    }

    fn reject(&self, channel: &Channel, why: &Fault) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
        let reason = Text::new(&why.to_string());
        let _ = channel.send(&Message::Disconnect { code: 0, reason }, None);
    }
}

impl Inner {
    /// Hands a client to the interface that it wants.
    fn introduce(&self, channel: &Channel, init: &Init) -> Result<(), Refusal> {
        let wanted = self.interfaces.iter().find(|(id, _)| *id == init.id);
        let Some(interface) = wanted.and_then(|(_, interface)| interface.upgrade()) else {
            let ids = self.open().map(|interface| interface.params.id.to_string()).collect::<Vec<_>>();
            let why = format!("id not found: {} is wanted, here is {}", init.id, ids.join(", "));
            return Err(Fault::protocol(why).into());
        };
        interface.adopt(channel.clone(), init).map_err(|fault| Refusal { fault, told: true })
    }

    /// The interfaces behind the socket.
    fn open(&self) -> impl Iterator<Item = Arc<Interface>> {
        self.interfaces.iter().filter_map(|(_, interface)| interface.upgrade())
    }

    /// The queues of the largest interface: which one a client wants it says only after it has heard this.
    fn queues(&self) -> u16 {
        self.open().map(|interface| interface.params.queues).max().unwrap_or(1)
    }

    /// A client was turned away before it had an interface: all of them know, and one says it.
    fn tell_of(&self, fault: &Fault) {
        self.open().enumerate().for_each(|(number, interface)| interface.turned_away(fault, number == 0));
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.file.is_some() && identity(&self.path) == self.file {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

fn new_socket() -> Result<OwnedFd, Errno> {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

/// `@name` is a socket without a file. Its address ends with its last byte, as for DPDK and libmemif.
fn address(path: &Path) -> Result<SocketAddrUnix, Errno> {
    match abstract_name(path) {
        Some(name) => SocketAddrUnix::new_abstract_name(name),
        None => SocketAddrUnix::new(path),
    }
}

/// A socket of the same name and the other kind, with a file or without, which may be the one that was meant.
pub(super) fn namesake(path: &Path) -> Option<String> {
    use std::os::unix::fs::FileTypeExt;
    match abstract_name(path) {
        Some(name) => {
            let path = Path::new(OsStr::from_bytes(name));
            let is_socket = std::fs::metadata(path).is_ok_and(|file| file.file_type().is_socket());
            is_socket.then(|| format!("memif:{}", path.display()))
        }
        None => {
            let all = std::fs::read_to_string("/proc/thread-self/net/unix").ok()?;
            let name = format!(" @{}", path.display());
            all.lines().any(|line| line.ends_with(&name)).then(|| format!("memif:@{}", path.display()))
        }
    }
}

/// A socket with that path, which may be in the place of one whose server is gone.
fn bind_or_replace(path: &Path) -> Result<OwnedFd, DevError> {
    let fail = |errno| refused(path, "make the socket", errno);
    let address = address(path).map_err(fail)?;
    let socket = new_socket().map_err(fail)?;
    if abstract_name(path).is_some() {
        return bind_when_closed(&socket, &address).map(|()| socket).map_err(fail);
    }
    match bind(&socket, &address) {
        Ok(()) => return Ok(socket),
        Err(Errno::ADDRINUSE) => {}
        Err(errno) => return Err(fail(errno)),
    }
    check_kind(path)?;
    match new_socket().map(Socket::from).and_then(|probe| connect(&probe, &address)) {
        // The mark of a server that is gone: a file that nobody listens behind.
        Err(Errno::CONNREFUSED) => {}
        Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) => return Err(fail(Errno::ADDRINUSE)),
        Err(errno) => return Err(fail(errno)),
    }
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(refused(path, "replace the socket of a server that is gone", errno)),
    }
    bind(&socket, &address).map_err(fail)?;
    Ok(socket)
}

/// A name without a file is free when the last socket that has it is closed, which may be a moment after its server has ended.
fn bind_when_closed(socket: &OwnedFd, address: &SocketAddrUnix) -> Result<(), Errno> {
    let deadline = Instant::now() + CLOSING;
    let listens =
        || new_socket().map(Socket::from).and_then(|probe| connect(&probe, address)) != Err(Errno::CONNREFUSED);
    loop {
        match bind(socket, address) {
            Err(Errno::ADDRINUSE) if Instant::now() < deadline && !listens() => {
                std::thread::sleep(Duration::from_millis(1));
            }
            result => return result,
        }
    }
}

/// # Errors
/// There is something at `path`, and it is no socket.
pub(super) fn check_kind(path: &Path) -> Result<(), DevError> {
    use std::os::unix::fs::FileTypeExt;
    match std::fs::metadata(path) {
        Ok(file) if abstract_name(path).is_none() && !file.file_type().is_socket() => {
            let message = format!("memif:{} exists and is no socket: choose another path", path.display());
            Err(DevError::new(ErrorClass::Config, message))
        }
        _ => Ok(()),
    }
}

/// A connection to the server at `path`.
pub(super) fn dial(path: &Path) -> Result<Channel, Errno> {
    let socket = new_socket()?;
    connect(&socket, &address(path)?)?;
    Ok(Channel::new(socket))
}

/// The line for an error of the kernel.
pub(super) fn refused(path: &Path, action: &str, errno: Errno) -> DevError {
    let (class, hint) = match errno {
        Errno::ACCESS | Errno::PERM => (
            ErrorClass::Permission,
            "; take a path in a folder of your own, or ask for the right to write to the folder and the socket",
        ),
        Errno::NOENT => (ErrorClass::Config, "; its folder does not exist: make it, or choose another path"),
        Errno::NOTDIR => (ErrorClass::Config, "; what should be its folder is none: choose another path"),
        Errno::ADDRINUSE => (ErrorClass::Device, "; a server listens there: stop it, or choose another path"),
        Errno::PROTOTYPE => {
            (ErrorClass::Device, "; the server there does not speak memif (its socket is of another type)")
        }
        _ => (ErrorClass::Device, ""),
    };
    DevError::new(class, format!("memif:{}: cannot {action}: {errno}{hint}", path.display()))
}
