#![expect(unsafe_code, reason = "gives requests with addresses in them to the kernel")]
//! The ring: requests go in, events come out, and the kernel's pages are accounted for in between.
//!
//! Every page that the kernel has is [`Posted`], in the buffer ring or in the slot of its request, until a completion gives it up. A ring that goes while it has
//! requests out leaves their pages in quarantine; [`Ring::close`] cancels them first.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::io::Errno;
use waterwheel_xdp::mm::{PAGE_SIZE, RegionId};
use waterwheel_xdp::{Account, Direction, Homes, Page, PagePool, Posted, Zone};

use super::buffers::Buffers;
use super::features::{Features, Without};
use super::slots::{PARTS, Part, PostedPart, Request, Slots};

/// The group of our only buffer ring.
const GROUP: u16 = 0;
/// A registered buffer has at most 1 GiB; no page of a zone lies across such a boundary, as blocks are aligned.
const FIXED_MAX: usize = 1 << 30;
/// `IORING_SEND_ZC_REPORT_USAGE`, `IORING_NOTIF_USAGE_ZC_COPIED` of `linux/io_uring.h`.
const REPORT_USAGE: u16 = 1 << 3;
const USAGE_COPIED: u32 = 1 << 31;

/// What a ring is made of.
#[derive(Debug, Clone)]
pub struct RingParams {
    /// Places for requests that wait to be submitted: 2^n.
    pub entries: u32,
    /// Places of the buffer ring: 2^n, up to 32768.
    pub buffers: u16,
    /// What is received begins so many bytes into its page: less than 4096.
    pub headroom: u32,
    /// One thread opens the ring and uses it: completions then wait until it asks.
    pub one_thread: bool,
    /// Register the zone's memory, for zero-copy sends.
    pub fixed: bool,
    /// Features to do without.
    pub without: Without,
}

impl Default for RingParams {
    fn default() -> Self {
        Self { entries: 256, buffers: 256, headroom: 0, one_thread: true, fixed: true, without: Without::default() }
    }
}

/// A request that is under way: what can be cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op(u64);

/// How to receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receive {
    /// Once, into one page.
    Once,
    /// Until it ends or is cancelled.
    Multi,
}

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
    /// A send is done: so many bytes of it. What is left of it is in `rest`; `held` pages are still with the network (see [`Event::Released`]). EIO: a zero-copy send was cut, and nothing may
    /// be sent behind it.
    Sent { key: u64, result: Result<u32, Errno>, pages: usize, held: usize, rest: Vec<Part> },
    /// The network has let go of so many pages of a zero-copy send, which it had `copied` after all, or not.
    Released { key: u64, pages: usize, copied: bool },
    /// A [watched](Ring::watch) descriptor has something to say.
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
    /// Zero-copy sends that the kernel refused; they were sent plainly.
    pub zc_refused: u64,
    /// Completions that made no sense.
    pub bad_completions: u64,
}

/// One io_uring over pages of pools.
pub struct Ring {
    /// First: it goes before the memory that it was given.
    uring: IoUring,
    buffers: Option<Buffers>,
    slots: Slots,
    features: Features,
    /// The region that is registered, and where it begins.
    fixed: Option<(RegionId, usize)>,
    headroom: u32,
    /// Requests without their last completion.
    pending: usize,
    completions: Vec<(u64, i32, u32)>,
    home: Vec<Page>,
    stats: RingStats,
}

// SAFETY: the pointers in the slots are to the slots themselves and to pages that they hold; nobody else follows them but the kernel. A ring that was opened for one thread
// is refused by the kernel on another.
unsafe impl Send for Ring {}

/// Kinds of requests, in the upper byte of their user data. Those with a slot have its index below, the others their key.
mod kind {
    pub(super) const CANCEL: u64 = 0;
    pub(super) const ACCEPT: u64 = 1;
    pub(super) const RECEIVE: u64 = 2;
    pub(super) const WATCH: u64 = 3;
    pub(super) const SLOT: u64 = 4;
}

