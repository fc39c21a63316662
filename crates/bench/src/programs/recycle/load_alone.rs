//! No scheme at all: what driving the plan costs, without a page.

use super::scheme::{Scheme, Tally};

#[derive(Default)]
pub(super) struct LoadAlone(u32);

impl Scheme for LoadAlone {
    type Held = u32;

    #[inline]
    fn receive(&mut self) -> Option<u32> {
        self.0 = self.0.wrapping_add(1);
        Some(self.0)
    }

    #[inline]
    fn get_page(&self, held: &u32) -> u32 {
        *held
    }

    #[inline]
    fn let_go(&mut self, held: u32) {
        std::hint::black_box(held);
    }

    #[inline]
    fn put_page(&mut self, held: u32) {
        std::hint::black_box(held);
    }

    fn tally(&self) -> Tally {
        Tally::default()
    }
}
