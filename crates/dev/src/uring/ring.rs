#![expect(unsafe_code, reason = "gives requests with addresses in them to the kernel")]
//! The ring: requests go in, events come out, and the kernel's pages are accounted for in between.
//!
//! Every page that the kernel has is [`Posted`], in the buffer ring or in the slot of its request, until a completion gives it up. A ring that goes while it has
//! requests out leaves their pages in quarantine; [`Ring::close`] cancels them first.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode, squeue};
use rustix::io::Errno;
use waterwheel_xdp::mm::Backing;
use waterwheel_xdp::{Account, Direction, Homes, Page, PagePool, Posted, Zone};

use super::buffers::Buffers;
use super::features::{Features, Without};
use super::requests::{CANCEL, Event, Requests, RingStats};
use super::slots::{Op, PARTS, Part, PostedPart, Request, Zc};

/// The group of our only buffer ring.
const GROUP: u16 = 0;
/// A registered buffer has at most 1 GiB; no page of a zone lies across such a boundary, as blocks are aligned.
const FIXED_MAX: usize = 1 << 30;
/// Fewer places than these are worth nothing.
const ENTRIES_MIN: u32 = 8;
/// How often, and how soon, a ring for which there is no memory is tried again.
const TRIES: u32 = 200;
const A_MOMENT: Duration = Duration::from_millis(10);
/// A ring that may not be as large as it wants is so much smaller: one that takes all that may be locked leaves nothing to the next, and nothing to be sent without a copy.
const SMALLER: u32 = 16;
/// Nobody waits longer: the kernel, and [`Instant`], add it to a time.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(1 << 30);
/// `IORING_SEND_ZC_REPORT_USAGE` of `linux/io_uring.h`.
const REPORT_USAGE: u16 = 1 << 3;

/// What a ring is made of.
#[derive(Debug, Clone)]
pub struct RingParams {
    /// Places for requests that wait to be submitted: 2^n. There are fewer where the limit of locked memory is low.
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

/// How to receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receive {
    /// Once, into one page.
    Once,
    /// Until it ends or is cancelled.
    Multi,
}

/// One io_uring over pages of pools.
pub struct Ring {
    /// First: it goes before the memory that it was given.
    uring: IoUring,
    pub(super) requests: Requests,
    features: Features,
    fixed: Option<Fixed>,
    /// Requests for which the kernel had no place yet.
    pub(super) backlog: VecDeque<squeue::Entry>,
    pub(super) completions: Vec<(u64, i32, u32)>,
    enters: u64,
}

/// Memory that is registered, in buffers of `chunk` bytes. Its zone is kept: whatever else would lie at its addresses, the kernel would send what lay there before.
struct Fixed {
    zone: Zone,
    chunk: usize,
}

// SAFETY: the pointers in the slots are to the slots themselves and to pages that they hold; nobody else follows them but the kernel. A ring that was opened for one thread
// is refused by the kernel on another.
unsafe impl Send for Ring {}

impl Fixed {
    /// Registers the memory of `zone`, if it lies in pages of 4 KiB.
    ///
    /// Of registered memory in huge pages a packet counts as large as all that lies before it in its huge page (`PAGE_ALIGN(bv_len + bv_offset)`, Linux `io_uring/net.c`): one such packet
    /// fills a socket's buffer, on either side, and those behind it are dropped or wait. Pages that are pinned for each send are counted as they are.
    fn register(uring: &IoUring, zone: &Zone, chunk: usize) -> Option<Self> {
        let region = zone.region();
        if region.backing() != Backing::Small {
            return None;
        }
        let (base, len) = (region.base(), region.len());
        let iov = |start| libc::iovec {
            iov_base: base.wrapping_add(start).cast_mut().cast(),
            iov_len: chunk.min(len - start),
        };
        let buffers = (0..len).step_by(chunk).map(iov).collect::<Vec<_>>();
        // SAFETY: the region of a zone that is kept as long as the registration. What is sent from it is posted pages only.
        let registered = unsafe { uring.submitter().register_buffers(&buffers) };
        registered.is_ok().then(|| Self { zone: zone.clone(), chunk })
    }

    /// The index of the buffer that `page` lies in.
    fn index(&self, page: &Page) -> Option<u16> {
        let offset = page.as_slice().as_ptr().addr().wrapping_sub(self.zone.region().base().addr());
        (page.region_id() == self.zone.id()).then_some((offset / self.chunk) as u16)
    }
}

