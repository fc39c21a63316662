//! The same functions where there is no DPDK: all they do is say why.

use super::{Crossing, Object, RingKind};
use crate::peers::{Loop, Timed, Work};

fn why() -> String {
    option_env!("WATERWHEEL_DPDK").unwrap_or("built without the feature peers").to_owned()
}

pub(crate) fn version() -> &'static str {
    "no DPDK"
}

pub(crate) fn pool_loop(_cpu: usize, _object: Object, _work: Work) -> Result<Loop, String> {
    Err(why())
}

pub(crate) fn ring_loop(_cpu: usize, _kind: RingKind, _batch: usize, _slots: usize) -> Result<Loop, String> {
    Err(why())
}

pub(crate) fn cross(_cpu: usize, _crossing: Crossing) -> Result<Timed, String> {
    Err(why())
}