fn user_data(kind: u64, value: u64) -> u64 {
    assert!(value < 1 << 56, "a key has 56 bits"); // else it would name another kind of request, and a length be taken for a descriptor
    kind << 56 | value
}

impl Ring {
    /// Opens a ring for pages of `zone`.
    ///
    /// # Errors
    /// ENOSYS: the kernel has no io_uring. EPERM: it is forbidden (`kernel.io_uring_disabled`, a container). EINVAL: it is older than Linux 5.11, or a number in `params` cannot be. ENOMEM: no memory.
    pub fn open(zone: &Zone, params: &RingParams) -> io::Result<Self> {
        if !params.buffers.is_power_of_two() || params.headroom as usize >= PAGE_SIZE {
            return Err(Errno::INVAL.into()); // the kernel would be told of bytes behind the page
        }
        let defer = params.one_thread && !params.without.defer_taskrun;
        let (uring, defer) = build(params.entries, defer)?;
        if !uring.params().is_feature_ext_arg() {
            return Err(Errno::INVAL.into()); // a wait with a timeout
        }
        let mut features = Features::of(&uring, params.without, defer);
        let mut buffers = None;
        if !params.without.buffer_ring {
            let ring = Buffers::new(params.buffers, params.headroom)?;
            let (address, size) = ring.memory();
            // SAFETY: the memory is the ring's own and is unmapped after `uring` is closed (by the order of the fields); the kernel keeps it until then.
            let registered = unsafe { uring.submitter().register_buf_ring_with_flags(address, size, GROUP, 0) };
            buffers = registered.is_ok().then_some(ring);
        }
        features.buffer_ring = buffers.is_some();
        features.multishot &= features.buffer_ring;
        features.bundle &= features.buffer_ring;
        let mut fixed = None;
        if params.fixed && features.send_zc && !params.without.fixed {
            let (base, len) = (zone.region().base(), zone.region().len());
            let iov = |start| libc::iovec {
                iov_base: base.wrapping_add(start).cast_mut().cast(),
                iov_len: FIXED_MAX.min(len - start),
            };
            let buffers = (0..len).step_by(FIXED_MAX).map(iov).collect::<Vec<_>>();
            // SAFETY: the region of a zone that `Self` does not keep: the kernel pins its memory. What is sent from it is posted pages only.
            let registered = unsafe { uring.submitter().register_buffers(&buffers) };
            fixed = registered.is_ok().then(|| (zone.id(), base.addr()));
        }
        features.fixed = fixed.is_some();
        Ok(Self {
            uring,
            buffers,
            slots: Slots::default(),
            features,
            fixed,
            headroom: params.headroom,
            pending: 0,
            completions: Vec::new(),
            home: Vec::new(),
            stats: RingStats::default(),
        })
    }

    /// What is used of io_uring.
    pub fn features(&self) -> Features {
        self.features
    }

    /// Counters.
    pub fn stats(&self) -> RingStats {
        self.stats
    }

    /// Requests that are under way.
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// Pages that wait for what is received.
    pub fn waiting_pages(&self) -> usize {
        self.buffers.as_ref().map_or(0, Buffers::len)
    }

    /// Pages with the kernel: those, and those being sent.
    pub fn pages(&self) -> usize {
        self.waiting_pages() + self.slots.pages
    }

    /// Marks the pages that the kernel has.
    pub fn account(&self, account: &mut Account) {
        if let Some(buffers) = &self.buffers {
            buffers.account(account);
        }
        self.slots.account(account);
    }

    /// Lets up to `target` pages of `pool` wait for what is received. Without a buffer ring receives bring their own.
    pub fn fill(&mut self, pool: &mut PagePool, target: usize) {
        if let Some(buffers) = &mut self.buffers {
            buffers.fill(pool, target);
        }
    }

