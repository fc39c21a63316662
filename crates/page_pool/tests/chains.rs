//! Pages that lead others, put into a pool: each goes to where it is from.

mod common;

use common::{RX, TX, assert_balance, assert_whole, node_zone, pool, take, zone};
use waterwheel_page_pool::mm::{Page, Zone};
use waterwheel_page_pool::{PagePool, PoolParams};

/// The first page with the others behind it.
fn lead(mut pages: Vec<Page>) -> Page {
    let rest = pages.split_off(1);
    let mut first = pages.remove(0);
    rest.into_iter().for_each(|page| first.append(page, 0..0));
    first
}

fn with_floors(zone: &Zone) -> PagePool {
    PagePool::new(zone, PoolParams { limit: 16, floor_rx: 4, floor_tx: 4, ..PoolParams::default() }).expect("a pool")
}

/// Pages of both directions and of another pool in one chain, whichever of them leads it.
fn mixed(here: &mut PagePool, there: &mut PagePool, turn: usize) -> Page {
    let mut pages = [take(here, RX, 2), take(here, TX, 2), take(there, RX, 1)].concat();
    pages.rotate_left(turn);
    lead(pages)
}

trait Concat {
    fn concat(self) -> Vec<Page>;
}

impl<const N: usize> Concat for [Vec<Page>; N] {
    fn concat(self) -> Vec<Page> {
        self.into_iter().flatten().collect()
    }
}

#[test]
fn each_page_of_a_chain_goes_to_its_own_pool_and_direction() {
    let (zone, elsewhere) = (zone(64), zone(64));
    let (mut here, mut there) = (with_floors(&zone), pool(&elsewhere, 16));
    for turn in 0..15 {
        let chain = mixed(&mut here, &mut there, turn % 5);
        assert_eq!((here.outstanding(), there.outstanding()), (4, 1));
        match turn / 5 {
            0 => here.put(chain),
            1 => {
                let mut pages = [take(&mut here, RX, 1), vec![chain], take(&mut here, TX, 1)].concat();
                here.put_bulk(&mut pages);
            }
            _ => {
                let chain = chain.share();
                drop((chain.clone(), chain)); // the last of two
            }
        }
        assert_eq!((here.outstanding(), there.outstanding()), (0, 0));
        // The floors hold: what each direction has given back is there for it again, and no more.
        let (rx, tx) = (take(&mut here, RX, 12), take(&mut here, TX, 4));
        assert!(here.alloc(RX).is_none() && here.alloc(TX).is_none());
        rx.into_iter().chain(tx).for_each(|page| here.put(page));
        assert_balance(&zone, &mut here, 0);
    }
    drop((here, there));
    assert_whole(&zone);
    assert_whole(&elsewhere);
}

#[test]
fn pages_of_the_former_node_do_not_hide_behind_one_of_the_new() {
    let (old, new) = (node_zone(64, 0), node_zone(64, 1));
    for bulk in [false, true] {
        let mut pool = pool(&old, 16);
        let former = take(&mut pool, RX, 2);
        pool.set_zone(&new).expect("nothing is mapped");
        let chain = lead([take(&mut pool, RX, 1), former, take(&mut pool, RX, 1)].concat());
        if bulk {
            pool.put_bulk(&mut vec![chain])
        } else {
            pool.put(chain)
        }
        assert_eq!((pool.outstanding(), pool.stats().alloc_waive), (0, 2));
        assert_whole(&old);
        drop(pool);
        assert_whole(&new);
    }
}
