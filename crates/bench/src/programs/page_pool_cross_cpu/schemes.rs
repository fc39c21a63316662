//! The ways home that are compared, each built twice of the same text: on the crates that everybody uses, to be timed, and on those that count.

use crate::harness::carry::{Sink, Source};

/// A page that can be told from others.
pub(super) trait Numbered: Send {
    /// Its index in the zone.
    fn number(&self) -> usize;
}

/// A way home: the owner's end, from which pages come, and the end of each who gives them back.
pub(super) struct Way<S, K> {
    pub(super) owner: S,
    pub(super) returners: Vec<K>,
}

/// What the owner fetches at once, as the pool does ([`waterwheel_page_pool::REFILL`]).
const REFILL: usize = waterwheel_page_pool::REFILL;

macro_rules! schemes {
    ($(#[$doc:meta])* $module:ident, $mm:ident, $page_pool:ident, $mutex:ty) => {
        $(#[$doc])*
        pub(super) mod $module {
            use super::{Numbered, REFILL, Sink, Source, Way};
            use std::sync::{Arc, PoisonError};
            use $mm::{Consumer, FrozenPage, Page, Producer, Zone, ZoneParams, ptr_ring, release_pages};
            use $page_pool::{Direction, PagePool, PoolParams};

            impl Numbered for Page {
                fn number(&self) -> usize {
                    Page::number(self) as usize
                }
            }

            /// The zone for `pages` pages, and those that are never with returners.
            pub(crate) fn zone(pages: usize) -> Result<Zone, String> {
                Zone::new(&ZoneParams::pages(pages + 2 * REFILL)).map_err(|error| error.to_string())
            }

            /// The pool; returners drop the pages, those that came together with one call.
            pub(crate) fn pool(zone: &Zone, pages: usize, returners: usize) -> Result<Way<Pool, Drops>, String> {
                let params = PoolParams { limit: pages, ..PoolParams::default() };
                let pool = PagePool::new(zone, params).map_err(|error| error.to_string())?;
                Ok(Way { owner: Pool(pool), returners: (0..returners).map(|_| Drops).collect() })
            }

            pub(crate) struct Pool(PagePool);

            impl Source<Page> for Pool {
                #[inline]
                fn one(&mut self) -> Option<Page> {
                    self.0.alloc(Direction::Rx)
                }

                #[inline]
                fn many(&mut self, out: &mut Vec<Page>, count: usize) {
                    self.0.alloc_bulk(Direction::Rx, count, out);
                }
            }

            pub(crate) struct Drops;

            impl Sink<Page> for Drops {
                #[inline]
                fn one(&mut self, page: Page) {
                    drop(page);
                }

                #[inline]
                fn many(&mut self, pages: &mut Vec<Page>) {
                    release_pages(pages);
                }
            }

            /// The shape of the kernel's page_pool: one ring for all who give back, and a lock to be its only producer. The owner has a cache before it, which it fills from the ring, else
            /// from the zone.
            pub(crate) fn one_ring(zone: &Zone, pages: usize, returners: usize) -> Result<Way<Cache, IntoRing>, String> {
                let (put, take) = ptr_ring(pages);
                let (cache, new) = (Vec::with_capacity(REFILL), Vec::with_capacity(REFILL));
                let put = Arc::new(<$mutex>::new(put));
                let returners = (0..returners).map(|_| IntoRing(put.clone())).collect();
                Ok(Way { owner: Cache { cache, ring: take, zone: zone.clone(), new, left: pages }, returners })
            }

            pub(crate) struct Cache {
                cache: Vec<Page>,
                ring: Consumer<Page>,
                zone: Zone,
                /// Pages on their way from the zone into the cache.
                new: Vec<FrozenPage>,
                /// Pages that may still be taken from the zone.
                left: usize,
            }

            impl Cache {
                #[cold]
                fn refill(&mut self) {
                    if self.ring.consume_batch(&mut self.cache, REFILL) == 0 {
                        self.left -= self.zone.alloc_bulk(0, REFILL.min(self.left), &mut self.new);
                        self.cache.extend(self.new.drain(..).map(FrozenPage::into_page));
                    }
                }
            }

            impl Source<Page> for Cache {
                #[inline]
                fn one(&mut self) -> Option<Page> {
                    if self.cache.is_empty() {
                        self.refill();
                    }
                    self.cache.pop()
                }
            }

            pub(crate) struct IntoRing(Arc<$mutex>);

            impl Sink<Page> for IntoRing {
                #[inline]
                fn one(&mut self, page: Page) {
                    let put = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Err(page) = put.produce(page) {
                        drop(page); // it is as large as there are pages
                    }
                }
            }
        }
    };
}

schemes!(
    /// To be timed.
    plain, waterwheel_mm, waterwheel_page_pool, std::sync::Mutex<Producer<Page>>
);
schemes!(
    /// To be counted.
    counted, waterwheel_mm_counted, waterwheel_page_pool_counted, waterwheel_count::Mutex<Producer<Page>>
);