    /// Receives from `socket`. `None` when it would need a page of its own and `pool` has none.
    pub fn receive(&mut self, socket: BorrowedFd<'_>, key: u64, how: Receive, pool: &mut PagePool) -> Option<Op> {
        let fd = Fd(socket.as_raw_fd());
        if !self.features.buffer_ring {
            return self.receive_into_page(fd, key, pool);
        }
        let entry = match how {
            Receive::Multi if self.features.multishot && self.features.bundle => {
                opcode::RecvMultiBundle::new(fd, GROUP).build()
            }
            Receive::Multi if self.features.multishot => opcode::RecvMulti::new(fd, GROUP).build(),
            // Never a bundle: one that has filled its buffers takes all others that its socket has bytes for, whatever length was asked for.
            Receive::Multi | Receive::Once => {
                let receive = opcode::Recv::new(fd, std::ptr::null_mut(), 0).buf_group(GROUP);
                receive.build().flags(squeue::Flags::BUFFER_SELECT)
            }
        };
        Some(self.push(entry, user_data(kind::RECEIVE, key)))
    }

    fn receive_into_page(&mut self, fd: Fd, key: u64, pool: &mut PagePool) -> Option<Op> {
        let page = pool.alloc(Direction::Rx)?;
        let (offset, len) = (self.headroom, page.size() as u32 - self.headroom);
        let address = page.as_slice()[offset as usize..].as_ptr().cast_mut();
        let (index, slot) = self.slots.take(key, Request::Receive);
        // SAFETY: the slot keeps it until the request is completed, and the kernel is given this page's bytes.
        slot.parts.push(PostedPart { posted: unsafe { Posted::new(page) }, offset, len });
        self.slots.pages += 1;
        Some(self.push(opcode::Recv::new(fd, address, len).build(), user_data(kind::SLOT, index.into())))
    }

    /// Sends `parts`, at most [`PARTS`], in their order; without a copy if `zc`, as far as that is possible.
    pub fn send(&mut self, socket: BorrowedFd<'_>, key: u64, parts: impl Iterator<Item = Part>, zc: bool) -> Op {
        let fd = Fd(socket.as_raw_fd());
        let zc = zc && self.features.send_zc;
        let request = if zc { Request::SendZc { accepted: false } } else { Request::Send };
        let (index, slot) = self.slots.take(key, request);
        let mut region = None;
        for (part, iov) in parts.take(PARTS).zip(&mut slot.iov) {
            let bytes = part.bytes();
            *iov = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
            region = Some(part.page.region_id());
            let Part { page, offset, len } = part;
            // SAFETY: the slot keeps it until the kernel is done with it; the kernel reads it only.
            slot.parts.push(PostedPart { posted: unsafe { Posted::new(page) }, offset, len });
        }
        let count = slot.parts.len();
        (slot.msg.msg_iov, slot.msg.msg_iovlen) = (slot.iov.as_mut_ptr(), count);
        let (first, address) = (slot.iov[0], slot.iov[0].iov_base.addr());
        let msg = &raw const slot.msg;
        // What cannot be sent at once is sent when there is room, and the completion comes when all is sent.
        let flags = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
        let entry = match (zc, count) {
            (false, 1) => opcode::Send::new(fd, first.iov_base.cast(), first.iov_len as u32).flags(flags).build(),
            (false, _) => opcode::SendMsg::new(fd, msg).flags(flags as u32).build(),
            (true, 1) => {
                let registered = self.fixed.filter(|(id, _)| region == Some(*id));
                let index = registered.map(|(_, base)| ((address - base) / FIXED_MAX) as u16);
                let send = opcode::SendZc::new(fd, first.iov_base.cast(), first.iov_len as u32).buf_index(index);
                send.flags(flags).zc_flags(REPORT_USAGE).build()
            }
            (true, _) => opcode::SendMsgZc::new(fd, msg).ioprio(REPORT_USAGE).flags(flags as u32).build(),
        };
        self.slots.pages += count;
        self.push(entry, user_data(kind::SLOT, index.into()))
    }

