//! Where a loop keeps the things that it has out, as the peers' loops in C keep theirs: in an array, each stored once and loaded once, without a length or a mark
//! that would be written for each.
#![expect(unsafe_code, reason = "places are written and read without a mark that says so")]

use std::arch::asm;
use std::mem::MaybeUninit;

/// `thing`, of which the compiler has to take everything for changed. It stays in a register: `black_box` would store and load the pointer, and every access to the
/// thing would wait for that (the peers' loops do it this way, too).
#[inline(always)]
pub(crate) fn opaque<T>(thing: &mut T) -> &mut T {
    let mut pointer: *mut T = thing;
    // SAFETY: no instruction; the pointer is what it was, and by the compiler's lights anything may have been done with the thing, as the reference allows.
    unsafe {
        asm!("/* {0} */", inout(reg) pointer, options(nostack, preserves_flags));
        &mut *pointer
    }
}

/// Places for so many things. Between two rounds they are empty.
pub(crate) struct Store<T>(Box<[MaybeUninit<T>]>);

impl<T> Store<T> {
    pub(crate) fn new(places: usize) -> Self {
        Self(Box::new_uninit_slice(places))
    }

    /// Takes one thing for each place, then gives all away in the same order. The compiler has to take them for changed in between. `with` is what both work on.
    #[inline]
    pub(crate) fn round<S>(
        &mut self,
        with: &mut S,
        mut take: impl FnMut(&mut S) -> T,
        mut give: impl FnMut(&mut S, T),
    ) {
        for place in &mut self.0 {
            place.write(take(with)); // if it panics, what is in the places before is forgotten
        }
        for place in opaque(&mut self.0) {
            // SAFETY: written above, and read once, as nothing looks at it before the next round writes it.
            give(with, unsafe { place.assume_init_read() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Store;

    #[test]
    fn things_are_given_away_in_the_order_in_which_they_were_taken() {
        let mut store = Store::new(3);
        for round in 0..2 {
            let mut log = Vec::new();
            let mut next = 10 * round;
            store.round(
                &mut log,
                |log| {
                    next += 1;
                    log.push(next);
                    next.to_string()
                },
                |log, thing| log.push(100 + thing.parse::<i32>().expect("a number")),
            );
            assert_eq!(log, [1, 2, 3, 101, 102, 103].map(|n| n + 10 * round));
        }
    }
}
