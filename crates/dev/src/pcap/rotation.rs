//! One file after the other.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::params::PcapWriteParams;
use super::sink::STATISTICS;
use crate::error::DevError;
use crate::value::usage;

/// The files of a capture: which is written, and which are kept.
#[derive(Debug)]
pub(super) struct Files {
    /// With `%n` or `%s`, if there may be several.
    template: PathBuf,
    /// Of the present one, from 1.
    number: u64,
    /// In the name of the present one, if it has them.
    seconds: u64,
    begun: Instant,
    /// Bytes of the present one.
    bytes: u64,
    /// Of its header.
    header: u64,
    /// Those to be kept, and the present one behind them.
    kept: VecDeque<PathBuf>,
    /// Those that could not be removed when they were too many.
    stuck: Vec<PathBuf>,
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
            seconds: 0,
            begun: Instant::now(),
            bytes: 0,
            header: 0,
            kept: VecDeque::new(),
            stuck: Vec::new(),
        })
    }

    /// The name of the next file, at this time in nanoseconds since the epoch. `None`: it is that of a file that is there, which is not to be overwritten.
    pub(super) fn next(&mut self, params: &PcapWriteParams, now: u64) -> Option<PathBuf> {
        if !params.rotates() {
            return Some(self.template.clone());
        }
        // The clock on the wall may be set back, to where the name of an earlier file is.
        self.seconds = self.seconds.max(now / 1_000_000_000);
        let text = self.template.to_string_lossy();
        let text = text.replace("%n", &(self.number + 1).to_string());
        let path = text.replace("%s", &self.seconds.to_string()).into();
        (!self.kept.contains(&path)).then_some(path)
    }

    /// The next file is begun, with a header of so many bytes. Removes those that are too many, or tries it again with the next file.
    pub(super) fn begin(&mut self, params: &PcapWriteParams, path: PathBuf, header: usize) {
        self.number += 1;
        self.begun = Instant::now();
        (self.bytes, self.header) = (header as u64, header as u64);
        self.kept.push_back(path);
        let oldest = self.kept.len().saturating_sub(params.files.unwrap_or(1));
        let oldest = self.kept.drain(..oldest);
        if params.files.is_some() {
            self.stuck.extend(oldest);
            self.stuck
                .retain(|path| std::fs::remove_file(path).is_err_and(|error| error.kind() != io::ErrorKind::NotFound));
        }
    }

    /// Files that should be gone, and could not be removed.
    pub(super) fn stuck(&self) -> u64 {
        self.stuck.len() as u64
    }

    /// Whether a record of `len` bytes belongs into another file, as behind it there must be room for the end of this one.
    pub(super) fn is_full(&self, params: &PcapWriteParams, len: u64) -> bool {
        let with = self.bytes + len + STATISTICS;
        let size = params.file_size.is_some_and(|most| self.bytes > self.header && with > most);
        size || params.file_time.is_some_and(|most| self.begun.elapsed() >= most)
    }

    pub(super) fn add(&mut self, len: u64) {
        self.bytes += len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_clock_that_is_set_back_leads_to_no_file_that_is_there() {
        let mut params = PcapWriteParams { files: Some(3), ..PcapWriteParams::default() };
        params.set("file-time", "1s").unwrap();
        let mut files = Files::new(Path::new("/nowhere/at/all/%s"), &params).unwrap();
        let mut names = Vec::new();
        for seconds in [100, 101, 99, 100, 101, 102, 50, 103, 104] {
            let Some(name) = files.next(&params, seconds * SECOND + 5) else { continue };
            files.begin(&params, name.clone(), 0);
            names.push(name);
        }
        let expected = [100, 101, 102, 103, 104].map(|seconds| PathBuf::from(format!("/nowhere/at/all/{seconds}")));
        assert_eq!(names, expected, "each name once; else the present file goes on");
        assert_eq!((files.kept.len(), files.stuck()), (3, 0));
    }

    #[test]
    fn no_more_names_are_remembered_than_are_needed() {
        let params = PcapWriteParams { file_size: Some(1), ..PcapWriteParams::default() };
        let mut files = Files::new(Path::new("/nowhere/at/all/%n"), &params).unwrap();
        for _ in 0..100 {
            let name = files.next(&params, 0).unwrap();
            files.begin(&params, name, 0);
        }
        assert_eq!((files.kept, files.number), (["/nowhere/at/all/100".into()].into(), 100));
    }
}