    /// Accepts one connection.
    ///
    /// Not for a listener that several rings accept from: each connection wakes one of their requests, and if that one is cancelled no other hears of it. [Watch](Self::watch) such a listener.
    pub fn accept(&mut self, listener: BorrowedFd<'_>, key: u64) -> Op {
        let (fd, address, len) = (Fd(listener.as_raw_fd()), std::ptr::null_mut(), std::ptr::null_mut());
        let entry = opcode::Accept::new(fd, address, len).flags(libc::SOCK_CLOEXEC);
        self.push(entry.build(), user_data(kind::ACCEPT, key))
    }

    /// Connects `socket` to `address`.
    pub fn connect(&mut self, socket: BorrowedFd<'_>, key: u64, address: &SocketAddr) -> Op {
        let (index, slot) = self.slots.take(key, Request::Connect);
        let address = slot.address.insert((*address).into());
        let connect = opcode::Connect::new(Fd(socket.as_raw_fd()), address.as_ptr().cast(), address.addr_len());
        self.push(connect.build(), user_data(kind::SLOT, index.into()))
    }

    /// Waits until `fd` has one of `events` (of poll(2)) once; errors and hang-ups are always among them.
    pub fn watch(&mut self, fd: BorrowedFd<'_>, key: u64, events: u32) -> Op {
        self.push(opcode::PollAdd::new(Fd(fd.as_raw_fd()), events).build(), user_data(kind::WATCH, key))
    }

    /// Asks for the end of `op`. Its last event comes all the same.
    pub fn cancel(&mut self, op: Op) {
        self.push(opcode::AsyncCancel::new(op.0).build(), user_data(kind::CANCEL, 0));
    }

    fn push(&mut self, entry: squeue::Entry, user_data: u64) -> Op {
        let entry = entry.user_data(user_data);
        // SAFETY: what the entry points to is in posted pages and in slots, which stay until its completion; descriptors are the caller's, and a number that is none is an error.
        while unsafe { self.uring.submission().push(&entry) }.is_err() {
            self.stats.enters += 1;
            if self.uring.submit().is_err() {
                self.collect(); // completions are in the way
            }
        }
        self.pending += 1;
        Op(user_data)
    }

    /// Submits what was asked for, waits for the first event for up to `timeout` (`None`: as long as it takes), and appends what has happened. Pages that were sent go home to `pool`.
    ///
    /// # Errors
    /// The kernel refuses to go on (EBADF, ENOMEM...). The end of the time, and a signal, are none.
    pub fn turn(&mut self, pool: &mut PagePool, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        self.advance(timeout, events)?;
        pool.put_bulk(&mut self.home);
        self.home.clear(); // pages of other pools go home by their drop
        Ok(())
    }

    /// As [`turn`](Self::turn), for one who sends pages of several pools.
    ///
    /// # Errors
    /// As `turn`.
    pub fn poll(&mut self, homes: &mut Homes<'_>, timeout: Duration, events: &mut Vec<Event>) -> io::Result<()> {
        let done = self.advance(Some(timeout), events);
        homes.put_bulk(self.home.drain(..));
        done
    }

    /// Submits what was asked for, if there is any, and leaves what happens by it for the next turn.
    ///
    /// # Errors
    /// As [`turn`](Self::turn).
    pub fn submit(&mut self) -> io::Result<()> {
        if self.uring.submission().is_empty() {
            return Ok(());
        }
        self.stats.enters += 1;
        went_on(self.uring.submit())
    }

    fn advance(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        self.stats.enters += 1;
        let wanted = usize::from(self.completions.is_empty() && timeout != Some(Duration::ZERO));
        let waited = match timeout {
            None => self.uring.submit_and_wait(wanted),
            Some(timeout) => {
                let time = Timespec::from(timeout);
                self.uring.submitter().submit_with_args(wanted, &SubmitArgs::new().timespec(&time))
            }
        };
        went_on(waited)?;
        self.collect();
        let mut completions = std::mem::take(&mut self.completions);
        for (user_data, result, flags) in completions.drain(..) {
            self.complete(user_data, result, flags, events);
        }
        self.completions = completions;
        Ok(())
    }

