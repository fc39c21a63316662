#![expect(unsafe_code, reason = "takes pages and descriptors back from the kernel")]
//! What a completion means: for whom it is, what has happened, and which pages come back by it.

use std::os::fd::{FromRawFd, OwnedFd};

use arrayvec::ArrayVec;
use io_uring::cqueue;
use rustix::io::Errno;
use waterwheel_xdp::Page;

use super::buffers::Buffers;
use super::slots::{Op, PARTS, Part, PostedPart, Request, Slots, Zc};

/// `IORING_NOTIF_USAGE_ZC_COPIED` of `linux/io_uring.h`.
const USAGE_COPIED: u32 = 1 << 31;
/// The user data of what asks for the end of others. No request has it.
pub(super) const CANCEL: u64 = 0;

/// What has happened. `key` is what the request was given.
#[derive(Debug)]
#[expect(missing_docs, reason = "each variant says what its fields are")]
pub enum Event {
    /// A connection was accepted, or not.
    Accepted { key: u64, socket: Result<OwnedFd, Errno> },
    /// A connection was made, or not.
    Connected { key: u64, result: Result<(), Errno> },
    /// Bytes have come.
    Received { key: u64, part: Part },
    /// The request to receive is done: `Ok(0)` at the end of the stream, `Ok(1)` after bytes, which came by events of their own before this.
    Ended { key: u64, result: Result<u32, Errno> },
    /// A send is done: so many bytes of it. What is left of it is in `rest`, to be sent before anything else; `held` pages are still with the network (see [`Event::Released`]), and then
    /// there is no rest. EIO: a zero-copy send that was cancelled had begun, and nothing may be sent behind it.
    Sent { key: u64, result: Result<u32, Errno>, pages: usize, held: usize, rest: Vec<Part> },
    /// The network has let go of so many pages of a zero-copy send, which it had `copied` after all, or not.
    Released { key: u64, pages: usize, copied: bool },
    /// A [watched](super::Ring::watch) descriptor has something to say.
    Ready { key: u64, result: Result<u32, Errno> },
}

/// Counters of a ring.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RingStats {
    /// System calls.
    pub enters: u64,
    /// Zero-copy sends whose notification has come.
    pub zc_sent: u64,
    /// Of these, how many the kernel had copied.
    pub zc_copied: u64,
    /// Zero-copy sends that the kernel refused; they are to be sent plainly.
    pub zc_refused: u64,
    /// Completions that made no sense, or were for nobody.
    pub bad_completions: u64,
    /// What was received while the ring was closed, and reached nobody: pieces, each in a page.
    pub unread: u64,
}

/// All requests that are under way, and the pages that the kernel has.
#[derive(Default)]
pub(super) struct Requests {
    pub(super) slots: Slots,
    pub(super) buffers: Option<Buffers>,
    /// What is received begins so many bytes into its page.
    pub(super) headroom: u32,
    /// Requests to cancel others that were not answered.
    pub(super) cancels: usize,
    /// Pages that are on their way home.
    pub(super) home: Vec<Page>,
    /// What is to be told though no completion says it.
    pub(super) told: Vec<Event>,
    /// The kernel knows no report of use: Linux 6.1 and before.
    pub(super) no_report: bool,
    pub(super) stats: RingStats,
}

impl Requests {
    /// Requests without their last completion.
    pub(super) fn pending(&self) -> usize {
        self.slots.len() + self.cancels
    }

    /// The end of `op` is wanted. Whether there is something to be asked of the kernel.
    pub(super) fn cancel(&mut self, op: Op) -> bool {
        let Some(slot) = self.slots.get(op) else { return false };
        slot.cancelled = true;
        let (key, pages) = (slot.key, slot.pages());
        match slot.request {
            Some(Request::SendZc(Zc::Left(result))) => {
                // Nobody waits for the rest any more, so nobody waits for the network either.
                slot.request = Some(Request::SendZc(Zc::Held));
                let result = result.and(Err(Errno::IO));
                self.told.push(Event::Sent { key, result, pages, held: pages, rest: Vec::new() });
                false
            }
            Some(Request::SendZc(Zc::Held)) => false,
            _ => true,
        }
    }

