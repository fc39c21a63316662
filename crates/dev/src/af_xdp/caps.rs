//! Capabilities: which of the needed ones the calling thread does not have.

use super::error;
use crate::DevError;

/// A capability: its name and its bit (`include/uapi/linux/capability.h`).
pub(super) type Cap = (&'static str, u32);

pub(super) const NET_ADMIN: Cap = ("CAP_NET_ADMIN", 12);
pub(super) const NET_RAW: Cap = ("CAP_NET_RAW", 13);
pub(super) const IPC_LOCK: Cap = ("CAP_IPC_LOCK", 14);
const SYS_ADMIN: Cap = ("CAP_SYS_ADMIN", 21);
/// Since Linux 5.8; CAP_SYS_ADMIN includes it.
pub(super) const BPF: Cap = ("CAP_BPF", 39);

/// The error for something that the kernel did not permit: names what is missing of `needed`.
pub(super) fn missing(what: &str, needed: &[Cap]) -> DevError {
    let effective = effective();
    let has = |cap: &Cap| effective.is_some_and(|bits| bits >> cap.1 & 1 == 1);
    let missing: Vec<&str> =
        needed.iter().filter(|cap| !(has(cap) || cap.1 == BPF.1 && has(&SYS_ADMIN))).map(|cap| cap.0).collect();
    if missing.is_empty() {
        let names: Vec<&str> = needed.iter().map(|cap| cap.0).collect();
        return error::permission(format!(
            "{what}, though this process has {}: a container, security module or user namespace stands in the way",
            names.join(" and ")
        ));
    }
    let list = missing.join(" and ");
    error::permission(format!("{what}: this process lacks {list}: run it as root, or once `{}`", setcap()))
}

/// The command that gives the file of this process all that an AF_XDP device needs. What it gave before is gone then, so it is all that there is to give, and not only what is missing.
#[must_use]
pub fn setcap() -> String {
    let exe = std::env::current_exe().map_or_else(|_| "FILE".to_owned(), |exe| exe.display().to_string());
    let all = [NET_RAW, NET_ADMIN, BPF, IPC_LOCK].map(|(name, _)| name.to_lowercase());
    format!("setcap {}+ep {exe}", all.join(","))
}

/// True when the calling thread has the capability; false also when that cannot be known.
pub(super) fn has(cap: Cap) -> bool {
    effective().is_some_and(|bits| bits >> cap.1 & 1 == 1)
}

fn effective() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/thread-self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}
