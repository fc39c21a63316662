//! The baselines of the originals, without which the other rows cannot be judged.

use crate::harness::session::{empty_loop, locked_increments, locks};
use crate::harness::{Case, Program};

pub(crate) fn program() -> Program {
    let case = |name: &'static str, work: &'static str, body: fn(u64)| {
        Case::new(name, "baseline", 0, move |group| {
            group.baseline(name, work, 1, body);
            group.measure()
        })
    };
    Program {
        name: "baseline",
        about: "an empty loop, a LOCKed increment, a lock taken and released: the units of everything else",
        answers: "for_loop, atomic_inc and lock of the kernel's time_bench_sample and bench_page_pool_simple",
        notes: vec![],
        cases: vec![
            case("for_loop", "nothing, after the empty loop was subtracted: what the harness itself adds", empty_loop),
            case("atomic_inc", "one LOCKed increment of a number that no other CPU uses", locked_increments),
            case("lock", "std::sync::Mutex, taken and released without contention: two LOCKed instructions", locks),
        ],
    }
}
