//! `tap:NAME,queues=N` as parameters.

use super::{Spec, SpecError};
use crate::tap::MAX_QUEUES;

/// The keys of `tap:`, each with a line of help.
pub const TAP_KEYS: &[(&str, &str)] = &[("queues", "queues, each a device of its own, 1 to 256 (default 1)")];

/// The queues that `spec` asks for, if it says so.
///
/// # Errors
/// A key that does not exist, or a value that it cannot have.
pub fn tap_queues(spec: &Spec) -> Result<Option<u16>, SpecError> {
    let mut queues = None;
    spec.apply(TAP_KEYS, |key, value| {
        queues = value.parse().ok().filter(|queues| (1..=MAX_QUEUES).contains(queues));
        queues.map(drop).ok_or_else(|| format!("{key}={value}: want 1 to {MAX_QUEUES}"))
    })?;
    Ok(queues)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_a_number() {
        let queues = |text: &str| tap_queues(&text.parse().expect(text)).map_err(|error| error.to_string());
        assert_eq!((queues("tap:t"), queues("tap:t,queues=4")), (Ok(None), Ok(Some(4))));
        for (text, expected) in [
            ("tap:t,queues=0", "want 1 to 256"),
            ("tap:t,queues=257", "want 1 to 256"),
            ("tap:t,queues=two", "want 1 to 256"),
            ("tap:t,queue=2", "did you mean 'queues'?"),
        ] {
            let error = queues(text).expect_err(text);
            assert!(error.contains(expected), "{error}");
        }
    }
}
