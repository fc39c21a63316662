//! The count of a page's holders: the protocol of [`PageRef`](crate::PageRef) and [`PageFrag`](crate::PageFrag), apart from the pages, so that loom can explore it.

use crate::sync::{AtomicU32, Ordering, fence};

/// Above this many references something is wrong: far below the wrap, so that racing clones cannot reach it (as in `std::sync::Arc`).
const MAX: u32 = u32::MAX / 2;

/// Number of holders; 0 while the page is frozen or has a sole owner.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Refcount(AtomicU32);

impl Refcount {
    #[cfg(all(test, loom))]
    pub(crate) fn new(count: u32) -> Self {
        Self(AtomicU32::new(count))
    }

    /// What it is in this moment, for accounts.
    pub(crate) fn look(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// The sole owner hands out `count` references.
    #[inline]
    pub(crate) fn share(&self, count: u32) {
        // Relaxed: nobody else has the page; whoever gets a reference gets it from us, later.
        self.0.store(count, Ordering::Relaxed);
    }

    /// One more reference.
    #[inline]
    pub(crate) fn get(&self) {
        // Relaxed: the reference that it is cloned from keeps the page.
        if self.0.fetch_add(1, Ordering::Relaxed) > MAX {
            std::process::abort(); // a wrapped count would free a page that is in use
        }
    }

    /// `n` references less. Tells whether they were the last: then the page is the caller's.
    #[inline]
    pub(crate) fn put(&self, n: u32) -> bool {
        // When all that is left is ours, nobody else can get a reference: no locked instruction is needed.
        // Acquire: what the other holders did with the page came before their puts.
        if self.0.load(Ordering::Acquire) == n {
            self.0.store(0, Ordering::Relaxed);
            return true;
        }
        // Release: what we did with the page comes before whatever the last one does.
        if self.0.fetch_sub(n, Ordering::Release) != n {
            return false;
        }
        fence(Ordering::Acquire);
        true
    }

    /// The talk's question at 1. If so, the reference is given up, and the page is the caller's.
    #[inline]
    pub(crate) fn try_unique(&self) -> bool {
        // Acquire: what the other holders read came before their puts, and before our writes.
        self.try_unique_by(Ordering::Acquire)
    }

    /// With the ordering as an argument: a test shows that a weaker one would not do.
    #[inline(always)]
    fn try_unique_by(&self, ordering: Ordering) -> bool {
        if self.0.load(ordering) != 1 {
            return false;
        }
        self.0.store(0, Ordering::Relaxed);
        true
    }
}

#[cfg(all(test, not(loom)))]
mod limit {
    use super::{AtomicU32, MAX, Refcount};
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    /// In a process of its own.
    #[test]
    fn a_count_that_runs_over_ends_the_process() {
        const COUNT: &str = "WATERWHEEL_TEST_COUNT";
        if let Some(count) = std::env::var(COUNT).ok().and_then(|count| count.parse().ok()) {
            Refcount(AtomicU32::new(count)).get();
            std::process::exit(0);
        }
        for (count, signal) in [(1, None), (MAX, None), (MAX + 1, Some(libc::SIGABRT)), (u32::MAX, Some(libc::SIGABRT))]
        {
            let mut child = Command::new(std::env::current_exe().unwrap());
            child
                .args(["--exact", "refcount::limit::a_count_that_runs_over_ends_the_process"])
                .env(COUNT, count.to_string());
            assert_eq!(child.output().unwrap().status.signal(), signal, "{count} references, and one more");
        }
    }
}

#[cfg(all(test, loom))]
mod tests {
    //! Run with `RUSTFLAGS="--cfg loom" cargo test -p waterwheel-mm --lib --release`.

    use super::Refcount;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicU32, Ordering};
    use loom::thread;

    /// A page's bytes, whose accesses loom checks, with its count.
    struct Page {
        count: Refcount,
        bytes: UnsafeCell<()>,
        last_puts: AtomicU32,
    }

    impl Page {
        fn shared(count: u32) -> Arc<Self> {
            Arc::new(Self { count: Refcount::new(count), bytes: UnsafeCell::new(()), last_puts: AtomicU32::new(0) })
        }

        /// That there is an access is what loom checks against the others; the bytes do not matter.
        fn read(&self) {
            self.bytes.with(|_| ());
        }

        fn write(&self) {
            self.bytes.with_mut(|_| ());
        }

        fn put(&self) {
            if self.count.put(1) {
                self.write(); // what the next owner will do
                self.last_puts.fetch_add(1, Ordering::Relaxed);
            }
        }

        fn assert_put_once(&self) {
            assert_eq!((self.last_puts.load(Ordering::Relaxed), self.count.look()), (1, 0));
        }
    }

    #[test]
    fn whoever_is_last_has_the_page_to_himself() {
        loom::model(|| {
            let page = Page::shared(3);
            let holders: Vec<_> = (0..2)
                .map(|_| {
                    let page = page.clone();
                    thread::spawn(move || {
                        page.read();
                        page.put();
                    })
                })
                .collect();
            page.read();
            page.put();
            holders.into_iter().for_each(|holder| holder.join().unwrap());
            page.assert_put_once();
        });
    }

    #[test]
    fn a_clone_keeps_the_page() {
        loom::model(|| {
            let page = Page::shared(2);
            let other = page.clone();
            let holder = thread::spawn(move || {
                other.count.get();
                other.put();
                other.read();
                other.put();
            });
            page.read();
            page.put();
            holder.join().unwrap();
            page.assert_put_once();
        });
    }

    /// Two holders: both read, ask whether they are alone, and write if so.
    fn two_who_ask(question: fn(&Refcount) -> bool) {
        loom::model(move || {
            let page = Page::shared(2);
            let ask = move |page: &Page| {
                page.read();
                if question(&page.count) {
                    page.write();
                    page.last_puts.fetch_add(1, Ordering::Relaxed);
                } else {
                    page.put();
                }
            };
            let other = page.clone();
            let holder = thread::spawn(move || ask(&other));
            ask(&page);
            holder.join().unwrap();
            page.assert_put_once();
        });
    }

    #[test]
    fn who_is_told_that_he_is_alone_may_write() {
        two_who_ask(Refcount::try_unique);
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn if_the_question_were_relaxed_he_might_write_while_others_read() {
        two_who_ask(|count| count.try_unique_by(Ordering::Relaxed));
    }

    #[test]
    fn the_cutter_and_its_fragments() {
        loom::model(|| {
            const BIAS: u32 = 1 << 24;
            let page = Page::shared(BIAS);
            let holders: Vec<_> = (0..2)
                .map(|_| {
                    let page = page.clone();
                    thread::spawn(move || {
                        page.read();
                        page.put();
                    })
                })
                .collect();
            if page.count.put(BIAS - 2) {
                page.write();
                page.last_puts.fetch_add(1, Ordering::Relaxed);
            }
            holders.into_iter().for_each(|holder| holder.join().unwrap());
            page.assert_put_once();
        });
    }
}
