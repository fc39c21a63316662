//! `waterwheel help`: the verbs' help texts, and how devices are named.

use std::io::{self, Write as _};

use waterwheel_dev::generator::GenParams;
use waterwheel_dev::null::NullParams;
use waterwheel_dev::pcap::{PcapParams, PcapWriteParams};
use waterwheel_dev::spec::{AF_XDP_KEYS, Kind, MEMIF_KEYS, TAP_KEYS, TCP_KEYS, UDP_KEYS, nearest};

use crate::args;
use crate::engine::capture::FILTER_KEYS;
use crate::failure::{Class, Failure};

/// Prints the help on `topic`; on the whole when there is none.
pub(crate) fn show(topic: Option<&str>) -> Result<(), Failure> {
    let printed = match topic {
        Some("devices") => io::stdout().write_all(devices().as_bytes()),
        Some(topic) if kind(topic).is_some() => {
            io::stdout().write_all(kind(topic).map(section).unwrap_or_default().as_bytes())
        }
        Some(topic) if !args::verbs().iter().any(|verb| verb == topic) => return Err(unknown(topic)),
        topic => args::help(topic),
    };
    printed.map_err(|error| Failure::output(&error))
}

fn unknown(topic: &str) -> Failure {
    let mut topics = args::verbs();
    topics.extend(Kind::ALL.map(|kind| kind.as_str().to_owned()));
    let way_out = match nearest(topic, topics.iter().map(String::as_str)) {
        Some(topic) => format!("did you mean '{topic}'?"),
        None => format!("the topics are {}", topics.join(", ")),
    };
    Failure::new(Class::Usage, format!("no help on '{topic}': {way_out}"))
}

/// The kind of device called so, with or without its colon.
fn kind(topic: &str) -> Option<Kind> {
    let name = topic.strip_suffix(':').unwrap_or(topic);
    Kind::ALL.into_iter().find(|kind| kind.as_str() == name)
}

/// Every kind of device, a line each.
pub(crate) fn kinds() -> String {
    Kind::ALL.map(|kind| format!("  {:20}  {}\n", kind.form(), brief(kind))).concat()
}

/// Columns of the text on devices: what a terminal has at least.
const WIDTH: usize = 80;

const INTRODUCTION: &str = "\
Devices are named by specs:

  KIND:ARG[,KEY[=VALUE]]...

A comma or a backslash that belongs to a name or a value is written \\, or \\\\. Counts and rates take k, M and G for thousands, \
millions and billions; times take us, ms, s, m and h. What this machine has is shown by 'waterwheel devices'.
";

/// How devices are named, made of the devices' own tables of keys.
fn devices() -> String {
    let mut text = wrapped(INTRODUCTION, 0);
    Kind::ALL.into_iter().for_each(|kind| text += &format!("\n{}", section(kind)));
    text
}

/// One kind, with its keys.
fn section(kind: Kind) -> String {
    let mut text = format!("{}\n{}", kind.form(), wrapped(about(kind), 2));
    let keys = keys(kind);
    if !keys.is_empty() {
        text.push('\n');
    }
    let column = keys.iter().map(|(key, _)| key.len()).max().unwrap_or(0) + 6;
    for (key, help) in keys {
        let help = wrapped(help, column);
        text.push_str(&format!("    {key:width$}  {}", help.trim_start(), width = column - 6));
    }
    text
}

/// `text` indented by `indent` columns, its lines broken between words at [`WIDTH`]; a line that begins with a space is left as it is.
fn wrapped(text: &str, indent: usize) -> String {
    let margin = " ".repeat(indent);
    let mut out = String::new();
    for line in text.lines() {
        let mut width = indent;
        out.push_str(if line.is_empty() { "" } else { &margin });
        for (n, word) in line.split(' ').enumerate() {
            let length = word.chars().count();
            if n > 0 && width + 1 + length > WIDTH && !line.starts_with(' ') {
                out.push('\n');
                out.push_str(&margin);
                width = indent;
            } else if n > 0 {
                out.push(' ');
                width += 1;
            }
            out.push_str(word);
            width += length;
        }
        out.push('\n');
    }
    out
}

fn keys(kind: Kind) -> Vec<(&'static str, &'static str)> {
    let keys = match kind {
        Kind::AfXdp => AF_XDP_KEYS,
        Kind::Memif => MEMIF_KEYS,
        Kind::Udp => UDP_KEYS,
        Kind::Tcp => TCP_KEYS,
        Kind::Gen => GenParams::KEYS,
        Kind::Pcap => return [PcapParams::KEYS, PcapWriteParams::KEYS, FILTER_KEYS].concat(),
        Kind::Null => NullParams::KEYS,
        Kind::Tap => TAP_KEYS,
        Kind::Veth => &[],
    };
    keys.to_vec()
}

fn brief(kind: Kind) -> &'static str {
    match kind {
        Kind::AfXdp => "AF_XDP sockets on a network interface",
        Kind::Memif => "memory shared with another process (DPDK, VPP, waterwheel)",
        Kind::Tap => "a tap interface of the kernel",
        Kind::Udp => "datagrams of a UDP socket",
        Kind::Tcp => "the stream of a TCP connection",
        Kind::Pcap => "packets read from a file, or written to one",
        Kind::Gen => "a traffic generator",
        Kind::Null => "a sink",
        Kind::Veth => "a pair of devices in this process's memory",
    }
}

