//! One queue of one interface as a [`Device`].

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::xdp::XdpStatistics;
use waterwheel_xdp::{
    Account, Capabilities, Device, Direction, DropReason, Drops, HEADROOM, Health, Homes, MAX_FRAGS, PagePool, Traffic,
    Wait, XdpBuff, XdpFrame, Zone,
};

use super::bpf::XdpMode;
use super::link::Link;
use super::posts::Posts;
use super::quarantine::{self, Place};
use super::queue::Queue;
use super::socket::{CHUNK, Probe, longest_frame};
use super::watchdog::{self, Watchdog};
use super::{AfXdpParams, error};
use crate::DevError;

/// Empty pages are posted when there is room for this many: one look at the kernel's index for all of them.
const FILL_BATCH: u32 = 64;
/// Bytes that every frame has.
const ETHERNET_HEADER: usize = 14;
/// How often a waiting loop looks for what no file descriptor tells: completions, pages that came home to an empty pool.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// How long [`AfXdp::shutdown`] waits for packets on their way out.
const DRAIN: Duration = Duration::from_millis(100);
/// How long a closed socket may take until its queue is free.
const PATIENCE: Duration = Duration::from_millis(500);

/// An AF_XDP socket on one queue of one interface.
///
/// Packets are steered to it from the first [`rx`](Device::rx) on, which posts the first pages. Received packets lie in pages of the pool, 256 bytes behind their start. Packets to send are sent from where they lie; those in pages of another region are copied
/// once into a page of the pool (`copied_frames`).
///
/// Pages that are with the kernel come home when the device is [shut down](Device::shutdown) or dropped: the socket is closed, and once another one could be
/// bound to the queue, which proves that the former is gone, its pages are taken back. When that does not happen within half a second (somebody has a copy of
/// the socket), they are quarantined: the kernel may still write to them. They come out when a queue is opened, this one or another, and the former socket is found to be gone.
#[derive(Debug)]
pub struct AfXdp {
    name: String,
    params: AfXdpParams,
    link: Link,
    mode: Option<XdpMode>,
    zero_copy: bool,
    max_frame: usize,
    max_frags: usize,
    /// Nothing after the end.
    pub(super) queue: Option<Queue>,
    posts: Posts,
    /// Nothing after the end.
    probe: Option<Probe>,
    /// Which queue it is.
    place: Option<Place>,
    /// Packets are steered to the socket: from the first empty page on.
    started: bool,
    /// Packets lie in the tx ring that the kernel was not told of, or did not take yet.
    tx_waiting: bool,
    failure: Option<String>,
    watchdog: Watchdog,
    counts: Counts,
}

/// Counters of our own.
#[derive(Debug, Default)]
struct Counts {
    copied_frames: u64,
    tx_calls: u64,
    rx_calls: u64,
    /// Received and never looked at: what was in the rx ring at the end.
    rx_left: u64,
    quarantined: u64,
    /// Pages of former sockets that came out of quarantine when this one was opened.
    released: u64,
    /// What the kernel's counters said at the end.
    last: Option<XdpStatistics>,
    ring_corrupt: u64,
    tx_refused: u64,
    /// Lost as there was no empty page, and for other reasons: as was told last.
    told: Cell<(u64, u64)>,
}

impl AfXdp {
    /// Opens one queue of an interface over the memory of `zone`. Several devices may be opened over one zone; packets move between them without a copy.
    ///
    /// # Errors
    /// One line that says what was wrong and the way out; see [`DevError::class`]. Nothing is left behind then.
    pub fn open(zone: &Zone, params: &AfXdpParams) -> Result<Self, DevError> {
        params.check()?;
        let (pages, rings) = (zone.region().len() / CHUNK, params.fill_ring as usize + params.tx_ring as usize);
        if pages < rings {
            return Err(error::config(format!(
                "{}: {pages} pages of memory are too few for rings of {} pages to fill and {} to send: take {rings} pages or more, or smaller rings",
                params.iface, params.fill_ring, params.tx_ring
            )));
        }
        let posts = Posts::new(zone);
        let mut released = quarantine::look();
        let queue = Queue::open(posts.umem(), params)?;
        let place = Place::here(queue.link.index, params.queue);
        released += quarantine::bound(place, &queue.socket.proof());
        let probe = Probe::new(&params.iface, queue.link.index, params.queue)?;
        Ok(Self {
            name: format!("afxdp:{}:{}", params.iface, params.queue),
            params: params.clone(),
            link: queue.link.clone(),
            mode: queue.mode(),
            zero_copy: queue.socket.zero_copy(),
            max_frame: longest_frame(&queue.link).min(if queue.socket.fragments() { usize::MAX } else { CHUNK }),
            max_frags: if queue.socket.fragments() { MAX_FRAGS } else { 0 },
            queue: Some(queue),
            posts,
            probe: Some(probe),
            place,
            started: false,
            tx_waiting: false,
            failure: None,
            watchdog: Watchdog::default(),
            counts: Counts { released: released as u64, ..Counts::default() },
        })
    }

