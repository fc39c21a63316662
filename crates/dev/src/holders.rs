//! Who holds a program, a queue or a tap: what `/proc` tells about processes.

use std::fs;

/// A process in words: `process 123 (name)`.
fn process(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    if pid == std::process::id() {
        return format!("this very process ({pid})");
    }
    format!("process {pid} ({})", name.trim_end())
}

/// All processes that can be seen, this one included.
fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Those in the network namespace of this thread: names and queues of another one are others.
fn pids_here() -> impl Iterator<Item = u32> {
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let (here, own) = (namespace("thread-self"), std::process::id());
    pids().filter(move |pid| *pid == own || namespace(&pid.to_string()) == here)
}

/// How many descriptors of a process have this line in their `fdinfo`.
fn descriptors(pid: u32, key: &str, value: &str) -> usize {
    let has = |text: &str| text.lines().any(|line| line.strip_prefix(key).is_some_and(|found| found.trim() == value));
    let all = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
    all.filter(|entry| fs::read_to_string(entry.path()).is_ok_and(|text| has(&text))).count()
}

/// The process that has a descriptor of the program, or of a link to it, open. A program that `ip link` attached has no such process. Ids are those of the whole machine, and so
/// are those who may hold it.
#[cfg(feature = "af_xdp")]
pub(crate) fn of_program(id: u32) -> Option<String> {
    pids().find(|pid| descriptors(*pid, "prog_id:", &id.to_string()) > 0).map(process)
}

/// Processes that have an AF_XDP socket with its fill ring mapped: sockets in `/proc/PID/maps` at the offset where only that ring can be. Which interface they
/// use cannot be seen. `own`: sockets that this process has for the asking.
#[cfg(feature = "af_xdp")]
pub(crate) fn of_sockets(own: usize) -> Vec<String> {
    let sockets = |pid: u32| {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        maps.lines().filter(|line| line.contains(" 100000000 ") && line.contains("socket:[")).count()
    };
    let allowed = |pid: u32| if pid == std::process::id() { own } else { 0 };
    pids_here().filter(|pid| sockets(*pid) > allowed(*pid)).map(process).collect()
}

/// Processes that have a queue of a tap. `own`: queues that this process has for the asking.
#[cfg(feature = "tap")]
pub(crate) fn of_tap(interface: &str, own: usize) -> Vec<String> {
    let allowed = |pid: u32| if pid == std::process::id() { own } else { 0 };
    pids_here().filter(|pid| descriptors(*pid, "iff:", interface) > allowed(*pid)).map(process).collect()
}
