//! What can go wrong when a device is set up.

use std::fmt;

/// Who can mend it: the classes that the command line maps to exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The words on the command line are wrong: an unknown key, a number out of range.
    Usage,
    /// The words are right, but what they name is not: a file that is missing, or is no capture file.
    Config,
    /// The caller may not do this.
    Permission,
    /// The device, or the kernel behind it, refused.
    Device,
}

impl ErrorClass {
    /// The class as one stable lower-case word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Config => "config",
            Self::Permission => "permission",
            Self::Device => "device",
        }
    }
}

/// A device that cannot be set up: its class, and one line that names what was wrong and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevError {
    class: ErrorClass,
    message: String,
}

impl DevError {
    /// An error of `class`; line breaks in `message` become spaces, so that it stays one line.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        let message = message.into().replace(['\n', '\r'], " ");
        Self { class, message }
    }

    /// Who can mend it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        self.class
    }

    /// The line to show.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The error of a file operation on `path`: a missing right is [`ErrorClass::Permission`], a full disk [`ErrorClass::Device`], all else [`ErrorClass::Config`].
    #[cfg(feature = "pcap")]
    pub(crate) fn file(what: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        let class = match error.kind() {
            std::io::ErrorKind::PermissionDenied => ErrorClass::Permission,
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorClass::Device,
            _ => ErrorClass::Config,
        };
        Self::new(class, format!("cannot {what} {}: {error}", path.display()))
    }
}

impl fmt::Display for DevError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DevError {}
