//! The memory of a connection: made by a client, or taken from what a client offers. Both end in a [`Link`] for each queue.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::io::Errno;
use waterwheel_xdp::{Traffic, Zone};

use super::channel::Channel;
use super::closer::Foreign;
use super::event;
use super::fault::Fault;
use super::handshake::{Agreed, Line, Offer};
use super::memory::{COOKIE, Mapping, Memory, Ring, ring_bytes};
use super::message::{AddRing, Message};
use super::params::Role;
use super::region;
use super::rings::{Buffers, End, STRIDE};
use super::rx::Rx;
use super::trust::{self, LentRx, LentTx};
use super::tx::Tx;

/// What a queue has of a connection: a ring in either direction. One may be missing, as the other side has fewer.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) rx: Option<RxSide>,
    pub(super) tx: Option<TxSide>,
    /// Closed when the last queue has let go of the memory: then the peer knows that nobody writes to it any more.
    pub(super) channel: Channel,
}

/// The end that packets come out of.
#[derive(Debug)]
pub(super) enum RxSide {
    Copy(Rx),
    Lent(LentRx),
}

/// The end that packets go into.
#[derive(Debug)]
pub(super) enum TxSide {
    Copy(Tx),
    Lent(LentTx),
}

impl RxSide {
    pub(super) fn end(&self) -> &End {
        match self {
            Self::Copy(rx) => &rx.end,
            Self::Lent(rx) => &rx.end,
        }
    }

    /// Whether something has come since the last look.
    pub(super) fn has_more(&self) -> bool {
        match self {
            Self::Copy(rx) => rx.has_more(),
            Self::Lent(rx) => rx.has_more(),
        }
    }

    /// What has come and was not taken out.
    pub(super) fn untaken(&self) -> Traffic {
        match self {
            Self::Copy(rx) => rx.untaken(),
            Self::Lent(rx) => rx.untaken(),
        }
    }

    /// There was no page for what has come, or may come.
    pub(super) fn is_starved(&self) -> bool {
        match self {
            Self::Copy(rx) => rx.is_starved(),
            Self::Lent(rx) => rx.is_starved(),
        }
    }
}

impl TxSide {
    /// Wakes the other side, if there is news for it and it wants to be woken. Tells whether it did.
    #[inline]
    pub(super) fn notify(&mut self) -> bool {
        match self {
            Self::Copy(tx) => tx.notify(),
            Self::Lent(tx) => tx.notify(),
        }
    }

    /// What the peer has not taken.
    pub(super) fn untaken(&mut self) -> Traffic {
        match self {
            Self::Copy(tx) => tx.untaken(),
            Self::Lent(tx) => tx.untaken(),
        }
    }

    /// Slots that can be filled now.
    pub(super) fn room(&mut self) -> Result<u16, Fault> {
        match self {
            Self::Copy(tx) => tx.known_room(),
            Self::Lent(tx) => Ok(tx.room()),
        }
    }
}

/// What a client has made and not used yet: the server sets all indices to 0 before it says `Connected`.
#[derive(Debug)]
pub(super) struct Export {
    memory: Arc<Memory>,
    /// Pages of it go to the peer, and nothing is copied.
    lent: Option<Zone>,
    rings: Vec<Exported>,
}

#[derive(Debug)]
struct Exported {
    place: AddRing,
    event: Arc<Foreign>,
    buffers: Buffers,
}

const PAGE: u64 = 4096;