impl Ring {
    /// Opens a ring for pages of `zone`.
    ///
    /// # Errors
    /// ENOSYS: the kernel has no io_uring. EPERM: it is forbidden (`kernel.io_uring_disabled`, a container). EINVAL: it is older than Linux 5.11, or a number is out of its range. ENOMEM: no
    /// memory.
    pub fn open(zone: &Zone, params: &RingParams) -> io::Result<Self> {
        Self::open_with(zone, params, FIXED_MAX)
    }

    /// As [`open`](Self::open), with registered buffers of `chunk` bytes: of whole blocks.
    pub(super) fn open_with(zone: &Zone, params: &RingParams, chunk: usize) -> io::Result<Self> {
        let defer = params.one_thread && !params.without.defer_taskrun;
        let (uring, defer) = build_as_large_as_may_be(params.entries, defer)?;
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
        let wanted = params.fixed && features.send_zc && !params.without.fixed;
        let fixed = wanted.then(|| Fixed::register(&uring, zone, chunk)).flatten();
        features.fixed = fixed.is_some();
        Ok(Self {
            uring,
            requests: Requests { buffers, headroom: params.headroom, ..Requests::default() },
            features,
            fixed,
            backlog: VecDeque::new(),
            completions: Vec::new(),
            enters: 0,
        })
    }

    /// What is used of io_uring.
    pub fn features(&self) -> Features {
        self.features
    }

    /// Counters.
    pub fn stats(&self) -> RingStats {
        RingStats { enters: self.enters, ..self.requests.stats }
    }

    /// Requests that are under way.
    pub fn pending(&self) -> usize {
        self.requests.pending()
    }

    /// Pages that wait for what is received.
    pub fn waiting_pages(&self) -> usize {
        self.requests.buffers.as_ref().map_or(0, Buffers::len)
    }

    /// Pages with the kernel: those, and those being sent.
    pub fn pages(&self) -> usize {
        self.waiting_pages() + self.requests.slots.pages
    }

    /// Marks the pages that the kernel has.
    pub fn account(&self, account: &mut Account) {
        if let Some(buffers) = &self.requests.buffers {
            buffers.account(account);
        }
        self.requests.slots.account(account);
    }

    /// Lets up to `target` pages of `pool` wait for what is received. Without a buffer ring receives bring their own.
    pub fn fill(&mut self, pool: &mut PagePool, target: usize) {
        if let Some(buffers) = &mut self.requests.buffers {
            buffers.fill(pool, target);
        }
    }

