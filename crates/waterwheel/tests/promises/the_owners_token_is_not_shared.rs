//! A pool is one thread's at a time: what the kernel calls "protected by NAPI".
use waterwheel::{Direction, PagePool, PoolParams, Zone, ZoneParams};

fn main() {
    let zone = Zone::new(&ZoneParams::pages(8)).unwrap();
    let mut pool = PagePool::new(&zone, PoolParams::default()).unwrap();
    std::thread::scope(|threads| {
        threads.spawn(|| drop(pool.alloc(Direction::Rx)));
        drop(pool.alloc(Direction::Rx)); //~ E0499
    });
}
