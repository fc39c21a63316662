//! The interfaces of a network namespace.

use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;

/// Makes a veth pair that carries nobody's packets but ours, in the calling thread's namespace, and tells the numbers of its ends.
///
/// It has one queue in each direction. Else it would have one for each CPU, and packets would take the one of the CPU that sends them.
pub(crate) fn veth(near: &str, far: &str) -> Result<(u32, u32), String> {
    const ONE_QUEUE: &str = "numtxqueues 1 numrxqueues 1";
    ip(&format!("link add {near} {ONE_QUEUE} type veth peer name {far} {ONE_QUEUE}"))?;
    for end in [near, far] {
        ip(&format!("link set dev {end} addrgenmode none arp off"))?;
        ip(&format!("link set dev {end} up"))?;
    }
    Ok((number(near)?, number(far)?))
}

/// Runs `ip`, which finds itself in the namespace of the thread that starts it.
pub(crate) fn ip(words: &str) -> Result<(), String> {
    let output = Command::new("ip").args(words.split(' ')).output().map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {words}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// The number of an interface in the calling thread's namespace.
pub(crate) fn number(name: &str) -> Result<u32, String> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
    socket.and_then(|socket| netdevice::name_to_index(&socket, name)).map_err(|errno| format!("{name}: {errno}"))
}

/// What the interfaces of a namespace have counted: of that of the thread that opened it, whoever reads it.
pub(crate) struct Counters(File);

impl Counters {
    pub(crate) fn open() -> Result<Self, String> {
        const FILE: &str = "/proc/thread-self/net/dev";
        File::open(FILE).map(Self).map_err(|error| format!("{FILE}: {error}"))
    }

    /// Packets that an interface has received.
    pub(crate) fn received(&self, name: &str) -> Result<u64, String> {
        let mut all = [0; 4096]; // room for some thirty interfaces
        let len = self.0.read_at(&mut all, 0).map_err(|error| format!("the counters of {name}: {error}"))?;
        packets(&String::from_utf8_lossy(&all[..len]), name).ok_or_else(|| format!("there is no {name}"))
    }
}

/// The second number of an interface's line: after the bytes, the packets that were received.
fn packets(all: &str, name: &str) -> Option<u64> {
    let numbers = all.lines().find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(':'))?;
    numbers.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_those_received_by_that_interface() {
        let all = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
  farm:       1       2    0    0    0     0          0         0        3       4    0    0    0     0       0          0
   far:16777216  262144    0    0    0     0          0         0        5       6    0    0    0     0       0          0
";
        assert_eq!(packets(all, "far"), Some(262_144));
        assert_eq!(packets(all, "fa"), None);
    }
}
