//! A fragment can be written to, so there is one handle to it.
use waterwheel::{PagePool, PoolParams, Zone, ZoneParams};

fn main() {
    let zone = Zone::new(&ZoneParams::pages(64)).unwrap();
    let mut pool = PagePool::new(&zone, PoolParams::default()).unwrap();
    let mut one = pool.alloc_frag(64, 64).unwrap();
    one[0] = 1;
    let _other = one.clone(); //~ E0599
    one[0] = 2;
}
