//! The errors of this device, by class.

use crate::{DevError, ErrorClass};

/// What was written cannot be: a number out of range, a rule with a typo.
pub(super) fn usage(message: impl Into<String>) -> DevError {
    DevError::new(ErrorClass::Usage, message)
}

/// What was written can be, but not here and now: an interface or a queue that is not there, too little memory for the rings.
pub(super) fn config(message: impl Into<String>) -> DevError {
    DevError::new(ErrorClass::Config, message)
}

/// The process may not do it; the message names the capability.
pub(super) fn permission(message: impl Into<String>) -> DevError {
    DevError::new(ErrorClass::Permission, message)
}

/// The interface, its driver or the kernel refuses.
pub(super) fn device(message: impl Into<String>) -> DevError {
    DevError::new(ErrorClass::Device, message)
}
