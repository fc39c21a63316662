//! What was typed. What it means is `config`'s business.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, CommandFactory as _, Parser, Subcommand, ValueEnum};

use waterwheel_xdp::mm::Sampling;

use crate::failure::{Class, EXIT_CODES};
use crate::units::Target;
use crate::{cmd, report, units};

/// Moves packets between devices: drops, forwards, captures, replays and generates them, and relays TCP connections.
#[derive(Debug, Parser)]
#[command(name = "waterwheel", version, disable_help_subcommand = true, arg_required_else_help = true)]
#[command(
    after_help = "Try 'waterwheel devices', then 'waterwheel help devices', then 'waterwheel forward gen: null: --duration 5'."
)]
#[command(after_long_help = format!("{DEVICES}\n{}\n{MAIN_HELP}\n\n{EXIT_CODES}", cmd::kinds()))]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const DEVICES: &str = "\
Devices are named by specs, KIND:ARG,KEY=VALUE,...; 'waterwheel help devices' explains them all, 'waterwheel help KIND' one of them:";

const MAIN_HELP: &str = "\
Examples:
  waterwheel devices
      what this machine has, and what to do before it can be used
  waterwheel forward gen: null: --duration 5
      sends packets from a generator to nowhere, which shows how fast this machine is
  waterwheel forward afxdp:eth1 afxdp:eth2
      a wire between two interfaces, both ways
  waterwheel drop afxdp:eth1,dst=192.0.2.0/24,proto=udp --json
      takes and drops the UDP packets to a prefix; the rest goes on to the host
  waterwheel generate afxdp:eth1 --size 64 --rate 1M --dport 1000-1999 --count 10M
  waterwheel capture afxdp:eth1 - | tcpdump -nr -
  waterwheel relay 0.0.0.0:8080 192.0.2.10:80
      passes TCP connections on

While it runs: a live table at a terminal, else one line for each --interval; with --json one object for each. Last come the \
totals and the account of every page. Notices and errors go to standard error.

In the background, or with --plain, a terminal gets lines, too.

SIGINT, SIGTERM and SIGHUP end a run cleanly: nothing more is taken in, what is under way is sent, and the totals are printed; a second \
one forces the end. A relay ends by itself within seconds, and SIGHUP makes it look up the name of its server again. SIGUSR1 asks who has \
pages, if --trace-pages follows them.";

/// What is broken on purpose, for the tests of what is said of it.
#[cfg(feature = "plants")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Plant {
    /// A page that nobody holds.
    Leak,
    /// A page that two hold.
    Twice,
    /// A program that panics.
    Panic,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Forward(Forward),
    Drop(Drop),
    Tx(Tx),
    Generate(Box<Generate>),
    Capture(Capture),
    Relay(Relay),
    Bench(Bench),
    Soak(Soak),
    Devices(Devices),
    Help(Help),
}

/// Forward packets between two devices, both ways
///
/// Every packet that A receives is sent out of B, and the other way round. The page that carries a packet moves to the other device;
/// nothing is copied where both can send from the same memory.
#[derive(Debug, Parser)]
#[command(after_long_help = "\
Examples:
  waterwheel forward gen: null: --duration 5
  waterwheel forward afxdp:eth1 afxdp:eth2 --workers 2
  waterwheel forward pcap:in.pcap pcap:out.pcapng --one-way
  waterwheel forward afxdp:eth1:0 tap:tap0 --idle sleep")]