    /// The interface, as it was when the device was opened.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Where the steering program runs; nothing with [`Steering::None`](super::Steering::None).
    pub fn xdp_mode(&self) -> Option<XdpMode> {
        self.mode
    }

    /// True when packets are neither copied in nor out by the kernel.
    pub fn zero_copy(&self) -> bool {
        self.zero_copy
    }

    /// The socket, for an XDP program and `XSKMAP` of one's own ([`Steering::None`](super::Steering::None)); nothing after the end. Whoever keeps a copy of it keeps
    /// the socket, and with it the pages that were posted: they are quarantined at the end, as long as the copy is there.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.queue.as_ref().map(|queue| queue.socket.as_fd())
    }

    /// Keeps the fill ring full, as far as the pool goes.
    #[inline]
    fn refill(&mut self, pool: &mut PagePool) {
        let Some(queue) = &mut self.queue else { return };
        let fill = queue.socket.fill();
        let batch = FILL_BATCH.min(self.params.fill_ring);
        // A quarter of a small pool is left to packets that are under way.
        let target = (pool.limit() - pool.limit() / 4).min(self.params.fill_ring as usize);
        let wanted = target.saturating_sub(self.posts.rx_count()).min(fill.free(batch) as usize);
        if wanted >= batch as usize || (wanted > 0 && self.posts.rx_count() == 0) {
            self.posts.fill(fill, pool, wanted as u32);
        }
        if !self.started && self.posts.rx_count() > 0 {
            self.started = true;
            self.failure = queue.start_rx().err();
        }
    }

    /// Remembers why the queue is of no more use, when that is what `errno` means.
    fn note(&mut self, errno: Errno) {
        if self.failure.is_none() {
            self.failure = self.queue.as_ref().and_then(|queue| queue.explain(errno));
        }
    }

    /// Why what was sent does not come back, when it does not.
    pub(super) fn stuck(&mut self, now: Instant) -> Option<String> {
        let frames = self.posts.tx_count();
        if !self.watchdog.is_stuck(now, frames) {
            return None;
        }
        // Without a carrier a card keeps what it was given until there is one.
        if !Link::by_index(self.link.index).is_ok_and(|link| link.carrier) {
            self.watchdog.restart();
            return None;
        }
        let (name, seconds) = (&self.params.iface, watchdog::PATIENCE.as_secs());
        Some(format!(
            "{name}: {frames} sent frames did not come back in {seconds} s: the card was reset, or its driver is stuck"
        ))
    }

    /// What the kernel counts, or has counted at the end.
    fn statistics(&self) -> Option<XdpStatistics> {
        self.queue.as_ref().map_or(self.counts.last, |queue| queue.socket.statistics().ok())
    }

    fn tx_refused(&self) -> u64 {
        self.queue.as_ref().map_or(self.counts.tx_refused, |queue| queue.socket.tx_refused())
    }

    /// Closes the socket, and gives every page home, or to quarantine.
    fn close(&mut self, mut home: impl FnMut(waterwheel_xdp::Page)) {
        let Some(mut queue) = self.queue.take() else { return };
        queue.stop_rx();
        let deadline = Instant::now() + DRAIN;
        loop {
            self.posts.complete(queue.socket.completion(), &mut home);
            let more = if self.failure.is_none() { queue.socket.kick_tx() } else { Err(Errno::NODEV) };
            if self.posts.tx_count() == 0 || more.is_err() || Instant::now() > deadline {
                break;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        self.counts.rx_left = u64::from(queue.socket.rx().available());
        self.counts.last = queue.socket.statistics().ok();
        (self.counts.ring_corrupt, self.counts.tx_refused) = (queue.socket.corrupt(), queue.socket.tx_refused());
        drop(queue);
        let Some(probe) = self.probe.take() else { return };
        match probe.wait(PATIENCE) {
            Ok(proof) => self.posts.reclaim(&proof, home),
            Err(_) => {
                let pages = self.posts.quarantine();
                self.counts.quarantined += pages.len() as u64;
                quarantine::keep(self.place, probe, pages);
            }
        }
    }
}

impl Device for AfXdp {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            max_frame: self.max_frame,
            max_frags: self.max_frags,
            foreign_pages: false,
            region: Some(self.posts.region()),
            ..Capabilities::default()
        }
    }

    fn complete(&mut self, homes: &mut Homes<'_>) -> usize {
        let Some(queue) = &mut self.queue else { return 0 };
        let completed = self.posts.complete(queue.socket.completion(), |page| homes.put(page));
        self.watchdog.completed(completed);
        completed
    }

    fn rx(&mut self, pool: &mut PagePool, batch: &mut Vec<XdpBuff>, budget: usize) -> usize {
        self.refill(pool);
        let Some(queue) = &mut self.queue else { return 0 };
        let before = batch.len();
        self.posts.receive(queue.socket.rx(), pool, batch, budget as u32);
        batch.len() - before
    }

    fn tx(&mut self, pool: &mut PagePool, frames: &mut Vec<XdpFrame>, drops: &mut Drops) -> Traffic {
        let mut traffic = Traffic::default();
        let Some(queue) = &mut self.queue else { return traffic };
        let parts = frames.iter().map(|frame| 1 + frame.frag_count()).sum::<usize>();
        let mut slots = queue.socket.tx().reserve(parts as u32);
        loop {
            // A refused frame leaves its slot to the next ones, so there may be a second turn.
            let count = fitting(frames, slots.room() as usize);
            if count == 0 {
                break;
            }
            for frame in frames.drain(..count) {
                if !(ETHERNET_HEADER..=self.max_frame).contains(&frame.total_len()) {
                    let short = frame.total_len() < ETHERNET_HEADER;
                    drops.add(if short { DropReason::Malformed } else { DropReason::FrameTooLong }, 1);
                    pool.put(frame.into_page());
                    continue;
                }
                let sent = self.posts.send(&mut slots, frame).or_else(|frame| {
                    let copy = copied(pool, &frame, &self.posts);
                    pool.put(frame.into_page());
                    self.counts.copied_frames += u64::from(copy.is_some());
                    copy.and_then(|copy| self.posts.send(&mut slots, copy).ok()).ok_or(())
                });
                match sent {
                    Ok(len) => traffic.add(len),
                    Err(()) => drops.add(DropReason::ForeignPage, 1),
                }
            }
        }
        self.tx_waiting |= slots.submit() > 0;
        traffic
    }

    fn tx_room(&mut self) -> usize {
        let size = self.params.tx_ring;
        self.queue.as_mut().map_or(0, |queue| queue.socket.tx().free(FILL_BATCH.min(size)) as usize)
    }

    fn flush(&mut self) {
        let Some(queue) = &mut self.queue else { return };
        let socket = &mut queue.socket;
        let (mut sent, mut received) = (Ok(false), Ok(()));
        if self.tx_waiting {
            if !self.params.need_wakeup || socket.tx().needs_wakeup() {
                self.counts.tx_calls += 1;
                sent = socket.kick_tx();
            } else {
                sent = Ok(socket.tx().pending() > 0);
            }
        }
        // Busy polling takes packets in here and now: in vain, while those that others took in are waiting.
        let polls = self.params.busy_poll.is_some() && socket.rx.is_empty();
        let fill = socket.fill();
        if polls || (self.params.need_wakeup && fill.needs_wakeup() && fill.pending() > 0) {
            self.counts.rx_calls += 1;
            received = socket.kick_rx();
        }
        self.tx_waiting = sent.unwrap_or(false);
        if let Some(errno) = sent.err().or(received.err()) {
            self.note(errno);
        }
    }

    fn wait(&self) -> Wait {
        let Some(queue) = &self.queue else { return Wait::Never };
        let socket = &queue.socket;
        if self.params.busy_poll.is_some() || !socket.rx.is_empty() || !socket.completion.is_empty() {
            return Wait::Now;
        }
        let starving = socket.fill.pending() < FILL_BATCH.min(self.params.fill_ring);
        if self.posts.tx_count() > 0 || starving {
            return Wait::Until(Instant::now() + LOOK_AGAIN);
        }
        Wait::Readable
    }

    fn fds<'a>(&'a self, add: &mut dyn FnMut(BorrowedFd<'a>)) {
        if let Some(queue) = &self.queue {
            add(queue.socket.as_fd());
        }
    }

    fn health(&mut self) -> Health {
        if self.failure.is_none() {
            self.failure = self.queue.as_ref().and_then(Queue::failure).or_else(|| self.stuck(Instant::now()));
        }
        self.failure.clone().map_or(Health::Up, Health::Failed)
    }

    fn mode(&self) -> String {
        let mode = self.mode.map_or_else(|| "program of one's own".to_owned(), |mode| mode.to_string());
        format!("{mode}, {}", if self.zero_copy { "zero copy" } else { "copy" })
    }

    fn counters(&self, count: &mut dyn FnMut(&'static str, u64)) {
        if let Some(kernel) = self.statistics() {
            count("rx_dropped", kernel.rx_dropped);
            count("rx_invalid_descs", kernel.rx_invalid_descs);
            count("rx_ring_full", kernel.rx_ring_full.unwrap_or(0));
            count("rx_fill_ring_empty_descs", kernel.rx_fill_ring_empty_descs.unwrap_or(0));
            count("tx_invalid_descs", kernel.tx_invalid_descs);
            count("tx_ring_empty_descs", kernel.tx_ring_empty_descs.unwrap_or(0));
        }
        let corrupt = self.queue.as_ref().map_or(self.counts.ring_corrupt, |queue| queue.socket.corrupt());
        count("copied_frames", self.counts.copied_frames);
        count("tx_refused_by_driver", self.tx_refused());
        count("tx_calls", self.counts.tx_calls);
        count("rx_calls", self.counts.rx_calls);
        count("rx_left_at_close", self.counts.rx_left);
        count("bad_rx_descs", self.posts.bad_rx);
        count("bad_completions", self.posts.bad_completions);
        count("ring_index_errors", corrupt);
        count("quarantined_pages", self.counts.quarantined);
        count("released_pages", self.counts.released);
    }

    fn lost(&self, count: &mut dyn FnMut(&'static str, u64)) {
        let kernel = self.statistics();
        let (no_page, other) = self.counts.told.get();
        let told = kernel.map_or((no_page, other), |kernel| {
            // In copy mode, what finds no page is dropped, and counted as both; the two are not read in one moment. In zero copy nothing was lost by it yet.
            let now = if self.zero_copy { 0 } else { kernel.rx_fill_ring_empty_descs.unwrap_or(0) };
            (now.max(no_page), kernel.rx_dropped.saturating_sub(now).max(other))
        });
        self.counts.told.set(told);
        count("rx_fill_ring_empty_descs", told.0);
        count("rx_dropped", told.1);
        count("rx_ring_full", kernel.and_then(|kernel| kernel.rx_ring_full).unwrap_or(0));
        count("rx_left_at_close", self.counts.rx_left);
        count("bad_rx_descs", self.posts.bad_rx);
    }

    /// Their bytes are not known.
    fn unsent(&self) -> Traffic {
        let invalid = self.statistics().map_or(0, |kernel| kernel.tx_invalid_descs);
        Traffic { packets: self.tx_refused() + invalid, bytes: 0 }
    }

    fn in_flight(&self) -> usize {
        self.posts.rx_count() + self.posts.begun() + self.posts.tx_count()
    }

    fn account(&self, account: &mut Account) {
        self.posts.account(account);
    }

    fn shutdown(&mut self, homes: &mut Homes<'_>) {
        self.close(|page| homes.put(page));
    }
}

impl Drop for AfXdp {
    fn drop(&mut self) {
        self.close(drop);
    }
}

/// How many of the first frames have room in so many descriptors.
#[inline]
fn fitting(frames: &[XdpFrame], room: usize) -> usize {
    let mut used = 0;
    let fits = |frame: &&XdpFrame| {
        used += 1 + frame.frag_count();
        used <= room
    };
    frames.iter().take_while(fits).count()
}

/// The frame in pages of the pool; nothing when there are none, or of another region.
fn copied(pool: &mut PagePool, frame: &XdpFrame, posts: &Posts) -> Option<XdpFrame> {
    let len = frame.total_len();
    let copy = if len > CHUNK {
        frame.duplicate(pool, Direction::Tx)?
    } else {
        // A frame that leaves no room for it has no headroom: nobody looks at it any more.
        let mut copy = XdpBuff::new(pool.alloc(Direction::Tx)?, HEADROOM.min(CHUNK - len), len);
        frame.load_bytes(0, copy.data_mut());
        copy.into()
    };
    if !copy.is_of(posts.region()) {
        pool.put(copy.into_page());
        return None;
    }
    Some(copy)
}
