//! Not even to read: its counters are plain numbers.
use waterwheel::{PagePool, PoolParams, Zone, ZoneParams};

fn sent<T: Send>(_: &T) {}
fn shared<T: Sync>(_: &T) {}

fn main() {
    let zone = Zone::new(&ZoneParams::pages(8)).unwrap();
    let pool = PagePool::new(&zone, PoolParams::default()).unwrap();
    sent(&pool);
    shared(&zone);
    shared(&pool); //~ E0277
}