pub(crate) struct Forward {
    /// The one device, e.g. afxdp:eth1 (see 'waterwheel help devices')
    pub(crate) a: String,
    /// The other device
    pub(crate) b: String,
    /// Only from A to B
    #[arg(long)]
    pub(crate) one_way: bool,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// Receive and drop
///
/// Every packet that the device receives is counted and dropped; its page goes straight back to the pool.
#[derive(Debug, Parser)]
#[command(after_long_help = "\
Examples:
  waterwheel drop gen:size=imix --duration 5
  waterwheel drop afxdp:eth1,dst=192.0.2.0/24")]
pub(crate) struct Drop {
    /// The device, e.g. afxdp:eth1 (see 'waterwheel help devices')
    pub(crate) a: String,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// Send every packet back where it came from, its MAC addresses swapped
///
/// The page in which a packet arrives is the page in which it leaves.
#[derive(Debug, Parser)]
#[command(after_long_help = "\
Examples:
  waterwheel tx afxdp:eth1
  waterwheel tx afxdp:eth1:0 --count 1M --json")]
pub(crate) struct Tx {
    /// The device, e.g. afxdp:eth1 (see 'waterwheel help devices')
    pub(crate) a: String,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// Make traffic and send it out of a device
///
/// The same as 'forward gen:KEY=VALUE,... A --one-way', with the keys of gen: as options; --count counts the packets made.
#[derive(Debug, Parser)]
#[command(after_long_help = "\
Examples:
  waterwheel generate afxdp:eth1 --size 64 --rate 1M --duration 10
  waterwheel generate afxdp:eth1 --dst 2001:db8::1 --proto tcp --dport 443 --count 1000
  waterwheel generate afxdp:eth1 --dmac 02:00:00:00:00:02 --src 10.0.0.0/16 --gen vary=random,seed=7
  waterwheel generate pcap:out.pcapng --size imix --count 10k")]
pub(crate) struct Generate {
    /// The device to send out of, e.g. afxdp:eth1 (see 'waterwheel help devices')
    pub(crate) a: String,
    #[command(flatten)]
    pub(crate) traffic: Traffic,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// The generator's keys that are used most, as options; each is the name of a key of `gen:`.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Traffic")]
pub(crate) struct Traffic {
    /// Frame length in bytes without FCS, or imix
    #[arg(long, value_name = "BYTES")]
    pub(crate) size: Option<String>,
    /// Packets per second, e.g. 10k or 1.5M; without it as fast as it goes
    #[arg(long, value_name = "PPS")]
    pub(crate) rate: Option<String>,
    /// Megabits of packets per second, without FCS, instead of --rate
    #[arg(long, value_name = "MBPS")]
    pub(crate) mbps: Option<String>,
    /// How much is caught up on at once after a delay; the rest is given up, and told [default: 100ms]
    #[arg(long, value_name = "TIME")]
    pub(crate) burst: Option<String>,
    /// udp, tcp or icmp
    #[arg(long)]
    pub(crate) proto: Option<String>,
    /// Source address, first-last or prefix
    #[arg(long, value_name = "ADDR")]
    pub(crate) src: Option<String>,
    /// Destination address, first-last or prefix
    #[arg(long, value_name = "ADDR")]
    pub(crate) dst: Option<String>,
    /// Source port, or first-last
    #[arg(long, value_name = "PORT")]
    pub(crate) sport: Option<String>,
    /// Destination port, or first-last
    #[arg(long, value_name = "PORT")]
    pub(crate) dport: Option<String>,
    /// Source MAC address
    #[arg(long, value_name = "MAC")]
    pub(crate) smac: Option<String>,
    /// Destination MAC address
    #[arg(long, value_name = "MAC")]
    pub(crate) dmac: Option<String>,
    /// More keys of gen:, e.g. vary=random,seed=7 (see 'waterwheel help devices')
    #[arg(long, value_name = "KEY=VALUE,...", value_parser = units::keys, action = ArgAction::Append)]
    pub(crate) r#gen: Vec<String>,
}

impl Traffic {
    /// The options as keys of `gen:`.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("proto", &self.proto),
            ("src", &self.src),
            ("dst", &self.dst),
            ("sport", &self.sport),
            ("dport", &self.dport),
            ("smac", &self.smac),
            ("dmac", &self.dmac),
            ("size", &self.size),
            ("rate", &self.rate),
            ("mbps", &self.mbps),
            ("burst", &self.burst),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value.as_deref()?)))
    }
}

