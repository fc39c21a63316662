//! A page that was put back is not looked at any more.
use waterwheel::{Direction, PagePool, PoolParams, Zone, ZoneParams};

fn main() {
    let zone = Zone::new(&ZoneParams::pages(8)).unwrap();
    let mut pool = PagePool::new(&zone, PoolParams::default()).unwrap();
    let page = pool.alloc(Direction::Rx).unwrap();
    pool.put(page);
    assert_eq!(page[0], 0); //~ E0382
}
