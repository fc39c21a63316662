//! What the fuzz targets share. `docs/decisions/fuzzing.md` tells what they are and how to run them.
#![forbid(unsafe_code)]

pub mod bpf;
pub mod capture;
pub mod device;
pub mod script;

use waterwheel::mm::{Account, HugePages, Users};
use waterwheel::{Zone, ZoneParams};

/// A zone of small pages that says it is of `node`.
///
/// Targets make their zones once, as a zone costs more than a run. Every run ends with [`assert_whole`], and a whole zone of fewer than 2048 pages is as a new one: its free
/// lists have at most one block each, so what a run does depends on its input alone.
pub fn zone(pages: usize, node: u32) -> Zone {
    assert!(pages < 2048, "{pages} pages may be free in more than one way");
    let params = ZoneParams { pages, huge_pages: HugePages::Never, node: Some(node), ..ZoneParams::default() };
    Zone::new(&params).expect("a small zone needs little memory")
}

/// The end of every run: all pages are free.
#[track_caller]
pub fn assert_whole(zone: &Zone) {
    let account = Account::open(zone).close(Users::Gone);
    assert!(account.is_whole(), "{account:?}");
}

/// Takes one of `from`, if there is any.
pub fn take<T>(from: &mut Vec<T>, which: usize) -> Option<T> {
    (!from.is_empty()).then(|| from.swap_remove(which % from.len()))
}

/// Whether all of `bytes` are `byte`: by one comparison of memory with itself, as a loop here would be watched byte by byte.
pub fn all(bytes: &[u8], byte: u8) -> bool {
    bytes.is_empty() || bytes[0] == byte && bytes[1..] == bytes[..bytes.len() - 1]
}
