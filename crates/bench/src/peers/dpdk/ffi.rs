//! The C functions of this folder, made safe.
#![expect(unsafe_code, reason = "calls C")]

use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::io;
use std::ptr::NonNull;

/// What a loop does with an object, as in `dpdk.h`.
pub(super) mod what {
    pub(in super::super) const MBUF: i32 = 1;
    pub(in super::super) const BULK: i32 = 2;
    pub(in super::super) const TOUCH: i32 = 4;
    pub(in super::super) const PLAIN: i32 = 8;
    pub(in super::super) const MANY: i32 = 16;
    pub(in super::super) const WORD: i32 = 32;
}

/// Most objects that the loops over rings handle at a time (`BATCH_MAX`).
pub(super) const BATCH_MAX: usize = 256;

unsafe extern "C" {
    fn waterwheel_dpdk_init(cpu: c_uint, megabytes: c_uint) -> c_int;
    fn waterwheel_dpdk_enter() -> c_int;
    fn waterwheel_dpdk_leave();
    fn waterwheel_dpdk_pool(name: *const c_char, objects: c_uint, data_room: c_uint) -> *mut c_void;
    fn waterwheel_dpdk_pool_free(pool: *mut c_void);
    fn waterwheel_dpdk_available(pool: *mut c_void) -> c_uint;
    fn waterwheel_dpdk_loop(pool: *mut c_void, o: *mut *mut c_void, n: c_uint, loops: u64, what: c_int) -> u64;
    fn waterwheel_dpdk_ring(name: *const c_char, slots: c_uint, what: c_int) -> *mut c_void;
    fn waterwheel_dpdk_ring_free(ring: *mut c_void);
    fn waterwheel_dpdk_ring_loop(ring: *mut c_void, n: c_uint, loops: u64, what: c_int) -> u64;
    fn waterwheel_dpdk_produce(
        rings: *const *mut c_void,
        count: c_uint,
        pool: *mut c_void,
        n: c_uint,
        total: u64,
        what: c_int,
    );
    fn waterwheel_dpdk_consume(ring: *mut c_void, pool: *mut c_void, n: c_uint, total: u64, what: c_int);
}

/// Starts DPDK's environment, once in a process, with the calling thread as lcore 0 on `cpu`.
pub(super) fn init(cpu: usize, megabytes: u32) -> io::Result<()> {
    // SAFETY: takes numbers only; the caller sees to "once".
    match unsafe { waterwheel_dpdk_init(cpu as c_uint, megabytes) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// That the calling thread is an lcore, and so has a cache of its own in each pool, for as long as this lives. It stays on its thread.
pub(super) struct Lcore {
    leaves: bool,
    on_one_thread: std::marker::PhantomData<*mut ()>,
}

impl Lcore {
    pub(super) fn enter() -> Option<Self> {
        // SAFETY: needs an environment that was started, as pools and rings do, whose holders call this.
        let entered = unsafe { waterwheel_dpdk_enter() };
        (entered >= 0).then_some(Self { leaves: entered == 1, on_one_thread: std::marker::PhantomData })
    }
}

impl Drop for Lcore {
    fn drop(&mut self) {
        if self.leaves {
            // SAFETY: on the thread that entered, as this type is not Send.
            unsafe { waterwheel_dpdk_leave() }
        }
    }
}

/// A pool of mbufs. It goes with this; its objects are all in it then.
pub(super) struct Pool(NonNull<c_void>);

// SAFETY: DPDK's pools may be used by several threads: each with its own cache, or without one, in front of an MP/MC ring.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

impl Pool {
    /// `None`: out of memory. The environment has been started.
    pub(super) fn new(name: &str, objects: usize, data_room: usize) -> Option<Self> {
        let name = CString::new(name).ok()?;
        // SAFETY: the name is a C string, which is copied.
        let pool = unsafe { waterwheel_dpdk_pool(name.as_ptr(), objects as c_uint, data_room as c_uint) };
        NonNull::new(pool).map(Self)
    }

    /// Objects that are in the pool and its caches.
    pub(super) fn available(&self) -> usize {
        // SAFETY: the pool lives.
        unsafe { waterwheel_dpdk_available(self.0.as_ptr()) as usize }
    }

    /// Takes as many objects as there are places and gives them back, `loops` times; tells how often it could.
    pub(super) fn each(&self, places: &mut [usize], loops: u64, what: i32) -> u64 {
        let (places, count) = (places.as_mut_ptr().cast(), places.len() as c_uint);
        // SAFETY: the pool lives; there are `count` places, each the size of a pointer.
        unsafe { waterwheel_dpdk_loop(self.0.as_ptr(), places, count, loops, what) }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: nobody has it any more: every loop borrows it, and gives back what it took.
        unsafe { waterwheel_dpdk_pool_free(self.0.as_ptr()) }
    }
}

/// A ring with one consumer.
pub(super) struct Ring(NonNull<c_void>);

// SAFETY: a ring may be used by several threads; that one consumes, and as many produce as was said, is for the callers to keep to; all of this crate's do.
unsafe impl Send for Ring {}
// SAFETY: as above.
unsafe impl Sync for Ring {}

impl Ring {
    /// `None`: out of memory, or `slots` is no power of two. The environment has been started.
    pub(super) fn new(name: &str, slots: usize, what: i32) -> Option<Self> {
        let name = CString::new(name).ok()?;
        // SAFETY: the name is a C string, which is copied.
        NonNull::new(unsafe { waterwheel_dpdk_ring(name.as_ptr(), slots as c_uint, what) }).map(Self)
    }

    /// `batch` numbers in and out again, `loops` times; tells how often it could.
    pub(super) fn both(&mut self, batch: usize, loops: u64, what: i32) -> u64 {
        assert!(batch <= BATCH_MAX);
        // SAFETY: the ring lives and is not used elsewhere; the batch fits the function's array.
        unsafe { waterwheel_dpdk_ring_loop(self.0.as_ptr(), batch as c_uint, loops, what) }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: nobody has it any more.
        unsafe { waterwheel_dpdk_ring_free(self.0.as_ptr()) }
    }
}

/// A stretch of work across CPUs.
#[derive(Clone, Copy)]
pub(super) struct Haul<'p> {
    pub(super) pool: &'p Pool,
    pub(super) batch: usize,
    /// As in [`what`], for producer, consumer and the making of the ring alike.
    pub(super) what: i32,
}

impl Haul<'_> {
    /// Takes `total` objects from the pool, if there is one to the load, and gives them to the rings in turn.
    pub(super) fn produce(self, rings: &[&Ring], total: u64) {
        assert!(self.batch <= BATCH_MAX && total.is_multiple_of(self.batch as u64) && rings.len() <= 64);
        let mut pointers = [std::ptr::null_mut(); 64];
        std::iter::zip(&mut pointers, rings).for_each(|(pointer, ring)| *pointer = ring.0.as_ptr());
        let (pool, batch) = (self.pool.0.as_ptr(), self.batch as c_uint);
        // SAFETY: pool and rings live; there are as many pointers as is said; the batch fits the function's array and divides the total.
        unsafe { waterwheel_dpdk_produce(pointers.as_ptr(), rings.len() as c_uint, pool, batch, total, self.what) }
    }

    /// Takes `total` objects out of the ring and gives them back to the pool.
    pub(super) fn consume(self, ring: &Ring, total: u64) {
        assert!(self.batch <= BATCH_MAX);
        // SAFETY: pool and ring live; the batch fits the function's array.
        unsafe {
            waterwheel_dpdk_consume(ring.0.as_ptr(), self.pool.0.as_ptr(), self.batch as c_uint, total, self.what);
        }
    }
}
