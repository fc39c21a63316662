//! The last holder lets go: of one page, or of many.

use crate::page::{FrozenPage, Page};
use crate::word::{Mark, untag};
use crate::{chain, history, lanes, owner};

/// A page whose word had `tag` has lost its last holder.
#[inline]
pub(crate) fn last_put(tag: u16, page: FrozenPage) {
    let mut page = Some(page);
    // Mostly this thread has sent pages to that owner lately, and nothing but sending is to be done. (No owner is found by the tag of a page that leads a chain.)
    lanes::with_recent(tag, |lane| {
        if lane.slot().only_sends_home()
            && let Some(sent) = page.take()
        {
            match lane.send(sent) {
                Ok(()) => lane.slot().released(),
                Err(full) => page = Some(full),
            }
        }
    });
    if let Some(page) = page {
        last_put_elsewhere(tag, page);
    }
}

/// Drops all of `pages` with one call (the kernel's `release_pages`). It is cheaper than to drop each:
/// pages that follow one another and have the same owner go back to it together.
///
/// # Panics
/// If a destructor panics. Pages that it has not reached yet stay in `pages`.
/// Of those that were to go back together, the rest is freed, and their owner's id is not given back.
pub fn release_pages(pages: &mut Vec<Page>) {
    while let Some(last) = pages.last() {
        if last.word().leads_chain() {
            drop(pages.pop());
            continue;
        }
        let (owner, mark) = (last.owner_id(), Mark::of(last.owner_id()));
        let of_the_same = pages.iter().rev().take_while(|page| page.word().has(mark)).count();
        let rest = pages.len() - of_the_same;
        lanes::with_recent(owner, |lane| {
            let slot = lane.slot();
            if slot.only_sends_home() {
                lane.send_bulk(pages, of_the_same, |page| slot.last_put(page));
                slot.released();
            }
        });
        pages.truncate(rest); // where there is no lane yet, or more to do: one by one
    }
}

#[cold]
#[inline(never)]
fn last_put_elsewhere(tag: u16, page: FrozenPage) {
    let (owner, leads_chain) = untag(tag);
    let rest = if leads_chain { Some(chain::rest_of_frozen(&page)) } else { None }; // before somebody else may have the page
    match owner::slot(owner) {
        Some(slot) => slot.last_put(page),
        None => {
            history::freed(&page);
            drop(page); // owner 0: this frees it
        }
    }
    rest.into_iter().for_each(chain::release);
}
