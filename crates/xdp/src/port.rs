//! A port: a device with what the loop knows of it, and how it goes when it has failed.

use crate::action::PortId;
use crate::buff::{MAX_FRAGS, XdpBuff, XdpFrame};
use crate::control::Waker;
use crate::device::{Capabilities, Device, Health, Traffic, Wait};
use crate::drops::Drops;
use crate::event::is_readable;
use crate::homes::Homes;
use crate::revive::{LOOK, Revival};
use crate::stats::add_to;
use crate::sync::Mutex;
use crate::task::{Outcome, Task, catch};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use waterwheel_page_pool::PagePool;
use waterwheel_page_pool::mm::RegionId;

/// How long a worker waits at its end for a device that is being shut down elsewhere. Each has a deadline of its own, which is shorter.
const LONGEST_PARTING: Duration = if cfg!(shuttle) { Duration::MAX } else { Duration::from_secs(10) };

/// A device that was shut down, and how that went. (Nothing, if somebody else did it.)
type Parted = Option<(Box<dyn Device>, Outcome<()>)>;

/// A device with what the loop knows of it. Its pool is in [`Worker::pools`](crate::Worker), at the same index.
pub(crate) struct Port {
    pub(crate) id: PortId,
    pub(crate) device: Box<dyn Device>,
    /// Where its pool's pages lie.
    region: RegionId,
    /// It is neither failed nor shut down.
    pub(crate) up: bool,
    pub(crate) health: Health,
    /// What its device takes.
    pub(crate) max_frags: usize,
    /// The longest frame that its device takes.
    pub(crate) max_frame: usize,
    /// Receive no more than this local port can send.
    pub(crate) paced_by: Option<usize>,
    pub(crate) rx: Traffic,
    pub(crate) tx: Traffic,
    /// How there will be another device when this one fails; without it there will be none.
    pub(crate) revival: Option<Revival>,
    /// Devices that it has had after the first.
    pub(crate) revivals: u64,
    /// What those before this one have counted.
    past: Past,
    /// Its device has failed, and is being shut down.
    leaving: Option<Task<Parted>>,
    /// The device that paces it had no room in the last round.
    pub(crate) held_up: bool,
    /// In the last idle round its pool had less than it was asked for, and nothing since.
    pub(crate) starved: bool,
}