impl Export {
    /// One region with all rings, and a buffer for each slot behind them; or, for a peer that is trusted, without buffers, and the region of `lent`. Also tells what the server
    /// must hear of it.
    pub(super) fn new(agreed: Agreed, lent: Option<&Zone>) -> Result<(Self, Vec<Line>), Fault> {
        let rings = 2 * u64::from(agreed.queues);
        let buffers = (rings * ring_bytes(agreed.log2_slots)).next_multiple_of(PAGE);
        let per_ring = if lent.is_some() { 0 } else { u64::from(STRIDE) << agreed.log2_slots };
        let size = (buffers + rings * per_ring).next_multiple_of(PAGE);
        let file = Arc::new(Foreign::from(region::export(size).map_err(Fault::System)?));
        let mapping = Mapping::new(file.as_fd(), size as usize, true).map_err(Fault::System)?;
        let memory = Memory::new(vec![mapping]);

        let mut lines = vec![(Message::AddRegion { index: 0, size }, Some(file))];
        if let Some(zone) = lent {
            let file = trust::memory_of(zone).try_clone_to_owned().map_err(|_| Fault::System(Errno::MFILE))?;
            let size = zone.region().len() as u64;
            lines.push((Message::AddRegion { index: trust::ZONE, size }, Some(Arc::new(file.into()))));
        }
        let mut exported = Vec::new();
        for number in 0..rings {
            let queue = (number % u64::from(agreed.queues)) as u16;
            let place = AddRing {
                to_server: number < u64::from(agreed.queues),
                index: queue,
                region: 0,
                offset: (number * ring_bytes(agreed.log2_slots)) as u32,
                log2_slots: agreed.log2_slots,
                private_header: 0,
            };
            let ring = ring(&memory, &place)?;
            ring.cookie().store(COOKIE, Ordering::Release);
            let event = Arc::new(Foreign::from(event::new().map_err(Fault::System)?));
            lines.push((Message::AddRing(place), Some(Arc::clone(&event))));
            let first = (buffers + number * per_ring) as u32;
            exported.push(Exported { place, event, buffers: Buffers::Ours { first } });
        }
        Ok((Self { memory, lent: lent.cloned(), rings: exported }, lines))
    }

    /// Packets may flow: a link for each queue.
    pub(super) fn links(self, queues: u16, channel: &Channel) -> Result<Vec<Option<Link>>, Fault> {
        let mut links = Links::new(queues, self.lent, channel);
        for Exported { place, event, buffers } in self.rings {
            links.add(&self.memory, &place, event, Role::Client, buffers)?;
        }
        Ok(links.done())
    }
}

/// What a client offers becomes a link for each queue.
pub(super) fn import(offer: Offer, queues: u16, trusted: bool, channel: &Channel) -> Result<Vec<Option<Link>>, Fault> {
    let take = |(file, size): (Foreign, u64)| region::import(&file, size, trusted).map_err(Fault::protocol);
    let memory = Memory::new(offer.regions.into_iter().map(take).collect::<Result<_, _>>()?);
    let mut links = Links::new(queues, None, channel);
    for (place, event) in offer.to_server.into_iter().chain(offer.to_client) {
        if !event::is_one(event.as_fd()) {
            return Err(Fault::protocol("interrupt file is no eventfd"));
        }
        if ring(&memory, &place)?.cookie().load(Ordering::Acquire) != COOKIE {
            return Err(Fault::protocol("wrong ring cookie"));
        }
        links.add(&memory, &place, Arc::new(event), Role::Server, Buffers::Theirs)?;
    }
    Ok(links.done())
}

fn ring(memory: &Arc<Memory>, place: &AddRing) -> Result<Ring, Fault> {
    Ring::new(memory, place.region, place.offset.into(), place.log2_slots).ok_or(Fault::protocol("invalid ring offset"))
}

/// Links that are being put together.
struct Links {
    links: Vec<Link>,
    lent: Option<Zone>,
}

impl Links {
    fn new(queues: u16, lent: Option<Zone>, channel: &Channel) -> Self {
        let link = |_| Link { rx: None, tx: None, channel: channel.clone() };
        Self { links: (0..queues).map(link).collect(), lent }
    }

    fn add(
        &mut self,
        memory: &Arc<Memory>,
        place: &AddRing,
        event: Arc<Foreign>,
        role: Role,
        buffers: Buffers,
    ) -> Result<(), Fault> {
        let link = self.links.get_mut(usize::from(place.index)).ok_or(Fault::System(Errno::INVAL))?;
        let end = End { ring: ring(memory, place)?, memory: Arc::clone(memory), event, role, buffers, next: 0 };
        let sends = place.to_server == (role == Role::Client);
        match &self.lent {
            None if sends => link.tx = Some(TxSide::Copy(Tx::new(end))),
            None => link.rx = Some(RxSide::Copy(Rx::new(end))),
            Some(zone) if sends => link.tx = Some(TxSide::Lent(LentTx::new(end, zone))),
            Some(zone) => link.rx = Some(RxSide::Lent(LentRx::new(end, zone))),
        }
        Ok(())
    }

    fn done(self) -> Vec<Option<Link>> {
        self.links.into_iter().map(|link| (link.rx.is_some() || link.tx.is_some()).then_some(link)).collect()
    }
}
