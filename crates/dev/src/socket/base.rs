//! What both kinds of sockets have: a ring, pages that wait for what comes, and what has come.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use waterwheel_xdp::{Account, HEADROOM, Homes, PagePool, Wait, XdpBuff, XdpFrame, Zone};

use super::SocketParams;
use crate::error::DevError;
use crate::uring::{Event, Op, Part, Receive, Ring, RingParams, Send, Without};

/// Keys of requests.
pub(super) const RX: u64 = 0;
pub(super) const TX: u64 = 1;
pub(super) const ACCEPT: u64 = 2;

/// When to look again for pages, when there were none.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// How long what is under way may take at the end, and how long the kernel may take to let go of it.
pub(super) const DRAIN: Duration = Duration::from_millis(200);
pub(super) const LET_GO: Duration = Duration::from_secs(1);

/// The ring of one socket.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) ring: Ring,
    pub(super) params: SocketParams,
    /// What has come and was not handed out yet.
    pub(super) received: VecDeque<Part>,
    /// The request to receive.
    pub(super) receiving: Option<Op>,
    events: Vec<Event>,
    pub(super) failure: Option<String>,
    /// Receives that ended as there was no page.
    starved: u64,
    quarantined: u64,
    /// What had come at the end, and was not handed out.
    unread: u64,
    ended: bool,
}

impl Base {
    /// `bundle`: what is received may go on in the next page.
    pub(super) fn open(zone: &Zone, params: &SocketParams, bundle: bool) -> Result<Self, DevError> {
        params.check()?;
        let without = Without { bundle: params.without.bundle || !bundle, ..params.without };
        let ring = RingParams {
            entries: 2 * u32::from(params.ring),
            buffers: params.ring,
            headroom: HEADROOM as u32,
            one_thread: false, // opened by one, used by another
            fixed: params.send == Send::Zc,
            without,
        };
        let ring = Ring::open(zone, &ring).map_err(|error| crate::uring::refused(&error))?;
        Ok(Self {
            ring,
            params: *params,
            received: VecDeque::with_capacity(params.ring.into()),
            receiving: None,
            events: Vec::new(),
            failure: None,
            starved: 0,
            quarantined: 0,
            unread: 0,
            ended: false,
        })
    }

    /// What has happened since the last time. The list is given back to [`handled`](Self::handled).
    pub(super) fn poll(&mut self, homes: &mut Homes<'_>, timeout: Duration) -> Vec<Event> {
        if let Err(error) = self.ring.poll(homes, timeout, &mut self.events) {
            self.failure.get_or_insert_with(|| format!("io_uring failed: {error}"));
        }
        std::mem::take(&mut self.events)
    }

    /// All of `events` was seen to: the list is used again.
    pub(super) fn handled(&mut self, events: Vec<Event>) {
        self.events = events;
    }

    pub(super) fn submit(&mut self) {
        if let Err(error) = self.ring.submit() {
            self.failure.get_or_insert_with(|| format!("io_uring failed: {error}"));
        }
    }

    /// Lets pages wait, and receives into them if nothing does. What has come and was not handed out has had its pages: so no more are out than the ring has places.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>, pool: &mut PagePool) {
        if !self.params.receive || self.ended {
            return;
        }
        let target = usize::from(self.params.ring).saturating_sub(self.received.len());
        self.ring.fill(pool, target);
        let ready = match self.ring.features().buffer_ring {
            true => self.ring.waiting_pages() > 0,
            false => target > 0,
        };
        if ready && self.receiving.is_none() {
            self.receiving = self.ring.receive(socket, RX, Receive::Multi, pool);
        }
    }

    /// Hands out what has come.
    pub(super) fn hand_out(&mut self, batch: &mut Vec<XdpBuff>, budget: usize) -> usize {
        let count = self.received.len().min(budget);
        let packet = |part: Part| XdpBuff::new(part.page, part.offset as usize, part.len as usize);
        batch.extend(self.received.drain(..count).map(packet));
        count
    }

    /// A request to receive is done. Tells of an error that is not just want of pages.
    pub(super) fn receive_ended(&mut self, result: Result<u32, Errno>) -> Result<u32, Errno> {
        self.receiving = None;
        match result {
            Err(Errno::NOBUFS) => self.starved += 1,
            Err(Errno::CANCELED | Errno::INTR | Errno::AGAIN) => {}
            result => return result,
        }
        Ok(1)
    }

    pub(super) fn wait(&self) -> Wait {
        match () {
            () if !self.received.is_empty() => Wait::Now,
            () if self.params.receive && self.receiving.is_none() => Wait::Until(Instant::now() + LOOK_AGAIN),
            () => Wait::Readable,
        }
    }

    pub(super) fn pages(&self) -> usize {
        self.ring.pages() + self.received.len()
    }

    pub(super) fn account(&self, account: &mut Account) {
        self.ring.account(account);
        self.received.iter().for_each(|part| account.queued(&part.page));
    }

    pub(super) fn counters(&self, count: &mut dyn FnMut(&'static str, u64)) {
        let stats = self.ring.stats();
        count("rx_starved", self.starved);
        count("system_calls", stats.enters);
        count("zc_sent", stats.zc_sent);
        count("zc_copied", stats.zc_copied);
        count("zc_refused", stats.zc_refused);
        count("bad_completions", stats.bad_completions);
        count("quarantined_pages", self.quarantined);
    }

    /// What had come and nobody will be given.
    pub(super) fn lost(&self, count: &mut dyn FnMut(&'static str, u64)) {
        count("left_at_end", self.unread + self.ring.stats().unread);
    }

    /// Closes the ring; every page goes home, but those that the kernel does not let go of.
    pub(super) fn end(&mut self, homes: &mut Homes<'_>) {
        self.unread += self.received.len() as u64;
        homes.put_bulk(self.received.drain(..).map(|part| part.page));
        if !std::mem::replace(&mut self.ended, true) {
            self.quarantined += self.ring.end(homes, LET_GO) as u64;
        }
        self.receiving = None;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }
}

/// The parts of a frame, each with its page.
pub(super) fn parts(frame: XdpFrame) -> impl Iterator<Item = Part> {
    frame.into_parts().map(|part| {
        let (page, bytes) = part.into_place();
        Part::new(page, bytes.start, bytes.len())
    })
}