/// Write what a device receives to a file
///
/// The file is pcapng with nanosecond time stamps; '-' is standard output, and the statistics then go to standard error. Packets are
/// taken from the interface: steer (e.g. afxdp:eth1,proto=udp,port=53) what shall be captured, the rest goes on to the host; or let
/// all of them go on with --to. The file ends with the numbers of packets received and dropped.
#[derive(Debug, Parser)]
#[command(after_long_help = "\
Examples:
  waterwheel capture afxdp:eth1 out.pcapng --count 1000
  waterwheel capture afxdp:eth1,proto=icmp - | tcpdump -nr -
  waterwheel capture afxdp:eth1 out.pcapng --to tap:host0 --filter port=53 --snap 128
  waterwheel capture afxdp:eth1 out_%s.pcapng --file-time 1h --files 24")]
pub(crate) struct Capture {
    /// The device, e.g. afxdp:eth1 (see 'waterwheel help devices')
    pub(crate) a: String,
    /// The file to write, with or without 'pcap:'; '-' for standard output
    pub(crate) file: String,
    #[command(flatten)]
    pub(crate) captured: Captured,
    /// Let the packets go on to this device, and what comes from there go back: the capture gets copies, both ways. They go on also when the capture fails, or nobody reads it any more
    #[arg(long, value_name = "DEVICE")]
    pub(crate) to: Option<String>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// What is captured, and how it is written; each but the filter is the name of a key of `pcap:`.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Capture")]
pub(crate) struct Captured {
    /// Capture only what matches these rules, e.g. dst=10.0.0.0/8,proto=udp,port=53
    #[arg(long, value_name = "RULES", value_parser = units::keys)]
    pub(crate) filter: Option<String>,
    /// Keep so many bytes of each packet
    #[arg(long, value_name = "BYTES")]
    pub(crate) snap: Option<String>,
    /// End after so many bytes of packets were captured: 10M
    #[arg(long, value_name = "BYTES")]
    pub(crate) bytes: Option<String>,
    /// Begin another file before one has more than so many bytes; FILE has %n for its number, or %s for the seconds since 1970
    #[arg(long, value_name = "BYTES")]
    pub(crate) file_size: Option<String>,
    /// Begin another file after so long: 30s, 5m, 1h
    #[arg(long, value_name = "TIME")]
    pub(crate) file_time: Option<String>,
    /// Keep so many files: the oldest is removed
    #[arg(long, value_name = "N")]
    pub(crate) files: Option<String>,
    /// When packets are written: packet (at once), idle (when nothing more comes for a moment, and once a second at least) or full (256 KiB)
    #[arg(long, value_name = "WHEN")]
    pub(crate) flush: Option<String>,
}

impl Captured {
    /// The options as keys of `pcap:`, all but the filter.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("snap", &self.snap),
            ("bytes", &self.bytes),
            ("file-size", &self.file_size),
            ("file-time", &self.file_time),
            ("files", &self.files),
            ("flush", &self.flush),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value.as_deref()?)))
    }
}

/// Pass TCP connections on, in the pages in which their bytes were received
///
/// Each connection to LISTEN becomes one to CONNECT. A page that was received into is sent from, and comes home when the kernel holds it no more: at once when the kernel copies, else
/// when its bytes are acknowledged, or the connection is reset. The end of a stream is passed on each way by itself; a reset resets the other side.
///
/// A direction whose pages are not taken stops receiving, and slows no other: its peer finds the window closed. Needs io_uring (Linux 5.11; best from 6.1 on), and no privilege.
///
/// SIGINT and SIGTERM end it: what is under way is sent for a second at most, and the total is always printed, however many signals come.
#[derive(Debug, Parser)]
#[command(after_long_help = "\
Examples:
  waterwheel relay 0.0.0.0:8080 192.0.2.10:80
  waterwheel relay [::]:5201 [2001:db8::2]:5201 --workers 2 --json
  waterwheel relay 127.0.0.1:9000 127.0.0.1:9001 --max-connections 4096 --idle-timeout 5m
  waterwheel relay 127.0.0.1:5432 db.example.net:5432 --log-connections --plain")]
