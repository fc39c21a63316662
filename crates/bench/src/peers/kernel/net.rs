//! The interfaces of the calling thread's network namespace.

use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};
use std::fs;
use std::process::Command;

/// The ends of the veth pair.
pub(super) const NEAR: &str = "near";
/// See [`NEAR`].
pub(super) const FAR: &str = "far";

/// Makes a veth pair that carries nobody's packets but ours, and tells the numbers of its ends.
pub(super) fn veth() -> Result<(u32, u32), String> {
    ip(&format!("link add {NEAR} type veth peer name {FAR}"))?;
    for end in [NEAR, FAR] {
        ip(&format!("link set dev {end} addrgenmode none arp off"))?;
        ip(&format!("link set dev {end} up"))?;
    }
    Ok((number(NEAR)?, number(FAR)?))
}

/// Runs `ip`, which finds itself in the namespace of the thread that starts it.
fn ip(words: &str) -> Result<(), String> {
    let output = Command::new("ip").args(words.split(' ')).output().map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {words}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

fn number(name: &str) -> Result<u32, String> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
    socket.and_then(|socket| netdevice::name_to_index(&socket, name)).map_err(|errno| format!("{name}: {errno}"))
}

/// Packets that an interface has received.
pub(super) fn received(name: &str) -> Result<u64, String> {
    let file = "/proc/thread-self/net/dev";
    let all = fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    packets(&all, name).ok_or_else(|| format!("{file} does not name {name}"))
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