    /// Receives from `socket`. `None` when it would need a page of its own and `pool` has none.
    pub fn receive(&mut self, socket: BorrowedFd<'_>, key: u64, how: Receive, pool: &mut PagePool) -> Option<Op> {
        let fd = Fd(socket.as_raw_fd());
        if self.requests.buffers.is_none() {
            return self.receive_into_page(fd, key, pool); // also once the ring was closed
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
        let op = self.requests.slots.take(key, Request::Receive);
        self.push(entry, op);
        Some(op)
    }

    fn receive_into_page(&mut self, fd: Fd, key: u64, pool: &mut PagePool) -> Option<Op> {
        let page = pool.alloc(Direction::Rx)?;
        let offset = self.requests.headroom;
        let room = page.as_slice().get(offset as usize..).filter(|room| !room.is_empty());
        let Some((address, len)) = room.map(|room| (room.as_ptr().cast_mut(), room.len() as u32)) else {
            pool.put(page);
            return None;
        };
        let (op, memory) = self.requests.slots.take_with_memory(key, Request::ReceiveInto);
        // SAFETY: the slot keeps it until the request is completed, and the kernel is given this page's bytes.
        memory.parts.push(PostedPart { posted: unsafe { Posted::new(page) }, offset, len });
        self.requests.slots.pages += 1;
        self.push(opcode::Recv::new(fd, address, len).build(), op);
        Some(op)
    }

    /// Sends `parts`, at most [`PARTS`], in their order; without a copy if `zc`, as far as that is possible.
    pub fn send(&mut self, socket: BorrowedFd<'_>, key: u64, parts: impl Iterator<Item = Part>, zc: bool) -> Op {
        let fd = Fd(socket.as_raw_fd());
        let zc = zc && self.features.send_zc;
        let request = if zc { Request::SendZc(Zc::Asked) } else { Request::Send };
        let (op, memory) = self.requests.slots.take_with_memory(key, request);
        let mut index = None;
        for (part, iov) in parts.take(PARTS).zip(&mut memory.iov) {
            let bytes = part.bytes();
            *iov = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
            index = self.fixed.as_ref().and_then(|fixed| fixed.index(&part.page));
            let Part { page, offset, len } = part;
            // SAFETY: the slot keeps it until the kernel is done with it; the kernel reads it only.
            memory.parts.push(PostedPart { posted: unsafe { Posted::new(page) }, offset, len });
        }
        let count = memory.parts.len();
        (memory.msg.msg_iov, memory.msg.msg_iovlen) = (memory.iov.as_mut_ptr(), count);
        let (first, msg) = (memory.iov[0], &raw const memory.msg);
        // What cannot be sent at once is sent when there is room, and the completion comes when all is sent.
        let flags = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
        let entry = match (zc, count) {
            (false, 1) => opcode::Send::new(fd, first.iov_base.cast(), first.iov_len as u32).flags(flags).build(),
            (false, _) => opcode::SendMsg::new(fd, msg).flags(flags as u32).build(),
            (true, 1) => {
                let send = opcode::SendZc::new(fd, first.iov_base.cast(), first.iov_len as u32).buf_index(index);
                send.flags(flags).zc_flags(REPORT_USAGE).build()
            }
            (true, _) => opcode::SendMsgZc::new(fd, msg).ioprio(REPORT_USAGE).flags(flags as u32).build(),
        };
        self.requests.slots.pages += count;
        self.push(entry, op);
        op
    }

    /// Accepts one connection.
    ///
    /// Not for a listener that several rings accept from: each connection wakes one of their requests, and if that one is cancelled no other hears of it. [Watch](Self::watch) such a listener.
    pub fn accept(&mut self, listener: BorrowedFd<'_>, key: u64) -> Op {
        let (fd, address, len) = (Fd(listener.as_raw_fd()), std::ptr::null_mut(), std::ptr::null_mut());
        let entry = opcode::Accept::new(fd, address, len).flags(libc::SOCK_CLOEXEC);
        let op = self.requests.slots.take(key, Request::Accept);
        self.push(entry.build(), op);
        op
    }

    /// Connects `socket` to `address`.
    pub fn connect(&mut self, socket: BorrowedFd<'_>, key: u64, address: &SocketAddr) -> Op {
        let (op, memory) = self.requests.slots.take_with_memory(key, Request::Connect);
        let address = memory.address.insert((*address).into());
        let connect = opcode::Connect::new(Fd(socket.as_raw_fd()), address.as_ptr().cast(), address.addr_len());
        self.push(connect.build(), op);
        op
    }

    /// Waits until `fd` has one of `events` (of poll(2)) once; errors and hang-ups are always among them.
    pub fn watch(&mut self, fd: BorrowedFd<'_>, key: u64, events: u32) -> Op {
        let op = self.requests.slots.take(key, Request::Watch);
        self.push(opcode::PollAdd::new(Fd(fd.as_raw_fd()), events).build(), op);
        op
    }

    /// Asks for the end of `op`, a request of this ring. Its last event comes all the same. One whose last event was told is over, and nothing happens.
    pub fn cancel(&mut self, op: Op) {
        if self.requests.cancel(op) {
            self.push_cancel(opcode::AsyncCancel::new(op.user_data()).build());
        }
    }

    fn push_cancel(&mut self, entry: squeue::Entry) {
        self.requests.cancels += 1;
        self.push(entry, Op::of(CANCEL));
    }

    fn push(&mut self, entry: squeue::Entry, op: Op) {
        let entry = entry.user_data(op.user_data());
        // SAFETY: what the entry points to is in posted pages and in slots, which stay until its completion; descriptors are the caller's, and a number that is none is an error.
        if !self.backlog.is_empty() || unsafe { self.uring.submission().push(&entry) }.is_err() {
            self.backlog.push_back(entry);
            self.enters += 1;
            // If it fails the next turn tells; EBUSY: completions are in the way.
            if self.uring.submit().is_err() {
                self.collect();
            }
            self.catch_up();
        }
    }

    /// Gives the kernel what waits for a place.
    fn catch_up(&mut self) {
        while let Some(entry) = self.backlog.front() {
            // SAFETY: as in `push`.
            if unsafe { self.uring.submission().push(entry) }.is_err() {
                return;
            }
            self.backlog.pop_front();
        }
    }

    /// Submits what was asked for, waits for the first event for up to `timeout` (`None`: as long as it takes), and appends what has happened. Pages that were sent go home to `pool`.
    ///
    /// # Errors
    /// The kernel refuses to go on (EBADF, ENOMEM...). The end of the time, and a signal, are none.
    pub fn turn(&mut self, pool: &mut PagePool, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        self.advance(timeout, events)?;
        pool.put_bulk(&mut self.requests.home);
        self.requests.home.clear(); // pages of other pools go home by their drop
        Ok(())
    }

    /// As [`turn`](Self::turn), for one who sends pages of several pools.
    ///
    /// # Errors
    /// As `turn`.
    pub fn poll(&mut self, homes: &mut Homes<'_>, timeout: Duration, events: &mut Vec<Event>) -> io::Result<()> {
        let done = self.advance(Some(timeout), events);
        homes.put_bulk(self.requests.home.drain(..));
        done
    }

    /// Submits what was asked for, if there is any, and leaves what happens by it for the next turn.
    ///
    /// # Errors
    /// As [`turn`](Self::turn).
    pub fn submit(&mut self) -> io::Result<()> {
        self.catch_up();
        if self.uring.submission().is_empty() {
            return Ok(());
        }
        self.enters += 1;
        went_on(self.uring.submit())
    }

    fn advance(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        self.catch_up();
        self.enters += 1;
        // What waits for a place gets one by this call; it is not waited for what only the next one asks for.
        let now = timeout == Some(Duration::ZERO) || !self.backlog.is_empty();
        let wanted = usize::from(self.completions.is_empty() && self.requests.told.is_empty() && !now);
        let waited = match timeout {
            None => self.uring.submit_and_wait(wanted),
            Some(timeout) => {
                let time = Timespec::from(timeout.min(LONGEST_WAIT));
                self.uring.submitter().submit_with_args(wanted, &SubmitArgs::new().timespec(&time))
            }
        };
        went_on(waited)?;
        self.collect();
        events.append(&mut self.requests.told);
        let mut completions = std::mem::take(&mut self.completions);
        for (user_data, result, flags) in completions.drain(..) {
            self.requests.complete(user_data, result, flags, events);
        }
        self.completions = completions;
        self.features.send_zc &= !self.requests.no_report;
        Ok(())
    }

    /// Takes completions out of the kernel's ring.
    fn collect(&mut self) {
        let completions = self.uring.completion();
        self.completions.extend(completions.map(|entry| (entry.user_data(), entry.result(), entry.flags())));
    }

    /// The end: cancels what is under way, waits up to `patience` for the kernel to let go, and takes every page back. Pages that the network still has then, or that could still be
    /// written, are quarantined: tells how many, in pages of 4 KiB. Events that are still to come are lost.
    pub fn close(&mut self, pool: &mut PagePool, patience: Duration) -> usize {
        self.end(&mut Homes::new(std::slice::from_mut(pool)), patience)
    }

    /// As [`close`](Self::close), for one who has pages of several pools.
    pub fn end(&mut self, homes: &mut Homes<'_>, patience: Duration) -> usize {
        let deadline = Instant::now() + patience.min(LONGEST_WAIT);
        let mut events = Vec::new();
        self.push_cancel(opcode::AsyncCancel2::new(CancelBuilder::any()).build());
        while self.pending() > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.poll(homes, left, &mut events).is_err() {
                break;
            }
            let unread = events.iter().filter(|event| matches!(event, Event::Received { .. })).count();
            self.requests.stats.unread += unread as u64;
            events.clear(); // sockets are closed, pages go home by their drop
        }
        if let Some(buffers) = self.requests.buffers.as_mut().filter(|_| self.requests.slots.receiving == 0)
            && self.uring.submitter().unregister_buf_ring(GROUP).is_ok()
        {
            // SAFETY: nothing is being received into its pages, and the ring is not registered any more.
            unsafe { buffers.reclaim(|page| homes.put(page)) };
        }
        let lost = self.requests.buffers.take().map_or(0, |buffers| buffers.pages());
        lost + self.requests.slots.abandon()
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
pub(super) fn went_on(entered: io::Result<usize>) -> io::Result<()> {
    match entered.map_err(|error| error.raw_os_error()) {
        // EBUSY, EAGAIN: completions must be taken before more can be submitted.
        Ok(_) | Err(Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)) => Ok(()),
        Err(error) => Err(io::Error::from_raw_os_error(error.unwrap_or(libc::EIO))),
    }
}

/// As [`build`], with fewer places where so much memory may not be locked: what finds none waits in our list, and completions in the kernel's. The kernel gives the memory of a ring that was closed
/// back some time later.
fn build_as_large_as_may_be(mut entries: u32, defer: bool) -> io::Result<(IoUring, bool)> {
    let mut tries = 0;
    loop {
        match build(entries, defer) {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && entries > ENTRIES_MIN => {
                entries = (entries / SMALLER).max(ENTRIES_MIN);
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && tries < TRIES => {
                tries += 1;
                std::thread::sleep(A_MOMENT);
            }
            built => return built,
        }
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
        f.debug_struct("Ring")
            .field("features", &self.features)
            .field("pending", &self.pending())
            .finish_non_exhaustive()
    }
}
