//! A TCP relay: what is received from one connection is sent to another, from the page in which it was received.
//!
//! ```text
//! pool --> page waits in the buffer ring --> bytes are received into it --> queue of the flow --> it is sent --> pool
//!                                                                                        (acknowledged, reset, or copied)
//! ```
//!
//! Start reading at `worker.rs`, then `flow.rs` and `end.rs`: [`Relay`] only starts the threads and asks them to end.

mod accept;
mod conn;
mod end;
mod flow;
mod params;
mod shared;
mod stats;
mod sys;
#[cfg(test)]
mod tests;
mod worker;

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use waterwheel_xdp::{PagePool, PoolParams, Zone};

use crate::error::{DevError, ErrorClass};
use crate::uring::{Features, Ring, RingParams};
use worker::Worker;

pub use crate::uring::Send;
pub use params::{End, Ended, Log, RelayParams};
pub use stats::RelayStats;

/// Descriptors that are not sockets of connections.
const OTHER_DESCRIPTORS: u64 = 64;

/// A running relay. Dropping it stops it; [`finish`](Self::finish) also tells how it went.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<shared::Shared>,
    workers: Vec<JoinHandle<Result<usize, DevError>>>,
    listen: SocketAddr,
    features: Features,
    /// Both are kept until the workers have ended: their descriptors are closed by the thread that opened them.
    _kept: (Arc<OwnedFd>, Zone),
}

impl Relay {
    /// Listens, and starts the workers. The pages are those of `zone`.
    ///
    /// The limit of open files is raised, as far as it may be, to what the connections need.
    ///
    /// # Errors
    /// Config: a parameter is out of range, the zone has too few pages or the process too few descriptors for `max_connections`. Permission: the port, or io_uring, is not for this
    /// user. Device: the address is taken or is none of this machine's; the kernel has no io_uring.
    pub fn start(zone: &Zone, params: &RelayParams) -> Result<Self, DevError> {
        params.check()?;
        let pages = zone.region().pages();
        if pages < params.pages_needed() {
            let way_out = match params.connections_for(pages) {
                0 => String::new(),
                n => format!(", or allow at most {n} connections"),
            };
            let (needed, connections) = (params.pages_needed(), params.max_connections);
            let message = format!(
                "{pages} pages are too few: {connections} connections, of which any may stall, need {needed}; use so many{way_out}"
            );
            return Err(DevError::new(ErrorClass::Config, message));
        }
        raise_descriptor_limit(params.max_connections.div_ceil(params.workers))?;
        let system = |what: &str, error: Errno| DevError::new(ErrorClass::Device, format!("cannot {what}: {error}"));
        let listener = accept::listen(&params.listen).map_err(|error| cannot_listen(&params.listen, error))?;
        let listen = local_address(&listener).map_err(|error| system("tell the address listened on", error))?;
        let shared =
            shared::Shared::new(params.workers, params.connect).map_err(|error| system("make an eventfd", error))?;
        let (opened, openings) = mpsc::channel();
        let listener = Arc::new(listener);
        let mut relay = Self {
            shared: Arc::new(shared),
            workers: Vec::new(),
            listen,
            features: Features::default(),
            _kept: (Arc::clone(&listener), zone.clone()),
        };
        for index in 0..params.workers {
            let listener = Arc::clone(&listener);
            let (zone, params, shared) = (zone.clone(), params.clone(), Arc::clone(&relay.shared));
            let opened = opened.clone();
            let work = move || {
                let worker = open(&zone, &params, listener, shared);
                let worker = match worker {
                    Ok(worker) => worker,
                    Err(error) => {
                        let _ = opened.send(Err(error)); // who starts us waits for it
                        return Ok(0);
                    }
                };
                let _ = opened.send(Ok(worker.ring.features()));
                drop(opened); // who starts us waits until nobody has one
                let result = worker.run(index);
                result.map_err(|error| DevError::new(ErrorClass::Device, format!("io_uring failed: {error}")))
            };
            let thread = std::thread::Builder::new().name(format!("relay-{index}")).spawn(work);
            relay.workers.push(thread.map_err(|error| system("start a thread", errno(&error)))?);
        }
        drop(opened);
        for features in openings {
            relay.features = features?; // else `Drop` stops the others
        }
        Ok(relay)
    }

    /// Where it listens; the port is the one that the kernel chose if 0 was asked for.
    pub fn listen_address(&self) -> SocketAddr {
        self.listen
    }

