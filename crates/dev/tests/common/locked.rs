//! A process that may lock no memory.

use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, Uid, capabilities, set_capabilities, set_thread_res_uid};

/// Runs `work`, what the test `name` of this file does, in a process of its own, on a thread for which there is a limit of locked memory.
pub(crate) fn in_a_process_with_a_limit(name: &str, work: impl FnOnce()) {
    const CHILD: &str = "WATERWHEEL_TEST_CHILD";
    if std::env::var_os(CHILD).is_none() {
        let exe = std::env::current_exe().unwrap();
        let child = Command::new(exe).args(["--exact", name, "--nocapture"]).env(CHILD, "1").output().unwrap();
        let output = String::from_utf8_lossy(&child.stdout);
        let ran = child.status.success() && output.contains("1 passed");
        assert!(ran, "{output}{}", String::from_utf8_lossy(&child.stderr));
        return;
    }
    let mut sets = capabilities(None).unwrap();
    sets.effective.remove(CapabilitySet::IPC_LOCK);
    set_capabilities(None, sets).unwrap();
    if rustix::process::geteuid().is_root() {
        // What others of a user have locked counts, and may be let go in the midst of this: so this is a user of whom there is no other.
        let nobody = Uid::from_raw((1 << 30) + std::process::id());
        set_thread_res_uid(nobody, nobody, nobody).unwrap();
    }
    work();
}

/// From here on nothing can be locked. What was open before stays.
pub(crate) fn lock_nothing_more() {
    lock_at_most(0);
}

/// From here on so many bytes can be locked.
pub(crate) fn lock_at_most(bytes: u64) {
    let limit = getrlimit(Resource::Memlock);
    let current = limit.current.or(limit.maximum).map_or(bytes, |now| now.min(bytes));
    setrlimit(Resource::Memlock, Rlimit { current: Some(current), ..limit }).unwrap();
}
