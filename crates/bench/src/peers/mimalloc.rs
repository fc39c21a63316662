//! mimalloc: blocks of 4 KiB from a general allocator that is known to be fast.
#![expect(unsafe_code, reason = "calls C")]

use super::{Loop, Work};
use libmimalloc_sys::{mi_free, mi_malloc};
use std::hint::black_box;
use waterwheel_mm::PAGE_SIZE;

/// Which one, and how it was compiled.
pub(super) const VERSION: &str = "mimalloc 3 with its defaults, baseline instruction set";

/// Blocks of 4 KiB allocated and freed, `work.count` in each iteration; there are no bulk calls.
pub(super) fn pool_loop(work: Work) -> Result<Loop, String> {
    let mut store = vec![std::ptr::null_mut(); work.count];
    Ok(Box::new(move |loops| {
        for i in 0..loops {
            for place in &mut *store {
                // SAFETY: any size may be asked for.
                *place = unsafe { mi_malloc(PAGE_SIZE) };
                if work.touch && !place.is_null() {
                    // SAFETY: the block is ours, of 4 KiB, and as every block aligned for any number.
                    unsafe { place.cast::<u64>().write_volatile(i) };
                }
            }
            for &block in &*black_box(&mut store) {
                // SAFETY: it came from mi_malloc, or is null; it is freed once.
                unsafe { mi_free(block) };
            }
        }
    }))
}
