//! Clients that write as fast as they can, and servers that read and forget, on one CPU.

use super::MESSAGE;
use rustix::net::sockopt::set_socket_linger;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use waterwheel_mm::cpu;

/// All connections are there within this time.
const PATIENCE: Duration = Duration::from_secs(20);
/// A slow reader takes so many bytes at once, and then sleeps.
const SLOW: usize = 16 << 10;
const NAP: Duration = Duration::from_millis(5);
/// Their threads need little.
const STACK: usize = 64 << 10;

/// It runs.
pub(crate) struct Load {
    clients: Vec<TcpStream>,
    servers: Vec<TcpStream>,
    threads: Vec<JoinHandle<()>>,
    received: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
}

impl Load {
    /// Connects through the relay at `listen`, which connects to `connect`, and starts. In the network namespace of the calling thread. `slow`: so many of the
    /// servers read slowly.
    pub(crate) fn start(
        cpu: usize,
        connections: usize,
        slow: usize,
        listen: SocketAddr,
        connect: SocketAddr,
    ) -> Result<Self, String> {
        let error = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
        let listener = TcpListener::bind(connect).map_err(error("a server"))?;
        listener.set_nonblocking(true).map_err(error("a server"))?;
        let mut load = Self {
            clients: Vec::new(),
            servers: Vec::new(),
            threads: Vec::new(),
            received: Arc::default(),
            ended: Arc::default(),
        };
        for _ in 0..connections {
            let client = TcpStream::connect_timeout(&listen, PATIENCE).map_err(error("connecting to the relay"))?;
            load.clients.push(client);
        }
        let deadline = Instant::now() + PATIENCE;
        while load.servers.len() < connections {
            match listener.accept() {
                Ok((server, _)) => {
                    server.set_nonblocking(false).map_err(error("a server"))?;
                    load.servers.push(server);
                }
                Err(why) if why.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(1));
                }
                Err(why) => {
                    let through = load.servers.len();
                    return Err(format!("of {connections} connections {through} got through the relay: {why}"));
                }
            }
        }
        // Not before all are there: who is late would find no time.
        for i in 0..connections {
            let mut client = load.clients[i].try_clone().map_err(error("a client"))?;
            load.thread(cpu, move |_| {
                let message = vec![b'w'; MESSAGE];
                while client.write_all(&message).is_ok() {}
            })?;
            let mut server = load.servers[i].try_clone().map_err(error("a server"))?;
            let ended = load.ended.clone();
            load.thread(cpu, move |received| {
                let slow = i < slow;
                let mut room = vec![0; if slow { SLOW } else { 4 * MESSAGE }];
                while let Ok(len @ 1..) = server.read(&mut room) {
                    received.fetch_add(len as u64, Relaxed);
                    if ended.load(Relaxed) {
                        return;
                    }
                    if slow {
                        thread::sleep(NAP);
                    }
                }
            })?;
        }
        Ok(load)
    }

    fn thread(&mut self, cpu: usize, work: impl FnOnce(&AtomicU64) + Send + 'static) -> Result<(), String> {
        let received = self.received.clone();
        let run = move || {
            let _ = cpu::pin_to(cpu); // it was asked for by who knows that it is there
            work(&received);
        };
        let thread =
            thread::Builder::new().stack_size(STACK).spawn(run).map_err(|error| format!("a thread: {error}"))?;
        self.threads.push(thread);
        Ok(())
    }

    /// Bytes that the servers have read.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Ends all connections.
    pub(crate) fn end(mut self) -> Result<(), String> {
        self.shut();
        self.threads
            .drain(..)
            .try_for_each(|thread| thread.join())
            .map_err(|_| "a client or server panicked".to_owned())
    }

    /// Wakes all threads. When they have gone, and with them the last handle of a socket, its relay gets a reset: nothing of a load is left for the next one.
    fn shut(&self) {
        self.ended.store(true, Relaxed);
        for end in self.clients.iter().chain(&self.servers) {
            let _ = set_socket_linger(end, Some(Duration::ZERO)); // an error if it is gone already
        }
        self.clients.iter().chain(&self.servers).for_each(|end| _ = end.shutdown(Shutdown::Both));
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shut();
    }
}
