#![expect(unsafe_code, reason = "the promise of whoever typed `trust=peer`")]
//! The one promise that the binary makes, on its user's word.

use waterwheel_dev::memif::{MemifParams, Trust};
use waterwheel_dev::spec::MemifSpec;

/// The parameters that a spec asks for, with trust where it asks for that.
pub(super) fn on_the_users_word(spec: MemifSpec) -> MemifParams {
    let MemifSpec { mut params, trust_peer } = spec;
    if trust_peer {
        // SAFETY: who typed `trust=peer` knows the peer and vouches for it, as the help of that key says: it can write to all packet memory. Nobody else can know, and without the word nobody is trusted.
        params.trust = Some(unsafe { Trust::peer() });
    }
    params
}