pub(crate) struct Relay {
    /// Where to accept connections, ADDR:PORT; port 0 lets the kernel choose, and the choice is said. [::] is every IPv6 address and no IPv4 address, 0.0.0.0 the
    /// other way round: for both, run two relays
    #[arg(value_parser = units::address)]
    pub(crate) listen: SocketAddr,
    /// Where to connect for each of them, ADDR:PORT or HOST:PORT; a name is looked up every half minute, and when SIGHUP comes, and its addresses are tried in turn
    #[arg(value_parser = units::target)]
    pub(crate) connect: Target,
    /// Connections at a time; more wait in the listen queue
    #[arg(long, value_name = "N", value_parser = units::positive, default_value = "1024", help_heading = "Running")]
    pub(crate) max_connections: u64,
    /// Pages of 4 KiB in the region [default: so many that each direction of each connection can have a block]
    #[arg(long, value_name = "N", value_parser = units::positive, help_heading = "Running")]
    pub(crate) pages: Option<u64>,
    /// Bytes are received into blocks of 2^ORDER pages
    #[arg(long, value_name = "ORDER", default_value_t = 2, help_heading = "Running")]
    pub(crate) order: u8,
    /// Blocks that each direction of a connection may hold before it stops receiving (some more if many bytes come at once)
    #[arg(long, value_name = "N", value_parser = units::positive, default_value = "16", help_heading = "Running")]
    pub(crate) cap: u64,
    /// Threads, each with an io_uring of its own
    #[arg(long, short, value_name = "N", value_parser = units::positive, default_value = "1", help_heading = "Running")]
    pub(crate) workers: u64,
    /// auto: without a copy unless the kernel says that it copied after all; plain: the kernel copies; zc: without a copy, whatever it says
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Sending::Auto, help_heading = "Running")]
    pub(crate) send: Sending,
    /// Reset connections on which nothing moves for so long: 30s, 5m [default: never]
    #[arg(long, value_name = "TIME", value_parser = units::duration, help_heading = "Running")]
    pub(crate) idle_timeout: Option<Duration>,
    /// End after this long: 5, 5s, 500ms, 2m [default: until a signal]
    #[arg(long, short, value_name = "TIME", value_parser = units::duration, help_heading = "Running")]
    pub(crate) duration: Option<Duration>,
    /// Huge pages of 2 MiB under the region: use them if there are any, insist on them, or leave them
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = HugePages::Try, help_heading = "Running")]
    pub(crate) huge_pages: HugePages,
    /// How often to report: 1, 500ms
    #[arg(long, short, value_name = "TIME", value_parser = units::duration, default_value = "1s", help_heading = "Reporting")]
    pub(crate) interval: Duration,
    /// Follow pages: at the end, and whenever SIGUSR1 comes, say which connection has them, and since when. Every page, or one in N (see 'waterwheel help forward')
    #[arg(long, value_name = "1/N", value_parser = units::sampling, num_args = 0..=1, require_equals = true, default_missing_value = "1/1", help_heading = "Reporting")]
    pub(crate) trace_pages: Option<Sampling>,
    /// A line for each connection that has ended: who, bytes, how long, and why it ended
    #[arg(long, help_heading = "Reporting")]
    pub(crate) log_connections: bool,
    /// One JSON object for the start, one for each interval and one for the total, each on a line: raw integers counted from the start, stable keys (docs/json.md)
    #[arg(long, help_heading = "Reporting")]
    pub(crate) json: bool,
    /// Lines instead of the live table, also at a terminal; none while nothing happens
    #[arg(long, conflicts_with = "json", help_heading = "Reporting")]
    pub(crate) plain: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sending {
    Auto,
    Plain,
    Zc,
}

/// Measure what packet memory costs here, with the peers beside it
///
/// The programs that measured the kernel's page allocator and page_pool, rebuilt over this memory; the cost of a packet on memory devices;
/// the recycling schemes of drivers under load. Contenders are measured turn by turn; ratios are ours / peer in time: below 1 is faster.
#[derive(Debug, Parser)]
#[command(after_long_help = "\
Examples:
  waterwheel bench --list
  waterwheel bench --quick
  waterwheel bench page_bench02 page_pool_simple
  waterwheel bench page_bench02/N=64 --json
  waterwheel bench --peers --report out
  waterwheel bench --json > old.json
  waterwheel bench compare old.json new.json
  waterwheel bench targets new.json")]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