    /// Takes completions out of the kernel's ring.
    fn collect(&mut self) {
        let completions = self.uring.completion();
        self.completions.extend(completions.map(|entry| (entry.user_data(), entry.result(), entry.flags())));
    }

    fn complete(&mut self, user_data: u64, result: i32, flags: u32, events: &mut Vec<Event>) {
        let (more, value) = (cqueue::more(flags), user_data & ((1 << 56) - 1));
        let outcome = if cqueue::notif(flags) { Ok(0) } else { errno(result) };
        self.pending -= usize::from(!more);
        match user_data >> 56 {
            kind::ACCEPT => {
                // SAFETY: the completion of an accept gives a new descriptor.
                let socket = outcome.map(|fd| unsafe { OwnedFd::from_raw_fd(fd as i32) });
                events.push(Event::Accepted { key: value, socket });
            }
            kind::RECEIVE => {
                if let (Some(id), Some(buffers)) = (cqueue::buffer_select(flags), &mut self.buffers) {
                    let whole = received(buffers, id, outcome.unwrap_or(0), |page, len| match len {
                        0 => self.home.push(page),
                        _ => {
                            events.push(Event::Received { key: value, part: Part { page, offset: self.headroom, len } })
                        }
                    });
                    self.stats.bad_completions += u64::from(!whole);
                }
                if !more {
                    events.push(Event::Ended { key: value, result: outcome.map(|len| len.min(1)) });
                }
            }
            kind::WATCH => events.push(Event::Ready { key: value, result: outcome }),
            kind::SLOT => self.complete_slot(value as u32, outcome, result as u32, flags, events),
            _ => {}
        }
    }

    /// A request with a slot has got a completion.
    fn complete_slot(&mut self, index: u32, result: Result<u32, Errno>, raw: u32, flags: u32, events: &mut Vec<Event>) {
        let Some(slot) = self.slots.get(index) else {
            self.stats.bad_completions += 1;
            return;
        };
        let (key, request, pages, len) = (slot.key, slot.request, slot.parts.len(), slot.len() as u32);
        if request == (Request::SendZc { accepted: false }) && cqueue::more(flags) {
            slot.request = Request::SendZc { accepted: true };
            // What is left of a cut one lies in pages that the network has: it cannot be sent again, and nothing may be sent behind it.
            let result = result.and_then(|sent| if sent < len { Err(Errno::IO) } else { Ok(sent) });
            events.push(Event::Sent { key, result, pages, held: pages, rest: Vec::new() });
            return;
        }
        // SAFETY: the last completion of the request (for a zero-copy send the notification, or there will be none): the kernel has let go of its pages.
        let parts = unsafe { reclaimed(self.slots.finish(index)) };
        match request {
            Request::Free => {}
            Request::Connect => events.push(Event::Connected { key, result: result.map(|_| ()) }),
            Request::Receive => {
                for Part { page, offset, .. } in parts {
                    match result.unwrap_or(0) {
                        0 => self.home.push(page),
                        len => events.push(Event::Received { key, part: Part { page, offset, len } }),
                    }
                }
                events.push(Event::Ended { key, result: result.map(|len| len.min(1)) });
            }
            Request::SendZc { accepted: true } => {
                let copied = raw & USAGE_COPIED != 0;
                self.stats.zc_sent += 1;
                self.stats.zc_copied += u64::from(copied);
                events.push(Event::Released { key, pages, copied });
                self.home.extend(parts.map(|part| part.page));
            }
            Request::Send | Request::SendZc { accepted: false } => {
                let mut result = result;
                if let (Err(why), Request::SendZc { .. }) = (result, request)
                    && [Errno::INVAL, Errno::OPNOTSUPP, Errno::NOMEM, Errno::NOBUFS].contains(&why)
                {
                    self.stats.zc_refused += 1;
                    self.features.send_zc &= why != Errno::INVAL; // it knows no report of use: Linux 6.1 and before
                    result = Ok(0);
                }
                let rest = match result {
                    Ok(sent) if sent < len => self.rest(parts, sent),
                    _ => {
                        self.home.extend(parts.map(|part| part.page));
                        Vec::new()
                    }
                };
                events.push(Event::Sent { key, result, pages, held: 0, rest });
            }
        }
    }

