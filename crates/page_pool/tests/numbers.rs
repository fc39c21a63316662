//! Every number that can be given, at its ends: it is refused, or it works.

mod common;

use common::{RX, TX, assert_balance, assert_whole, zone};
use waterwheel_page_pool::{PagePool, PoolParams};

const ENDS: [usize; 5] = [0, 1, 64, usize::MAX / 2 + 1, usize::MAX];

#[test]
fn numbers_at_their_ends_are_refused_or_work() {
    let zone = zone(64);
    for order in [11, 63, 64, u8::MAX] {
        PagePool::new(&zone, PoolParams { order, ..PoolParams::default() }).unwrap_err();
    }
    let mut made = 0;
    for (limit, high) in ENDS.into_iter().flat_map(|limit| ENDS.map(|high| (limit, Some(high)))) {
        for (floor_rx, floor_tx) in ENDS.into_iter().flat_map(|rx| ENDS.map(|tx| (rx, tx))) {
            for order in [0, 6, 10] {
                let params = PoolParams { order, limit, floor_rx, floor_tx, high, ..PoolParams::default() };
                let Ok(mut pool) = PagePool::new(&zone, params) else {
                    assert!(floor_rx.checked_add(floor_tx).is_none_or(|floors| floors > limit));
                    continue;
                };
                made += 1;
                for count in ENDS {
                    let (mut pages, most) = (Vec::new(), count.min(limit).min(64 >> order));
                    for direction in [RX, TX] {
                        pool.alloc_bulk(direction, count, &mut pages);
                        pages.extend(pool.hand_out(direction, count));
                    }
                    assert!(pages.len() <= 4 * most, "{} of {most}", pages.len());
                    assert!(count == 0 || most == 0 || floor_rx.max(floor_tx) > 0 || !pages.is_empty());
                    assert_balance(&zone, &mut pool, pages.len() << order);
                    pages.drain(..).for_each(|page| pool.put(page));
                    pool.shrink(count);
                    assert!(pool.cached() <= count);
                }
                for (len, align) in [(usize::MAX, 1), (usize::MAX, 1 << 63), (1, 1 << 63)] {
                    assert!(pool.alloc_frag(len, align).is_none());
                }
            }
        }
    }
    assert!(made > 100, "{made}");
    assert_whole(&zone);
}