pub(crate) struct Bench {
    /// What to run, e.g. page_bench02 or page_bench02/N=64 [default: everything]
    #[arg(value_name = "BENCH[/CASE]")]
    pub(crate) names: Vec<String>,
    /// Name and describe the programs
    #[arg(long)]
    pub(crate) list: bool,
    /// At a terminal, too: every figure as it comes, not only the summary. (Anywhere else, and of what is named, all of them are printed anyway)
    #[arg(long, group = "style", help_heading = "Reporting")]
    pub(crate) all: bool,
    /// Fewer and shorter runs: a minute at most; what does not fit into it is named (more with --peers, --runs or a name)
    #[arg(long)]
    pub(crate) quick: bool,
    /// Also the peers that are programs: dpdk-testpmd, and the running kernel's own XDP
    #[arg(long)]
    pub(crate) peers: bool,
    /// Runs of each contender [default: 11, with --quick 5]
    #[arg(long, value_name = "N", value_parser = units::positive)]
    pub(crate) runs: Option<u64>,
    /// One JSON object for each result, each on a line
    #[arg(long, group = "style", help_heading = "Reporting")]
    pub(crate) json: bool,
    /// Lines as the kernel's time_bench module prints them
    #[arg(long, group = "style", help_heading = "Reporting")]
    pub(crate) time_bench: bool,
    /// Also write DIR/index.html: the talk's graphs, redrawn from this run
    #[arg(long, value_name = "DIR", help_heading = "Reporting")]
    pub(crate) report: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) sub: Option<BenchSub>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchSub {
    /// Say what became slower, beyond the noise, between two runs with --json; the exit code is then 7
    ///
    /// A row is slower if even its fastest new run took longer than its slowest old one, in nanoseconds and in LOCKed increments, and its
    /// median by more than 5 % and 0.02 ns. Only rows of Waterwheel's own decide the exit code.
    ///
    /// Where memory happens to lie differs from process to process and can change a row by a quarter. A file may therefore hold the
    /// output of several runs, one after the other; better take three of each than one.
    Compare {
        /// Output of 'bench --json' before
        old: PathBuf,
        /// Output of 'bench --json' after
        new: PathBuf,
    },
    /// Print what is to be reached and what a run with --json reaches, as a Markdown table: the last section of a run
    ///
    /// A limit is kept or broken if three quarters of the rounds agree, and else not resolvable above the noise. The file may hold the output
    /// of several runs, one after the other: the figure is then the median of theirs, and the spread reaches from the least to the greatest.
    Targets {
        /// Output of 'bench --peers --json'
        run: PathBuf,
    },
}

/// Look for faults: do everything at once, at random, and check every page and every byte
///
/// Packets are dropped, sent back, redirected within a thread and to others, held, shared, cut into fragments and freed on any thread.
/// Devices fail and are made anew. Pools are destroyed while their pages are out.
///
/// Every packet carries a pattern, which is checked wherever the packet is received, sent, held or freed.
/// Many times a second all threads stop, and every page must be found exactly once.
///
/// A fault ends the run: exit code 6 for leaked pages, 8 for anything else. It needs no device and no privilege.
#[derive(Debug, Parser)]
#[command(after_long_help = "\
Examples:
  waterwheel soak --duration 10m
  waterwheel soak --seed 42 --threads 4 --json")]
pub(crate) struct Soak {
    /// How long: 5, 5s, 500ms, 2m
    #[arg(long, short, value_name = "TIME", value_parser = units::duration, default_value = "10m")]
    pub(crate) duration: Duration,
    /// Seed of the random numbers: with the same one each thread does the same again, though not at the same moments [default: from the clock; it is printed]
    #[arg(long, value_name = "N", value_parser = units::count)]
    pub(crate) seed: Option<u64>,
    /// Threads that poll, up to 64; as many hold packets [default: one a CPU]
    #[arg(long, value_name = "N", value_parser = units::positive)]
    pub(crate) threads: Option<u64>,
    /// How often to report: 1, 500ms
    #[arg(long, short, value_name = "TIME", value_parser = units::duration, default_value = "10s", help_heading = "Reporting")]
    pub(crate) interval: Duration,
    /// One JSON object for the start, one for each interval and one for the total, each on a line: counted from the start, stable keys (docs/json.md)
    #[arg(long, help_heading = "Reporting")]
    pub(crate) json: bool,
}

