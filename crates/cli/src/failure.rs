//! How a run fails: one line, and a class that is the exit code.

use std::fmt;
use std::io;

use waterwheel_dev::spec::{Problem, SpecError};

/// The classes of failure; scripts tell them apart by the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Whatever has no class of its own, e.g. an output that cannot be written.
    Other,
    /// The command line cannot be understood: something is missing, or unknown.
    Usage,
    /// It can be understood and asks for what cannot be: a value that an option or a key cannot have, a bad file, a region too small.
    Config,
    /// This process may not do it.
    Permission,
    /// A device is not there, is taken, or failed.
    Device,
    /// Pages are missing after the run.
    Leak,
    /// Something became slower.
    Slower,
    /// Something that must hold does not.
    Broken,
    /// A worker panicked.
    Panicked,
}

impl Class {
    /// The process's exit code.
    pub(crate) const fn exit_code(self) -> u8 {
        match self {
            Self::Other => 1,
            Self::Usage => 2,
            Self::Config => 3,
            Self::Permission => 4,
            Self::Device => 5,
            Self::Leak => 6,
            Self::Slower => 7,
            Self::Broken => 8,
            Self::Panicked => 9,
        }
    }
}

/// What the help text says about exit codes.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    success, also when stopped by SIGINT, SIGTERM or --duration
  1    anything that has no code of its own
  2    usage: something is missing or unknown: a verb, an option, a kind of device, a key
  3    config: a value that an option or a key cannot have, a bad file, too few pages for the rings
  4    permission: a capability is missing (which one is said)
  5    device: unknown interface or host, taken by another process, failed while running and not back at the end (see --on-device-loss),
       or failed at the end, so that packets it took could not be written (drop reason 'unsent');
       a capture beside traffic (--to) that failed
  6    pages leaked: the account after the run (of 'soak': also during it) found pages that nobody holds, or that two hold
  7    slower: 'bench compare' found that something became slower
  8    broken: 'soak' found a corrupt packet, a page with two holders, or another promise that does not hold
  9    a worker panicked: the others went on until the end, and everything was counted
  130, 143  forced by a second SIGINT, SIGTERM while draining (129: SIGHUP)";

/// A run that ends in an error.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) class: Class,
    /// One line: what was wrong, and the way out.
    pub(crate) message: String,
    broken_pipe: bool,
}

impl Failure {
    pub(crate) fn new(class: Class, message: impl fmt::Display) -> Self {
        Self { class, message: message.to_string(), broken_pipe: false }
    }

    /// The output could not be written.
    pub(crate) fn output(error: &io::Error) -> Self {
        Self {
            class: Class::Other,
            message: format!("cannot write the output: {error}"),
            broken_pipe: error.kind() == io::ErrorKind::BrokenPipe,
        }
    }

    /// The reader of our output went away: it has what it wanted, as in `waterwheel ... | head`.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        self.broken_pipe
    }
}

impl From<SpecError> for Failure {
    fn from(error: SpecError) -> Self {
        let class = match error.problem {
            Problem::BadValue { .. } | Problem::BadQueue(_) => Class::Config,
            _ => Class::Usage,
        };
        Self::new(class, error)
    }
}
