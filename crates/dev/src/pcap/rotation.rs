//! One file after the other.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::params::PcapWriteParams;
use crate::error::DevError;
use crate::value::usage;

/// The files of a capture: which is written, and which are kept.
#[derive(Debug)]
pub(super) struct Files {
    /// With `%n` or `%s`, if there may be several.
    template: PathBuf,
    /// Of the present one, from 1.
    number: u64,
    begun: Instant,
    /// Bytes of the present one.
    bytes: u64,
    /// Of its header.
    header: u64,
    kept: VecDeque<PathBuf>,
}

impl Files {
    /// # Errors
    /// Several files would have one name; files are to be kept, and there is only one.
    pub(super) fn new(template: &Path, params: &PcapWriteParams) -> Result<Self, DevError> {
        let text = template.to_string_lossy();
        if params.rotates() && !text.contains("%n") && !text.contains("%s") {
            return Err(usage(format!(
                "{text}: several files need several names: put %n (number) or %s (seconds) into it"
            )));
        }
        if params.files.is_some() && !params.rotates() {
            return Err(usage("files: there is only one file without file-size or file-time"));
        }
        Ok(Self {
            template: template.into(),
            number: 0,
            begun: Instant::now(),
            bytes: 0,
            header: 0,
            kept: VecDeque::new(),
        })
    }

    /// The name of the next file, at this time in nanoseconds since the epoch.
    pub(super) fn next(&self, params: &PcapWriteParams, now: u64) -> PathBuf {
        if !params.rotates() {
            return self.template.clone();
        }
        let text = self.template.to_string_lossy();
        let text = text.replace("%n", &(self.number + 1).to_string());
        text.replace("%s", &(now / 1_000_000_000).to_string()).into()
    }

    /// The next file is begun, with a header of so many bytes. Removes those that are too many.
    pub(super) fn begin(&mut self, params: &PcapWriteParams, path: PathBuf, header: usize) -> io::Result<()> {
        self.number += 1;
        self.begun = Instant::now();
        (self.bytes, self.header) = (header as u64, header as u64);
        self.kept.push_back(path);
        while params.files.is_some_and(|most| self.kept.len() > most) {
            let removed = self.kept.pop_front().map_or(Ok(()), std::fs::remove_file);
            removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
        }
        Ok(())
    }

    /// Whether a record of `len` bytes belongs into another file.
    pub(super) fn is_full(&self, params: &PcapWriteParams, len: u64) -> bool {
        let size = params.file_size.is_some_and(|most| self.bytes > self.header && self.bytes + len > most);
        size || params.file_time.is_some_and(|most| self.begun.elapsed() >= most)
    }

    pub(super) fn add(&mut self, len: u64) {
        self.bytes += len;
    }
}
