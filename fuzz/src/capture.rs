//! A file that is memory, for what can only be read by a path: nothing is left behind, however the run ends.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, memfd_create};

/// The file. Each use of its path opens it anew, at its beginning.
#[derive(Debug)]
pub struct Capture(File);

impl Capture {
    pub fn new(bytes: &[u8]) -> Self {
        let mut file = File::from(memfd_create("capture", MemfdFlags::CLOEXEC).expect("a file in memory"));
        file.write_all(bytes).expect("memory");
        Self(file)
    }

    pub fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }
}
