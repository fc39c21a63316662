//! TCP relays, each a process: ours, socat, HAProxy.

use super::child::Talk;
use super::kernel::Namespace;
use crate::programs::usage;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// It listens within this time.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Bytes that socat reads at once: its own 8192 would cost it a multiple.
const SOCAT_BLOCK: usize = crate::programs::relay::MESSAGE;

/// Who relays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contender {
    Ours,
    Socat,
    HaProxy,
    HaProxySplice,
}

impl Contender {
    pub(crate) const ALL: [Self; 4] = [Self::Ours, Self::Socat, Self::HaProxy, Self::HaProxySplice];

    /// As it is called in the rows.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "waterwheel relay",
            Self::Socat => "socat",
            Self::HaProxy => "haproxy",
            Self::HaProxySplice => "haproxy, splice-auto",
        }
    }

    /// What it does.
    pub(crate) fn work(self) -> String {
        match self {
            Self::Ours => "io_uring: received into pages of the pool, and sent from there; its defaults".to_owned(),
            Self::Socat => format!("-b {SOCAT_BLOCK} TCP-LISTEN,fork TCP: read and written"),
            Self::HaProxy => {
                "mode tcp, nbthread 1, nosplice: received into a buffer of 16 KiB, and sent from there".to_owned()
            }
            Self::HaProxySplice => {
                "the same with `option splice-auto`: pages go from socket to socket by splice(2)".to_owned()
            }
        }
    }

    /// Starts it on `cpu`, in `namespace`; it ends with the calling thread at the latest. Each listens at a port of its own, behind that of `listen`; the first, ours, at that.
    pub(crate) fn start(
        self,
        cpu: usize,
        namespace: &Namespace,
        listen: SocketAddr,
        connect: SocketAddr,
    ) -> Result<Process, String> {
        let mut file = None;
        let listen = self.address(listen);
        let program = match self {
            Self::Ours => {
                let own = std::env::current_exe().map_err(|error| format!("where this program is: {error}"))?;
                let words = ["relay".to_owned(), listen.to_string(), connect.to_string()];
                std::iter::once(own.to_string_lossy().into_owned()).chain(words).collect::<Vec<_>>()
            }
            Self::Socat => {
                let (from, to) = (
                    format!("TCP-LISTEN:{},bind={},fork,reuseaddr,backlog=1024", listen.port(), listen.ip()),
                    format!("TCP:{connect}"),
                );
                ["socat", "-b", &SOCAT_BLOCK.to_string(), &from, &to].map(str::to_owned).to_vec()
            }
            Self::HaProxy | Self::HaProxySplice => {
                let path = file.insert(Scratch::new(&self.haproxy(listen, connect))?).0.to_string_lossy().into_owned();
                ["haproxy", "-db", "-f", &path].map(str::to_owned).to_vec()
            }
        };
        // It ends with us, however we end: setpriv asks the kernel for that. Each of these becomes the next one.
        let mut command = Command::new("nsenter");
        command.args([&format!("--net={}", namespace.path()), "setpriv", "--pdeathsig", "KILL"]);
        command.args(["taskset", "-c", &cpu.to_string()]).args(&program);
        let mut process = Process { talk: Talk::start(command)? };
        let deadline = Instant::now() + PATIENCE;
        while !namespace.run(|| listens(listen))? {
            match process.talk.hear(LOOK_AGAIN, |_| None::<()>) {
                Err(why) if why.starts_with("it ended") || Instant::now() > deadline => return Err(why),
                _ => {}
            }
        }
        Ok(process)
    }

    /// Where it listens.
    pub(crate) fn address(self, mut first: SocketAddr) -> SocketAddr {
        first.set_port(first.port() + self as u16);
        first
    }

    fn haproxy(self, listen: SocketAddr, connect: SocketAddr) -> String {
        let (global, option) = if self == Self::HaProxySplice { ("", "option splice-auto") } else { ("nosplice", "") };
        format!(
            "global\n maxconn 2000\n nbthread 1\n {global}\ndefaults\n mode tcp\n timeout connect 5s\n timeout client 1m\n timeout server 1m\n {option}\nlisten relay\n bind {listen}\n server all {connect}\n"
        )
    }
}

/// A relay that runs.
pub(crate) struct Process {
    talk: Talk,
}

impl Process {
    /// Nanoseconds of CPU time that it and its children have taken, user and system (`/proc/PID/task/TID/schedstat`, the first field).
    pub(crate) fn cpu_time(&self) -> Result<u64, String> {
        tree(self.talk.pid()).ok_or_else(|| "it has ended".to_owned())
    }
}

/// CPU time of a process and of its children that are there.
fn tree(pid: u32) -> Option<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        sum += usage::nanoseconds(&task.path());
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default(); // it may end meanwhile
        sum += children.split_whitespace().filter_map(|child| tree(child.parse().ok()?)).sum::<u64>();
    }
    Some(sum)
}

/// Whether somebody in the namespace of the calling thread listens there (`/proc/net/tcp`: state 0A).
fn listens(address: SocketAddr) -> Result<bool, String> {
    const FILE: &str = "/proc/thread-self/net/tcp";
    let all = fs::read_to_string(FILE).map_err(|error| format!("{FILE}: {error}"))?;
    let port = format!(":{:04X}", address.port());
    let listening = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next().is_some_and(|local| local.ends_with(&port)) && fields.nth(1) == Some("0A")
    };
    Ok(all.lines().any(listening))
}

/// A file that goes in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(text: &str) -> Result<Self, String> {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("waterwheel-relay-{}-{number}.cfg", std::process::id()));
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