/// Show what this machine has, and what to do before it can be used
///
/// Interfaces with their drivers, queues and XDP modes; huge pages; capabilities; limits. With a plain answer for each: ready, or what to
/// do. (How devices are named is explained by 'waterwheel help devices'.)
#[derive(Debug, Parser)]
pub(crate) struct Devices {
    /// One JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// Explain a verb, how devices are named ('help devices'), or one kind of them ('help memif')
#[derive(Debug, Parser)]
pub(crate) struct Help {
    /// A verb, 'devices', or a kind of device
    pub(crate) topic: Option<String>,
}

/// What every verb that moves packets takes.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// End after this long: 5, 5s, 500ms, 2m [default: until a signal, or until a source ends]
    #[arg(long, short, value_name = "TIME", value_parser = units::duration, help_heading = "Running")]
    pub(crate) duration: Option<Duration>,
    /// End after this many packets were received: 1000, 10k, 1.5M
    #[arg(long, short = 'n', value_name = "N", value_parser = units::positive, help_heading = "Running")]
    pub(crate) count: Option<u64>,
    /// Worker threads; each serves some of the queues [default: one for each queue, at most one a CPU]
    #[arg(long, short, value_name = "N", value_parser = units::positive, help_heading = "Running")]
    pub(crate) workers: Option<u64>,
    /// Pages of 4 KiB in the region that all devices share [default: as many as the rings and what is between them can hold]
    #[arg(long, value_name = "N", value_parser = units::positive, help_heading = "Running")]
    pub(crate) pages: Option<u64>,
    /// Huge pages of 2 MiB under the region: use them if there are any, insist on them, or leave them
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = HugePages::Try, help_heading = "Running")]
    pub(crate) huge_pages: HugePages,
    /// What a worker does when there is nothing to do: spin (lowest latency, a whole CPU), adaptive (spin a little, then sleep until
    /// something happens) or sleep (at once)
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = Idle::Adaptive, help_heading = "Running")]
    pub(crate) idle: Idle,
    /// Fail unless every afxdp: device gets zero copy
    #[arg(long, help_heading = "Running")]
    pub(crate) require_zerocopy: bool,
    /// When an interface is lost (deleted, set down, reset): wait until it is back and take it up again, or exit with code 5 once there are no two devices left between
    /// which packets could go. For afxdp: and tap: devices; what else fails, such as a file, is not waited for
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = OnDeviceLoss::Wait, help_heading = "Running")]
    pub(crate) on_device_loss: OnDeviceLoss,
    /// Follow pages: at the end, and whenever SIGUSR1 comes, say who has them, and since when. Every page, or one in N (a power of two up to 1024; the numbers
    /// are then estimates): 1/64 can be left on
    #[arg(long, value_name = "1/N", value_parser = units::sampling, num_args = 0..=1, require_equals = true, default_missing_value = "1/1", help_heading = "Reporting")]
    pub(crate) trace_pages: Option<Sampling>,
    /// How often to report: 1, 500ms
    #[arg(long, short, value_name = "TIME", value_parser = units::duration, default_value = "1s", help_heading = "Reporting")]
    pub(crate) interval: Duration,
    /// One JSON object for each interval and one for the total, each on a line: raw integers counted from the start, stable keys (docs/json.md)
    #[arg(long, help_heading = "Reporting")]
    pub(crate) json: bool,
    /// Lines instead of the live table, also at a terminal
    #[arg(long, conflicts_with = "json", help_heading = "Reporting")]
    pub(crate) plain: bool,
    #[cfg(feature = "plants")]
    #[arg(long, value_enum, hide = true)]
    pub(crate) plant: Option<Plant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Idle {
    Spin,
    Adaptive,
    Sleep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnDeviceLoss {
    Wait,
    Exit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HugePages {
    Try,
    Require,
    Never,
}

/// The process ends before there is a verb to run: help, version, or a command line that cannot be understood.
#[derive(Debug)]
pub(crate) struct Early {
    error: clap::Error,
    /// The verb, as far as it was understood.
    verb: Option<String>,
}

impl Early {
    /// Prints what there is to say, and gives the exit code.
    pub(crate) fn print(&self) -> ExitCode {
        match self.error.kind() {
            // A reader that went away (`waterwheel --help | head -1`) has read enough.
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                let _ = self.error.print();
                ExitCode::SUCCESS
            }
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                let _ = self.error.print();
                ExitCode::from(Class::Usage.exit_code())
            }
            _ => {
                report::notice(&self.one_line());
                ExitCode::from(self.class().exit_code())
            }
        }
    }

    /// A value that cannot be is of one class, whether it is an option's or a key's; none at all is something missing.
    fn class(&self) -> Class {
        let value = self.error.get(ContextKind::InvalidValue);
        match (self.error.kind(), value) {
            (ErrorKind::InvalidValue, Some(ContextValue::String(value))) if value.is_empty() => Class::Usage,
            (ErrorKind::InvalidValue | ErrorKind::ValueValidation, _) => Class::Config,
            _ => Class::Usage,
        }
    }

    /// The parser's error without its decoration, which takes many lines: what is wrong, what was probably meant, where to read on. That an option could also be
    /// passed as a name is never meant.
    fn one_line(&self) -> String {
        let mut line = String::new();
        for paragraph in self.error.to_string().split("\n\n") {
            let words = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
            if let Some(error) = words.strip_prefix("error: ") {
                line.push_str(error);
            } else if let Some(tip) = words.strip_prefix("tip: ").filter(|tip| !tip.starts_with("to pass '")) {
                line.push_str("; ");
                line.push_str(tip);
            }
        }
        let verb = self.verb.as_ref().map(|verb| format!(" {verb}")).unwrap_or_default();
        format!("{line} (see 'waterwheel{verb} --help')")
    }
}