/// What devices have counted that are gone.
#[derive(Debug, Default)]
struct Past {
    counters: Vec<(&'static str, u64)>,
    lost: Vec<(&'static str, u64)>,
    unsent: Traffic,
}

impl Port {
    /// A device with a pool of pages of this region.
    pub(crate) fn new(id: PortId, device: Box<dyn Device>, region: RegionId) -> Self {
        let Capabilities { max_frags, max_frame, .. } = device.capabilities();
        Self {
            id,
            device,
            region,
            up: true,
            health: Health::Up,
            max_frags: max_frags.min(MAX_FRAGS),
            max_frame,
            paced_by: None,
            rx: Traffic::default(),
            tx: Traffic::default(),
            revival: None,
            revivals: 0,
            past: Past::default(),
            leaving: None,
            held_up: false,
            starved: false,
        }
    }

    /// It is down, and there may be another device soon.
    pub(crate) fn is_reviving(&self) -> bool {
        !self.up && self.revival.is_some() && matches!(self.health, Health::Failed(_))
    }

    /// When there may be one, for who is not woken then and has to look.
    pub(crate) fn next_look(&self, looks: bool) -> Option<Instant> {
        match (&self.leaving, &self.revival) {
            (Some(_), _) => looks.then(|| Instant::now() + LOOK),
            (None, Some(revival)) if !self.up => revival.next_look(looks),
            _ => None,
        }
    }

    /// Something that it waits for has happened on another thread.
    pub(crate) fn has_news(&self) -> bool {
        self.leaving.as_ref().is_some_and(Task::is_done) || self.revival.as_ref().is_some_and(Revival::has_news)
    }

    /// Looks at its device: a failed one gives its pages back and is left alone, until there is another. Tells whether there is one: it has to be polled before one can wait for it.
    pub(crate) fn tend(&mut self, pools: &mut [PagePool], waker: &Waker) -> bool {
        if self.up {
            self.health = self.device.health();
            if let Health::Failed(cause) = &self.health {
                self.up = false;
                if let Some(revival) = &mut self.revival {
                    revival.begin(cause);
                }
                self.part(pools, waker);
            }
            return false;
        }
        if let Some(leaving) = &mut self.leaving {
            let Some(parted) = leaving.take() else { return false };
            self.leaving = None;
            self.take_up_again(parted);
        }
        match self.revival.as_mut().and_then(|revival| revival.turn(self.region, waker)) {
            Some(Ok(device)) => self.replace(device),
            Some(Err(why)) => self.health = Health::Failed(why),
            None => {}
        }
        self.up
    }

    /// Shuts the device down, on a thread of its own: it may take a second. Its pages come home from there.
    fn part(&mut self, pools: &mut [PagePool], waker: &Waker) {
        let stand_in = Box::new(StandIn::of(&*self.device));
        let device = Arc::new(Mutex::new(Some(std::mem::replace(&mut self.device, stand_in))));
        let theirs = device.clone();
        let work = move || {
            let device = theirs.lock().unwrap_or_else(PoisonError::into_inner).take();
            device.map(|mut device| {
                let ended = shut_down(&mut *device, &mut Homes::new(&mut []));
                (device, ended)
            })
        };
        match Task::spawn("waterwheel-down", waker, work) {
            Ok(task) => self.leaving = Some(task),
            Err(_) => {
                // There is no thread for it.
                if let Some(mut device) = device.lock().unwrap_or_else(PoisonError::into_inner).take() {
                    let ended = shut_down(&mut *device, &mut Homes::new(pools));
                    self.take_up_again(Ok(Some((device, ended))));
                }
            }
        }
    }

    /// A device that was shut down is back in its place: to be asked what it counted.
    fn take_up_again(&mut self, parted: Outcome<Parted>) {
        let Ok(Some((device, ended))) = parted else { return };
        self.device = device;
        if let (Err(why), Health::Failed(cause)) = (ended, &self.health) {
            self.health = Health::Failed(format!("{cause}; {why}"));
        }
    }

    fn replace(&mut self, device: Box<dyn Device>) {
        let Past { counters, lost, unsent } = &mut self.past;
        self.device.counters(&mut |name, n| add_to(counters, name, n));
        self.device.lost(&mut |name, n| add_to(lost, name, n));
        unsent.merge(unsent_of(&*self.device, self.tx));
        let Capabilities { max_frags, max_frame, .. } = device.capabilities();
        (self.max_frags, self.max_frame) = (max_frags.min(MAX_FRAGS), max_frame);
        self.device = device;
        self.health = Health::Up;
        self.up = true;
        self.revivals += 1;
    }

    /// The counters of its devices, those that are gone included, into `all`.
    pub(crate) fn counters(&self, all: &mut Vec<(&'static str, u64)>) {
        all.clear();
        all.extend_from_slice(&self.past.counters);
        self.device.counters(&mut |name, n| add_to(all, name, n));
    }

    /// What its devices have lost, those that are gone included, into `all`.
    pub(crate) fn lost(&self, all: &mut Vec<(&'static str, u64)>) {
        all.clear();
        all.extend_from_slice(&self.past.lost);
        self.device.lost(&mut |name, n| add_to(all, name, n));
    }

    /// What its devices took and could then write.
    pub(crate) fn sent(&self) -> Traffic {
        let mut unsent = self.past.unsent;
        unsent.merge(unsent_of(&*self.device, self.tx));
        self.tx.without(unsent)
    }

    /// After an idle round: whether that may be for want of pages.
    pub(crate) fn note_starving(&mut self, pool: &PagePool) {
        self.starved = pool.is_dry();
    }

    /// It has packets, and no pages to receive them into.
    pub(crate) fn lacks_pages(&self) -> bool {
        self.starved && is_readable(|add| self.device.fds(add))
    }

    /// When its device will have something to do. One that lacks pages would be polled for ever to no avail.
    pub(crate) fn wait(&self) -> Wait {
        match self.device.wait() {
            Wait::Now if self.starved => Wait::soon(),
            Wait::Until(then) if self.starved && then <= Instant::now() => Wait::soon(),
            Wait::Readable if self.lacks_pages() => Wait::soon(),
            wait => wait,
        }
    }

    /// Waits for a device that is being shut down elsewhere.
    pub(crate) fn settle(&mut self) {
        if let Some(leaving) = self.leaving.take()
            && let Some(parted) = leaving.wait(LONGEST_PARTING)
        {
            self.take_up_again(parted);
        }
    }

    /// The end: there will be no other device.
    pub(crate) fn close(&mut self, homes: &mut Homes<'_>) {
        if let Some(revival) = &mut self.revival {
            revival.stop();
        }
        self.settle();
        if std::mem::take(&mut self.up) {
            let ended = shut_down(&mut *self.device, homes);
            // What was still buffered may not have been written.
            match ended.and_then(|()| catch(|| self.device.health())) {
                Ok(failed @ Health::Failed(_)) => self.health = failed,
                Ok(_) => {}
                Err(why) => self.health = Health::Failed(why),
            }
        }
    }
}

/// Shuts a device down. A panic of it is a failure of it: the others are to be shut down, too.
fn shut_down(device: &mut dyn Device, homes: &mut Homes<'_>) -> Outcome<()> {
    catch(|| device.shutdown(homes)).map_err(|panic| format!("shutting it down panicked: {panic}"))
}

/// What a device took and could not write; the bytes, where it does not know them, after the mean of what was sent.
fn unsent_of(device: &dyn Device, sent: Traffic) -> Traffic {
    let mut unsent = device.unsent();
    if unsent.bytes == 0 && sent.packets > 0 {
        let bytes = u128::from(sent.bytes) * u128::from(unsent.packets) / u128::from(sent.packets);
        unsent.bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    }
    unsent
}

/// In the place of a device that is being shut down elsewhere: says what the device said last.
struct StandIn {
    name: String,
    mode: String,
    /// It may come back as what it was.
    capabilities: Capabilities,
    counters: Vec<(&'static str, u64)>,
    lost: Vec<(&'static str, u64)>,
    unsent: Traffic,
    in_flight: usize,
}

impl StandIn {
    fn of(device: &dyn Device) -> Self {
        let (mut counters, mut lost) = (Vec::new(), Vec::new());
        device.counters(&mut |name, n| add_to(&mut counters, name, n));
        device.lost(&mut |name, n| add_to(&mut lost, name, n));
        let (name, mode) = (device.name().to_owned(), device.mode());
        Self {
            name,
            mode,
            capabilities: device.capabilities(),
            counters,
            lost,
            unsent: device.unsent(),
            in_flight: device.in_flight(),
        }
    }
}

impl Device for StandIn {
    fn name(&self) -> &str {
        &self.name
    }
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }
    fn complete(&mut self, _: &mut Homes<'_>) -> usize {
        0
    }
    fn rx(&mut self, _: &mut PagePool, _: &mut Vec<XdpBuff>, _: usize) -> usize {
        0
    }
    fn tx(&mut self, _: &mut PagePool, _: &mut Vec<XdpFrame>, _: &mut Drops) -> Traffic {
        Traffic::default()
    }
    fn wait(&self) -> Wait {
        Wait::Never
    }
    fn mode(&self) -> String {
        self.mode.clone()
    }
    fn counters(&self, count: &mut dyn FnMut(&'static str, u64)) {
        self.counters.iter().for_each(|(name, n)| count(name, *n));
    }
    fn lost(&self, count: &mut dyn FnMut(&'static str, u64)) {
        self.lost.iter().for_each(|(name, n)| count(name, *n));
    }
    fn unsent(&self) -> Traffic {
        self.unsent
    }
    fn in_flight(&self) -> usize {
        self.in_flight
    }
}