    /// Appends what a completion says to `events`.
    pub(super) fn complete(&mut self, user_data: u64, result: i32, flags: u32, events: &mut Vec<Event>) {
        if user_data == CANCEL {
            self.cancels = self.cancels.saturating_sub(1);
            return;
        }
        let (op, more) = (Op::of(user_data), cqueue::more(flags));
        let Some((key, request)) = self.slots.get(op).and_then(|slot| Some((slot.key, slot.request?))) else {
            return self.complete_nobody(result, flags);
        };
        let outcome = errno(result);
        match request {
            Request::SendZc(zc) => return self.complete_zc(op, zc, result, flags, events),
            Request::Receive => self.receive(key, outcome, flags, events),
            _ => {}
        }
        if more {
            return;
        }
        // SAFETY: the last completion of the request, and not of a zero-copy send: the kernel has let go of its pages.
        let parts = unsafe { reclaimed(self.slots.finish(op)) };
        match request {
            Request::Accept => {
                // SAFETY: the completion of an accept gives a new descriptor.
                let socket = outcome.map(|fd| unsafe { OwnedFd::from_raw_fd(fd as i32) });
                events.push(Event::Accepted { key, socket });
            }
            Request::Connect => events.push(Event::Connected { key, result: outcome.map(|_| ()) }),
            Request::Watch => events.push(Event::Ready { key, result: outcome }),
            Request::Receive => events.push(Event::Ended { key, result: outcome.map(|len| len.min(1)) }),
            Request::ReceiveInto => {
                for Part { page, offset, len: room } in parts {
                    match outcome.unwrap_or(0).min(room) {
                        0 => self.home.push(page),
                        len => events.push(Event::Received { key, part: Part { page, offset, len } }),
                    }
                }
                events.push(Event::Ended { key, result: outcome.map(|len| len.min(1)) });
            }
            Request::Send | Request::SendZc(_) => {
                let sent = self.sent(key, parts, outcome);
                events.push(sent);
            }
        }
    }

    /// Bytes have come into pages of the buffer ring, or an error has used one up.
    fn receive(&mut self, key: u64, outcome: Result<u32, Errno>, flags: u32, events: &mut Vec<Event>) {
        let len = outcome.unwrap_or(0);
        let Some((id, buffers)) = cqueue::buffer_select(flags).zip(self.buffers.as_mut()) else {
            self.stats.bad_completions += u64::from(len > 0); // bytes without a page
            return;
        };
        let offset = self.headroom;
        let whole = received(buffers, id, len, |page, len| match len {
            0 => self.home.push(page),
            _ => events.push(Event::Received { key, part: Part { page, offset, len } }),
        });
        self.stats.bad_completions += u64::from(!whole);
    }

    /// A completion of a request that is done already, or never was. It reaches nobody; what it brings with it is not lost.
    fn complete_nobody(&mut self, result: i32, flags: u32) {
        self.stats.bad_completions += 1;
        if let Some((id, buffers)) = cqueue::buffer_select(flags).zip(self.buffers.as_mut()) {
            received(buffers, id, errno(result).unwrap_or(0), |page, _| self.home.push(page));
        }
    }

    /// A zero-copy send: first its result, then, if there was `F_MORE` with that, the network's word that it has let go.
    fn complete_zc(&mut self, op: Op, zc: Zc, result: i32, flags: u32, events: &mut Vec<Event>) {
        let (more, notif) = (cqueue::more(flags), cqueue::notif(flags));
        let Some(slot) = self.slots.get(op) else { return };
        let (key, pages, len, cancelled) = (slot.key, slot.pages(), slot.len(), slot.cancelled);
        let outcome = errno(result);
        let done = outcome.is_ok_and(|sent| sent >= len);
        let copied = result as u32 & USAGE_COPIED != 0;
        let set = |slots: &mut Slots, zc| {
            if let Some(slot) = slots.get(op) {
                slot.request = Some(Request::SendZc(zc));
            }
        };
        match (zc, notif) {
            (Zc::Asked, true) => set(&mut self.slots, Zc::Early { copied }),
            // What is left of it lies in pages that the network has. To wait for it is right unless its end is wanted.
            (Zc::Asked, false) if more && !done && !cancelled => set(&mut self.slots, Zc::Left(outcome)),
            (Zc::Asked, false) if more => {
                set(&mut self.slots, Zc::Held);
                let result = if done { outcome } else { outcome.and(Err(Errno::IO)) };
                events.push(Event::Sent { key, result, pages, held: pages, rest: Vec::new() });
            }
            (Zc::Asked, false) => {
                self.no_report |= outcome == Err(Errno::INVAL); // refused before it was looked at
                let parts = self.taken_back(op);
                events.push(self.zc_sent(key, parts, outcome));
            }
            (Zc::Early { copied }, false) => {
                let parts = self.taken_back(op);
                if done {
                    self.released(copied);
                }
                let sent = self.zc_sent(key, parts, outcome);
                // Told as ever: the result, then the release, of which nothing is left.
                events.push(sent);
                if done {
                    events.push(Event::Released { key, pages: 0, copied });
                }
            }
            (Zc::Held, true) => {
                let parts = self.taken_back(op);
                self.released(copied);
                self.home.extend(parts.map(|part| part.page));
                events.push(Event::Released { key, pages, copied });
            }
            (Zc::Left(outcome), true) => {
                let parts = self.taken_back(op);
                events.push(self.zc_sent(key, parts, outcome));
            }
            // Both have come already.
            (Zc::Early { .. }, true) | (Zc::Held | Zc::Left(_), false) => self.stats.bad_completions += 1,
        }
    }