    /// What is used of io_uring.
    pub fn features(&self) -> Features {
        self.features
    }

    /// Connections that are accepted from now on are connected to the first of these addresses that can be connected to.
    ///
    /// Names are to be looked up by the caller, on a thread of its own.
    pub fn connect_to(&self, addresses: Vec<SocketAddr>) {
        self.shared.connect_to(addresses);
    }

    /// The counters.
    pub fn stats(&self) -> RelayStats {
        self.shared.stats()
    }

    /// Who holds how many blocks, by the socket queue (`tcp:PEER`) that they wait in; as of each worker's last turn. The first call only asks for it.
    pub fn holders(&self) -> Vec<(String, usize)> {
        self.shared.holders()
    }

    /// Asks for the end: nothing is taken in any more, what is under way may be sent for a short time, then connections that are not done are reset.
    pub fn stop(&self) {
        self.shared.stop();
    }

    /// Whether all workers have ended.
    pub fn is_finished(&self) -> bool {
        self.workers.iter().all(JoinHandle::is_finished)
    }

    /// Waits for the end. Tells the counters and how many pages of 4 KiB had to be quarantined, as the network still had them.
    ///
    /// # Errors
    /// Device: a ring failed while it ran.
    pub fn finish(mut self) -> Result<(RelayStats, usize), DevError> {
        self.stop();
        let mut quarantined = 0;
        for worker in self.workers.drain(..) {
            let panicked = |_| DevError::new(ErrorClass::Device, "a worker of the relay panicked");
            quarantined += worker.join().map_err(panicked)??;
        }
        Ok((self.stats(), quarantined))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop();
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

/// Opens what a worker needs, on its own thread.
fn open(
    zone: &Zone,
    params: &RelayParams,
    listener: Arc<OwnedFd>,
    shared: Arc<shared::Shared>,
) -> Result<Worker, DevError> {
    // So many connections as there may be descriptors are each worker's own. Where it is not allowed they are all workers' together.
    let _ = crate::uring::own_descriptors(&[listener.as_fd(), shared.stop_fd()]);
    let (ring, pool) = memory(zone, params)?;
    Ok(Worker::new(ring, pool, listener, shared, params))
}

/// A worker's ring and pool.
fn memory(zone: &Zone, params: &RelayParams) -> Result<(Ring, PagePool), DevError> {
    let fixed = params.send != Send::Plain;
    let ring = RingParams { fixed, buffers: params::FILL_MAX as u16, without: params.without, ..RingParams::default() };
    let ring = Ring::open(zone, &ring).map_err(|error| crate::uring::refused(&error))?;
    let limit = (zone.region().pages() >> params.order) / params.workers;
    let pool = PoolParams { order: params.order, limit, high: params.high, ..PoolParams::default() };
    let pool = PagePool::new(zone, pool).map_err(|error| DevError::new(ErrorClass::Config, error.to_string()))?;
    Ok((ring, pool))
}

fn raise_descriptor_limit(connections: usize) -> Result<(), DevError> {
    let needed = 2 * connections as u64 + OTHER_DESCRIPTORS;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let maximum = limit.maximum.map(|maximum| maximum.max(needed));
    if setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum }).is_ok() {
        return Ok(());
    }
    let allowed = limit.maximum.unwrap_or(u64::MAX);
    let most = allowed.saturating_sub(OTHER_DESCRIPTORS) / 2;
    let message = format!(
        "a worker with {connections} connections needs {needed} descriptors and may open {allowed}: raise the limit (ulimit -Hn), take more workers, or allow at most {most} connections for each"
    );
    Err(DevError::new(ErrorClass::Config, message))
}

fn local_address(socket: &OwnedFd) -> rustix::io::Result<SocketAddr> {
    SocketAddr::try_from(rustix::net::getsockname(socket)?)
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

fn cannot_listen(address: &SocketAddr, error: Errno) -> DevError {
    let (class, why) = match error {
        Errno::ADDRINUSE => {
            (ErrorClass::Device, "the port is in use: choose another, or end who listens there (ss -ltnp)")
        }
        Errno::ADDRNOTAVAIL => (ErrorClass::Device, "no interface of this machine has that address (ip addr)"),
        Errno::ACCESS | Errno::PERM => {
            (ErrorClass::Permission, "ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE")
        }
        _ => return DevError::new(ErrorClass::Device, format!("cannot listen on {address}: {error}")),
    };
    DevError::new(class, format!("cannot listen on {address}: {why}"))
}