    /// What is left of `parts` when `sent` bytes of them are gone; pages that are gone as a whole go home.
    fn rest(&mut self, parts: impl Iterator<Item = Part>, mut sent: u32) -> Vec<Part> {
        let mut rest = Vec::new();
        for Part { page, offset, len } in parts {
            let gone = sent.min(len);
            sent -= gone;
            match len - gone {
                0 => self.home.push(page),
                len => rest.push(Part { page, offset: offset + gone, len }),
            }
        }
        rest
    }

    /// The end: cancels what is under way, waits up to `patience` for the kernel to let go, and takes every page back. Pages that the network still has then, or that could still be
    /// written, are quarantined: tells how many, in pages of 4 KiB. Events that are still to come are lost.
    pub fn close(&mut self, pool: &mut PagePool, patience: Duration) -> usize {
        self.end(&mut Homes::new(std::slice::from_mut(pool)), patience)
    }

    /// As [`close`](Self::close), for one who has pages of several pools.
    pub fn end(&mut self, homes: &mut Homes<'_>, patience: Duration) -> usize {
        let deadline = Instant::now() + patience;
        let mut events = Vec::new();
        self.push(opcode::AsyncCancel2::new(CancelBuilder::any()).build(), user_data(kind::CANCEL, 0));
        while self.pending > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.poll(homes, left, &mut events).is_err() {
                break;
            }
            events.clear(); // sockets are closed, pages go home by their drop
        }
        if let Some(buffers) = self.buffers.as_mut().filter(|_| self.pending == self.slots.len())
            && self.uring.submitter().unregister_buf_ring(GROUP).is_ok()
        {
            // SAFETY: nothing but sends is under way, and the ring is not registered any more.
            unsafe { buffers.reclaim(|page| homes.put(page)) };
        }
        let lost = self.buffers.take().map_or(0, |buffers| buffers.pages());
        lost + self.slots.abandon()
    }
}

impl AsFd for Ring {
    /// Readable when there are completions.
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the ring's descriptor lives as long as the ring.
        unsafe { BorrowedFd::borrow_raw(self.uring.as_raw_fd()) }
    }
}

/// What a call to the kernel says, where only what keeps the ring from going on is an error.
fn went_on(entered: io::Result<usize>) -> io::Result<()> {
    match entered.map_err(|error| error.raw_os_error()) {
        // EBUSY, EAGAIN: completions must be taken before more can be submitted.
        Ok(_) | Err(Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)) => Ok(()),
        Err(error) => Err(io::Error::from_raw_os_error(error.unwrap_or(libc::EIO))),
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
unsafe fn reclaimed(parts: ArrayVec<PostedPart, PARTS>) -> impl Iterator<Item = Part> {
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

/// The ring, and whether its completions wait until they are asked for.
fn build(entries: u32, defer: bool) -> io::Result<(IoUring, bool)> {
    let completions = entries.saturating_mul(16).min(32768);
    if defer {
        let ring = IoUring::builder()
            .dontfork()
            .setup_cqsize(completions)
            .setup_single_issuer()
            .setup_defer_taskrun()
            .build(entries);
        match ring {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            ring => return Ok((ring?, true)),
        }
    }
    let ring = IoUring::builder().dontfork().setup_cqsize(completions).setup_coop_taskrun().build(entries);
    match ring {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
        ring => return Ok((ring?, false)),
    }
    Ok((IoUring::builder().dontfork().setup_cqsize(completions).build(entries)?, false))
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("features", &self.features).field("pending", &self.pending).finish_non_exhaustive()
    }
}