fn about(kind: Kind) -> &'static str {
    match kind {
        Kind::AfXdp => {
            "\
AF_XDP sockets on the network interface IFACE: on all its queues, or on QUEUE (0) or a range of them (0-3).
A small XDP program steers packets to the sockets, all of them or only those that the keys name; the rest goes on to the host \
untouched. The program is held by this process and goes with it, however the process ends: an interface is used by one process, \
with as many of its queues as that names. Zero copy is asked for, and what was obtained is said. Needs CAP_NET_RAW, CAP_NET_ADMIN, \
CAP_BPF, and CAP_IPC_LOCK or a limit on locked memory that is high enough: run it as root, or once, as root:
  setcap cap_net_raw,cap_net_admin,cap_bpf,cap_ipc_lock+ep FILE
An interface that carries your own connection to this machine should be steered, or you cut yourself off.
  afxdp:eth1    afxdp:eth1:0    afxdp:eth1:0-3,dst=10.0.0.0/8,proto=udp"
        }
        Kind::Memif => {
            "\
Memory shared with another process of this machine that speaks memif 2.0: this program, DPDK (net_memif), VPP, libmemif. One side \
listens on the Unix socket SOCKET (role=server), the other one connects; either may come first, and come back. Needs no rights \
but to the socket. Packets are copied into and out of the shared memory, and whatever the other side writes there is checked. \
With a different number of queues on either side, both use the smaller one.
A SOCKET that begins with '@' has no file: this is what DPDK (socket-abstract=yes) and libmemif use by default. Any process of the \
same network namespace may connect to it, so give it a secret.
  memif:/tmp/a.sock,role=server    memif:/tmp/a.sock    memif:/tmp/a.sock,id=1
  memif:@/run/memif.sock,secret=sesame"
        }
        Kind::Tap => {
            "\
The tap interface NAME of the kernel, made if it is not there: what the host sends into it is received here, what is sent here \
the host receives. Packets are copied by the kernel. Needs CAP_NET_ADMIN, or a tap that was made for this user.
With several queues the kernel keeps the packets of a flow in one of them, and each may have a worker of its own.
  tap:tap0    tap:tap0,queues=4"
        }
        Kind::Udp => {
            "\
A UDP socket bound to ADDR:PORT (port 0: the kernel chooses), by io_uring. The payload of a datagram is the frame: \
there is no Ethernet, IP or UDP header in front of what is received, and what is sent is the whole frame, its Ethernet header included. \
A capture file of such payloads says so (link type USER0). What does not fit is counted and dropped; with an mtu above \
that of a page each datagram is given a block of 2 to 16 pages.
  udp:0.0.0.0:4789    udp:127.0.0.1:0,peer=127.0.0.1:9000"
        }
        Kind::Tcp => {
            "\
A TCP connection to ADDR:PORT, or accepted there, by io_uring. A packet is a piece of the stream as it was received, without any header; a stream keeps no \
boundaries. When the connection ends, a device that listens accepts the next one, and one that connected is lost (--on-device-loss).
  tcp:127.0.0.1:9000    tcp:[::]:9000,listen"
        }
        Kind::Pcap => {
            "\
A capture file. It is read, pcap or pcapng, where packets come from (drop pcap:FILE, forward pcap:FILE ...), and written as \
pcapng where they go to (forward ... pcap:FILE, generate pcap:FILE). '-' is standard input or output. A pipe is played as it \
is written, and takes packets as it is read: the rest goes on meanwhile. Packets of raw IP, Linux cooked and loopback captures \
are given an Ethernet header: from the address that the capture tells, else from 02:00:00:00:00:01, to 02:00:00:00:00:02. timing, \
speed, rate, mbps, burst and loop are for files that are read, the other keys for files that are written. A file of up to 16 MiB that is \
played again and again is read once.
  pcap:in.pcap    pcap:-"
        }
        Kind::Gen => {
            "\
Makes packets, with correct checksums. src, dst, sport and dport may be ranges (10.0.0.1-10.0.0.9, 10.0.0.0/24, 1000-1999): \
that is how there are many flows.
  gen:    gen:size=imix,rate=1M    gen:src=10.0.0.0/16,proto=tcp,dport=443"
        }
        Kind::Null => {
            "\
Takes every packet and forgets it. With a size it also gives packets, as many as are taken, that nobody wrote: their bytes are what \
was in the page, so that nothing but the loop and its memory is measured.
  null:    null:size=64"
        }
        Kind::Veth => {
            "\
A pair of devices in the memory of this process, for tests. Named twice in one command, these are its two ends: what is sent \
into the one is received from the other. Named once, the other end swallows what arrives.
  generate veth: --duration 5"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_fits_and_every_key_is_there() {
        let text = devices();
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        for kind in Kind::ALL {
            assert!(text.contains(&format!("\n{}\n", kind.form())), "{}", kind.form());
            for (key, _) in keys(kind) {
                assert!(text.contains(&format!("\n    {key} ")), "{key}");
            }
        }
    }

    #[test]
    fn text_is_wrapped_between_words() {
        let words = "word ".repeat(20);
        let text = wrapped(words.trim_end(), 4);
        assert!(text.lines().all(|line| line.starts_with("    word") && line.len() <= WIDTH), "{text}");
        assert_eq!(text.split_whitespace().count(), 20);
        assert_eq!(wrapped("a\n\n  b", 2), "  a\n\n    b\n");
    }
}
