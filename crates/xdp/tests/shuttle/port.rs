//! A device for the model: a source of packets, a sink for others, and it may break.

use crate::common::{number, packet};
use crate::explore::Dice;
use shuttle::thread::yield_now;
use waterwheel_xdp::{Account, Device, Direction, Drops, Health, Homes, PagePool, Traffic, Wait, XdpBuff, XdpFrame};

/// Frames that it holds at most.
const ROOM: usize = 3;

pub(crate) struct Port {
    /// Packets that it will still receive.
    left: u64,
    /// Frames that it sends before it breaks.
    breaks_after: u64,
    sent: u64,
    held: Vec<XdpFrame>,
    closed: bool,
    /// Something may still come, and nothing does.
    quiet: bool,
}

impl Port {
    pub(crate) fn new(dice: &mut Dice) -> Box<Self> {
        let breaks_after = if dice.one_in(4) { dice.below(6) as u64 } else { u64::MAX };
        Box::new(Self { breaks_after, ..*Self::source(dice.below(9) as u64) })
    }

    /// One to which nothing comes.
    pub(crate) fn quiet() -> Box<Self> {
        Box::new(Self { quiet: true, ..*Self::source(0) })
    }

    /// One that does not break.
    pub(crate) fn source(packets: u64) -> Box<Self> {
        Box::new(Self { left: packets, breaks_after: u64::MAX, sent: 0, held: Vec::new(), closed: false, quiet: false })
    }
}

/// The packet's number is its page's: two who believe that a page is theirs would see the other's.
fn tag(page: &waterwheel_xdp::Page) -> u64 {
    page.as_ptr().addr() as u64 >> 12
}

/// Fails if the frame is not what it was when it was received.
#[track_caller]
pub(crate) fn assert_undamaged(page: &[u8], data: &[u8]) {
    assert_eq!(number(data), page.as_ptr().addr() as u64 >> 12, "another packet's bytes");
}

impl Device for Port {
    fn name(&self) -> &str {
        "port"
    }

    fn complete(&mut self, homes: &mut Homes<'_>) -> usize {
        let count = self.held.len().min(2);
        homes.put_bulk(self.held.drain(..count).map(|frame| {
            assert_undamaged(frame.page(), frame.data());
            frame.into_page()
        }));
        count
    }

    fn rx(&mut self, pool: &mut PagePool, batch: &mut Vec<XdpBuff>, budget: usize) -> usize {
        let before = batch.len();
        let count = budget.min(self.left as usize);
        batch.extend(pool.hand_out(Direction::Rx, count).map(|page| {
            let tag = tag(&page);
            packet(page, tag, 60)
        }));
        let got = batch.len() - before;
        self.left -= got as u64;
        got
    }

    fn tx(&mut self, _: &mut PagePool, frames: &mut Vec<XdpFrame>, _: &mut Drops) -> Traffic {
        let mut sent = Traffic::default();
        for frame in frames.drain(..frames.len().min(ROOM - self.held.len())) {
            sent.add(frame.len());
            self.held.push(frame);
        }
        self.sent += sent.packets;
        sent
    }

    /// A loop that finds nothing to do lets others go on: PCT would else run it for ever.
    fn flush(&mut self) {
        yield_now();
    }

    fn wait(&self) -> Wait {
        if self.left > 0 || !self.held.is_empty() { Wait::Now } else { Wait::Never }
    }

    fn health(&mut self) -> Health {
        match () {
            () if self.sent >= self.breaks_after => Health::Failed("on purpose".to_owned()),
            () if self.left == 0 && !self.quiet => Health::Finished,
            () => Health::Up,
        }
    }

    fn in_flight(&self) -> usize {
        self.held.len()
    }

    fn account(&self, account: &mut Account) {
        self.held.iter().for_each(|frame| frame.account(account));
    }

    fn shutdown(&mut self, homes: &mut Homes<'_>) {
        assert!(!std::mem::replace(&mut self.closed, true), "it was shut down twice");
        homes.put_bulk(self.held.drain(..).map(XdpFrame::into_page));
    }
}
