//! What threads and pools leave behind is nothing: memory is counted while ten thousand of them come and go. (In a binary of its own, which has the allocator.)
#![expect(unsafe_code, reason = "tests: an allocator that counts")]

mod common;

use common::{RX, assert_whole, pool, take, zone};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use waterwheel_page_pool::mm::{Page, Zone};
use waterwheel_page_pool::{PagePool, PoolParams, stalled};

/// The system's allocator, counting what is out.
struct Counted;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all is left to the system's allocator.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

const MANY: usize = 10_000;
/// What tables and vectors may grow by, in bytes.
const FEW: usize = 256 << 10;
/// The same with the lanes that an owner has not looked at yet: 64 of 32 KiB.
const LANES: usize = (64 * 33) << 10;

/// Does `f` some hundred times, and then ten thousand times: the memory that is out grows no more by then, but for some `bytes`.
#[track_caller]
fn levels_off(bytes: usize, what: &str, mut f: impl FnMut()) {
    (0..300).for_each(|_| f());
    let before = LIVE.load(Ordering::Relaxed);
    (0..MANY).for_each(|_| f());
    let grown = LIVE.load(Ordering::Relaxed).saturating_sub(before);
    assert!(grown < bytes, "{what}: {grown} bytes more after {MANY} of them");
}

fn on_a_thread<T: Send + 'static>(value: T) {
    thread::spawn(move || drop(value)).join().expect("it only drops");
}

/// One test: another one's memory would be counted with it.
#[test]
fn what_has_ended_takes_no_memory() {
    let zone = zone(MANY * 2);

    let mut idle = pool(&zone, MANY + 400);
    let mut pages = take(&mut idle, RX, MANY + 300);
    levels_off(LANES + FEW, "threads that return a page to a pool which fetches nothing", || on_a_thread(pages.pop()));
    assert_eq!(idle.outstanding(), 0);
    let mut pages = take(&mut idle, RX, MANY + 300); // nothing of it got lost
    levels_off(LANES + FEW, "threads that return a page to a pool which is only asked how many are out", || {
        on_a_thread(pages.pop());
        assert_eq!(idle.outstanding(), pages.len() as u64);
    });

    let mut pages = take(&mut idle, RX, MANY + 300);
    let last = pages.pop();
    drop(idle);
    pages.extend(last);
    levels_off(LANES + FEW, "threads that return a page to a pool which is gone", || {
        on_a_thread(pages.pop());
    });
    assert_eq!(stalled().len(), 0);
    assert_whole(&zone);

    levels_off(FEW, "pools that go while a page is out", || {
        let mut pool = named(&zone);
        let page = pool.alloc(RX);
        drop(pool);
        drop(page);
    });
    assert_eq!(stalled().len(), 0);

    // The pages of fifty pools are let go after these, by a thread that has a lane to each.
    let (send, receive) = channel::<Vec<Page>>();
    let (say, done) = channel();
    let holder = thread::spawn(move || {
        for pages in receive {
            drop(pages);
            say.send(()).expect("it is heard");
        }
    });
    let mut pages = Vec::new();
    levels_off(FEW, "pools that go before a thread lets their page go", || {
        pages.extend(named(&zone).alloc(RX));
        if pages.len() == 50 {
            send.send(std::mem::take(&mut pages)).expect("the thread is there");
            done.recv().expect("it drops them");
        }
    });
    drop((send, pages));
    holder.join().expect("it only drops");
    assert_eq!(stalled().len(), 0);
    assert_whole(&zone);
}

/// A pool that takes few pages from the zone.
fn named(zone: &Zone) -> PagePool {
    PagePool::new(zone, PoolParams { limit: 2, name: "gone".to_owned(), ..PoolParams::default() }).expect("a pool")
}