pub(crate) fn parse(args: impl Iterator<Item = OsString>) -> Result<Verb, Early> {
    let args = joined(args);
    let verb = args.get(1).and_then(|word| word.to_str()).filter(|word| verbs().iter().any(|verb| verb == word));
    let verb = verb.map(str::to_owned);
    Args::try_parse_from(args).map(|args| args.verb).map_err(|error| Early { error, verb })
}

/// Puts values to their options where the parser would take them for something else: a share of the pages for a device, a negative number for an option.
fn joined(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut all: Vec<OsString> = Vec::new();
    let mut only_names = false;
    for arg in args {
        let text = arg.to_str().unwrap_or_default();
        let option = all.last().and_then(|last| last.to_str()).filter(|last| !only_names && last.starts_with('-'));
        let belongs = option.filter(|option| !option.contains('=')).is_some_and(|option| {
            let is_share = option == "--trace-pages" && text.starts_with(|c: char| c.is_ascii_digit());
            is_share || text.strip_prefix('-').is_some_and(|text| text.starts_with(|c: char| c.is_ascii_digit()))
        });
        match all.last_mut().filter(|_| belongs) {
            Some(option) => option.push(format!("={text}")),
            None => {
                only_names |= text == "--";
                all.push(arg);
            }
        }
    }
    all
}

/// What `waterwheel [VERB] --help` prints.
pub(crate) fn help(verb: Option<&str>) -> io::Result<()> {
    match Args::try_parse_from(["waterwheel"].into_iter().chain(verb).chain(["--help"])) {
        Err(help) => help.print(),
        Ok(_) => Ok(()), // never: --help ends the parsing
    }
}

/// Every verb's name.
pub(crate) fn verbs() -> Vec<String> {
    Args::command().get_subcommands().map(|verb| verb.get_name().to_owned()).collect()
}