    fn released(&mut self, copied: bool) {
        self.stats.zc_sent += 1;
        self.stats.zc_copied += u64::from(copied);
    }

    /// The parts of a zero-copy send of which both has come, its result and the network's word, or the one and the kernel's that there will be no other.
    fn taken_back(&mut self, op: Op) -> impl ExactSizeIterator<Item = Part> + use<> {
        // SAFETY: by the above, and `complete_zc` is the only caller: nobody reads the pages any more.
        unsafe { reclaimed(self.slots.finish(op)) }
    }

    /// What became of a zero-copy send whose pages are back. If the kernel did not want to send it so, all of it is left.
    fn zc_sent(&mut self, key: u64, parts: impl ExactSizeIterator<Item = Part>, result: Result<u32, Errno>) -> Event {
        match result {
            // What is wrong with a packet itself is said again when it is sent plainly.
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOMEM | Errno::NOBUFS | Errno::MSGSIZE) => {
                self.stats.zc_refused += 1;
                self.sent(key, parts, Ok(0))
            }
            result => self.sent(key, parts, result),
        }
    }

    /// What became of a send whose pages are back: those whose bytes are gone, and those of one that failed, go home.
    fn sent(&mut self, key: u64, parts: impl ExactSizeIterator<Item = Part>, result: Result<u32, Errno>) -> Event {
        let pages = parts.len();
        let result = if result == Err(Errno::INTR) { Ok(0) } else { result }; // a signal: nothing was sent
        let mut sent = result.unwrap_or(u32::MAX);
        let mut rest = Vec::new();
        for Part { page, offset, len } in parts {
            let gone = sent.min(len);
            sent -= gone;
            match len - gone {
                0 => self.home.push(page),
                len => rest.push(Part { page, offset: offset + gone, len }),
            }
        }
        Event::Sent { key, result, pages, held: 0, rest }
    }
}

/// Takes the pages of `len` bytes out of the ring, from `id` on; each with how much of it is used. Whether there were such pages.
fn received(buffers: &mut Buffers, mut id: u16, len: u32, mut each: impl FnMut(Page, u32)) -> bool {
    let mut left = len;
    loop {
        // SAFETY: the completion names the first buffer, and by its length those behind it.
        let Some((page, most)) = (unsafe { buffers.take(id) }) else { return false };
        let here = left.min(most);
        left -= here;
        each(page, here);
        if left == 0 {
            return true;
        }
        id = buffers.next(id);
    }
}

/// The parts of a request, taken back.
///
/// # Safety
/// The kernel has let go of them.
unsafe fn reclaimed(parts: ArrayVec<PostedPart, PARTS>) -> impl ExactSizeIterator<Item = Part> {
    // SAFETY: by contract.
    parts.into_iter().map(|PostedPart { posted, offset, len }| Part { page: unsafe { posted.reclaim() }, offset, len })
}

/// A completion's result.
fn errno(result: i32) -> Result<u32, Errno> {
    match result {
        0.. => Ok(result as u32),
        -4095..0 => Err(Errno::from_raw_os_error(-result)),
        _ => Err(Errno::IO), // none of the kernel's
    }
}
