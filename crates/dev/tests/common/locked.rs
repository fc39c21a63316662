//! A process that may lock next to no memory.

use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

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
    work();
}

/// What `open` opens, under the lowest limit that lets it: others of this user may have locked some, too.
pub(crate) fn with_as_little_as_it_takes<T, E>(mut open: impl FnMut() -> Result<T, E>) -> T {
    let limit = getrlimit(Resource::Memlock);
    let opened = (1..).find_map(|pages| {
        setrlimit(Resource::Memlock, Rlimit { current: Some(pages * 4096), ..limit }).unwrap();
        open().ok()
    });
    opened.unwrap()
}
