//! The memory of a connection: made by a client, or taken from what a client offers. Both end in a [`Link`] for each queue.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::io::Errno;

use super::event;
use super::fault::Fault;
use super::handshake::{Agreed, Line, Offer};
use super::memory::{COOKIE, Mapping, Memory, Ring, ring_bytes};
use super::message::{AddRing, Message};
use super::params::Role;
use super::region;
use super::rings::{Buffers, End, Rx, STRIDE, Tx};

/// What a queue has of a connection: a ring in either direction. One may be missing, as the other side has fewer.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) rx: Option<Rx>,
    pub(super) tx: Option<Tx>,
}

/// What a client has made and not used yet: the server sets all indices to 0 before it says `Connected`.
#[derive(Debug)]
pub(super) struct Export {
    memory: Arc<Memory>,
    rings: Vec<Exported>,
}

#[derive(Debug)]
struct Exported {
    place: AddRing,
    event: Arc<OwnedFd>,
    buffers: Buffers,
}

const PAGE: u64 = 4096;

impl Export {
    /// One region with all rings, and a buffer for each slot behind them. Also tells what the server must hear of it.
    pub(super) fn new(agreed: Agreed) -> Result<(Self, Vec<Line>), Fault> {
        let rings = 2 * u64::from(agreed.queues);
        let buffers = (rings * ring_bytes(agreed.log2_slots)).next_multiple_of(PAGE);
        let per_ring = u64::from(STRIDE) << agreed.log2_slots;
        let size = (buffers + rings * per_ring).next_multiple_of(PAGE);
        let file = Arc::new(region::export(size).map_err(Fault::System)?);
        let mapping = Mapping::new(file.as_fd(), size as usize, true).map_err(Fault::System)?;
        let memory = Memory::new(vec![mapping]);

        let mut lines = vec![(Message::AddRegion { index: 0, size }, Some(file))];
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
            let event = Arc::new(event::new().map_err(Fault::System)?);
            lines.push((Message::AddRing(place), Some(Arc::clone(&event))));
            let first = (buffers + number * per_ring) as u32;
            exported.push(Exported { place, event, buffers: Buffers::Ours { first } });
        }
        Ok((Self { memory, rings: exported }, lines))
    }

    /// Packets may flow: a link for each queue.
    pub(super) fn links(self, queues: u16) -> Result<Vec<Option<Link>>, Fault> {
        let mut links = Links::new(queues);
        for Exported { place, event, buffers } in self.rings {
            links.add(&self.memory, &place, event, Role::Client, buffers)?;
        }
        Ok(links.done())
    }
}

/// What a client offers becomes a link for each queue.
pub(super) fn import(offer: Offer, queues: u16, trusted: bool) -> Result<Vec<Option<Link>>, Fault> {
    let take = |(file, size)| region::import(file, size, trusted).map_err(Fault::protocol);
    let memory = Memory::new(offer.regions.into_iter().map(take).collect::<Result<_, _>>()?);
    let mut links = Links::new(queues);
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
struct Links(Vec<Link>);

impl Links {
    fn new(queues: u16) -> Self {
        Self((0..queues).map(|_| Link { rx: None, tx: None }).collect())
    }

    fn add(
        &mut self,
        memory: &Arc<Memory>,
        place: &AddRing,
        event: Arc<OwnedFd>,
        role: Role,
        buffers: Buffers,
    ) -> Result<(), Fault> {
        let link = self.0.get_mut(usize::from(place.index)).ok_or(Fault::System(Errno::INVAL))?;
        let end = End { ring: ring(memory, place)?, memory: Arc::clone(memory), event, role, buffers, next: 0 };
        if place.to_server == (role == Role::Client) {
            link.tx = Some(Tx::new(end));
        } else {
            link.rx = Some(Rx::new(end));
        }
        Ok(())
    }

    fn done(self) -> Vec<Option<Link>> {
        self.0.into_iter().map(|link| (link.rx.is_some() || link.tx.is_some()).then_some(link)).collect()
    }
}
