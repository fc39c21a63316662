//! Who holds a program or an AF_XDP queue: what `/proc` tells about other processes.

use std::fs;
use std::path::Path;

/// A process in words: `process 123 (name)`.
fn process(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    format!("process {pid} ({})", name.trim_end())
}

/// All processes that can be seen, this one included.
fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The process that has a descriptor of the program, or of a link to it, open (`prog_id:` in its `fdinfo`). A program that `ip link` attached has no such
/// process.
pub(super) fn of_program(id: u32) -> Option<String> {
    let holds = |fdinfo: &Path| {
        let text = fs::read_to_string(fdinfo).unwrap_or_default();
        text.lines().any(|line| line.strip_prefix("prog_id:").is_some_and(|value| value.trim().parse() == Ok(id)))
    };
    let found = pids().find(|pid| {
        let fds = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
        fds.map(|entry| entry.path()).any(|path| holds(&path))
    });
    found.map(process)
}

/// Processes that have an AF_XDP socket with its fill ring mapped: sockets in `/proc/PID/maps` at the offset where only that ring can be. Which interface they
/// use cannot be seen.
pub(super) fn of_sockets() -> Vec<String> {
    let own = std::process::id();
    let uses = |pid: &u32| {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        maps.lines().any(|line| line.contains(" 100000000 ") && line.contains("socket:["))
    };
    pids().filter(|pid| *pid != own).filter(uses).map(process).collect()
}
