//! Devices that each break one rule, to see that the suite can fail: the check that the rule has its name from must catch it.

use crate::profile;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use waterwheel_xdp::conformance::{CHECKS, Cut, DevicePeer, Nobody, Pair, Profile, Receives, Rig, Sends, run};
use waterwheel_xdp::mm::RegionId;
use waterwheel_xdp::{
    Account, Capabilities, Device, Direction, Drops, Health, Homes, PagePool, Traffic, Veth, Wait, XdpBuff, XdpFrame,
    Zone, veth,
};

/// What is wrong with a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    SwapsNeighbours,
    FlipsABit,
    LosesSilently,
    DeliversTwice,
    CutsTheMtu,
    TakesWhatIsTooLong,
    LeavesRuntsForEver,
    LosesBehindTheBudget,
    SendsTheFirstPartOnly,
    CountsOneMore,
    SaysOneMoreReceived,
    GivesOneMore,
    DropsWhenFull,
    TurnsWhatIsLeft,
    PromisesRoom,
    NeverWakes,
    NeverSleeps,
    MiscountsInFlight,
    KeepsForeignPages,
    KeepsOrphans,
    KeepsPagesWhenStopped,
    KeepsPagesWhenDropped,
    KeepsPagesWhenCut,
    DoesNotNoticeTheCut,
    WorksOnce,
    SendsAgainstItsProfile,
    LosesBeforeRx,
    CountsLossesTwice,
    ForgetsLosses,
    NamesALossTwice,
    SwallowsTheRest,
    FailsInSilence,
    FailsAsItIsClosed,
    DeniesWhatItSent,
    WaitsForRoomWithoutEnd,
    WaitsForRoomNow,
    WaitsForRoomUntilThePast,
    WaitsForAPacket,
}

use Fault::*;

/// Every fault, and the rule that must catch it.
const FAULTS: [(Fault, &str); 38] = [
    (SwapsNeighbours, "order"),
    (FlipsABit, "payload"),
    (LosesSilently, "loss"),
    (DeliversTwice, "duplicates"),
    (CutsTheMtu, "lengths"),
    (TakesWhatIsTooLong, "lengths"),
    (LeavesRuntsForEver, "runts"),
    (LosesBehindTheBudget, "bursts"),
    (SendsTheFirstPartOnly, "fragments"),
    (CountsOneMore, "counters"),
    (SaysOneMoreReceived, "counters"),
    (GivesOneMore, "budget"),
    (DropsWhenFull, "ring_full"),
    (TurnsWhatIsLeft, "ring_full"),
    (PromisesRoom, "ring_full"),
    (NeverWakes, "ring_empty"),
    (NeverSleeps, "ring_empty"),
    (MiscountsInFlight, "conservation"),
    (KeepsForeignPages, "foreign_pages"),
    (KeepsOrphans, "orphans"),
    (KeepsPagesWhenStopped, "stop_while_busy"),
    (KeepsPagesWhenDropped, "drop_while_busy"),
    (KeepsPagesWhenCut, "reset_while_busy"),
    (DoesNotNoticeTheCut, "reset_while_busy"),
    (WorksOnce, "reopen"),
    (SendsAgainstItsProfile, "profile"),
    (LosesBeforeRx, "losses"),
    (CountsLossesTwice, "losses"),
    (ForgetsLosses, "losses"),
    (NamesALossTwice, "losses"),
    (SwallowsTheRest, "unsent"),
    (FailsInSilence, "unsent"),
    (FailsAsItIsClosed, "unsent"),
    (DeniesWhatItSent, "unsent"),
    (WaitsForRoomWithoutEnd, "tx_wait"),
    (WaitsForRoomNow, "tx_wait"),
    (WaitsForRoomUntilThePast, "tx_wait"),
    (WaitsForAPacket, "returns"),
];

/// A veth with a fault.
struct Broken {
    inner: Veth,
    fault: Fault,
    region: RegionId,
    /// The other end was cut off.
    cut: Arc<AtomicBool>,
    /// It is not the first one over this memory.
    later: bool,
    packets: u64,
    held: Vec<XdpFrame>,
    stopped: bool,
    lost: u64,
    /// Frames that it writes before its other end takes no more.
    writes: Option<u64>,
    unsent: Traffic,
}

/// Nobody gets these pages again.
fn keep(frames: Vec<XdpFrame>) {
    Box::leak(Box::new(frames));
}

impl Broken {
    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }
}

impl Device for Broken {
    fn name(&self) -> &str {
        "broken"
    }

    fn capabilities(&self) -> Capabilities {
        let max_frame = if self.is(TakesWhatIsTooLong) { 9000 } else { usize::MAX };
        Capabilities { max_frame, ..self.inner.capabilities() }
    }

    fn complete(&mut self, homes: &mut Homes<'_>) -> usize {
        self.inner.complete(homes)
    }

    fn rx(&mut self, pool: &mut PagePool, batch: &mut Vec<XdpBuff>, budget: usize) -> usize {
        let budget = budget + usize::from(self.is(GivesOneMore));
        let mut received = self.inner.rx(pool, batch, budget);
        self.packets += received as u64;
        match self.fault {
            SwapsNeighbours if received > 1 => batch.swap(0, 1),
            FlipsABit => {
                batch.iter_mut().filter(|packet| packet.len() > 1000).for_each(|packet| packet.data_mut()[999] ^= 4)
            }
            CutsTheMtu => {
                batch.iter_mut().filter(|packet| packet.len() == 1514).for_each(|packet| packet.set_len(1513))
            }
            DeliversTwice if received > 0 && received < budget => {
                let mut copy = XdpBuff::with_len(pool.alloc(Direction::Rx).unwrap(), batch[0].len());
                copy.data_mut().copy_from_slice(batch[0].data());
                batch.push(copy);
                received += 1;
            }
            SaysOneMoreReceived if received > 0 => received += 1,
            LosesBeforeRx | CountsLossesTwice | ForgetsLosses | NamesALossTwice if received > 1 => {
                batch.pop();
                received -= 1;
                self.lost += 1;
            }
            // Where it is looked for only: all the others would wait, too.
            WaitsForAPacket if received == 0 && thread::current().name() == Some("conformance") => {
                thread::sleep(Duration::from_secs(60));
            }
            _ => {}
        }
        received
    }

    fn tx(&mut self, pool: &mut PagePool, frames: &mut Vec<XdpFrame>, drops: &mut Drops) -> Traffic {
        let mut lost = Vec::new();
        let region = self.region;
        match self.fault {
            LosesSilently => lost.extend((frames.len() > 40).then(|| frames.remove(40))),
            LosesBehindTheBudget => lost.extend(frames.drain(frames.len().min(64)..)),
            WorksOnce if self.later => lost.append(frames),
            SendsTheFirstPartOnly => {
                let whole = std::mem::take(frames);
                frames.extend(whole.into_iter().filter_map(|frame| frame.into_parts().next()));
            }
            KeepsForeignPages => keep(frames.extract_if(.., |frame| frame.page().region_id() != region).collect()),
            KeepsOrphans => keep(
                frames.extract_if(.., |frame| frame.page().region_id() == region && !pool.owns(frame.page())).collect(),
            ),
            KeepsPagesWhenCut if self.cut.load(Ordering::Relaxed) => keep(std::mem::take(frames)),
            KeepsPagesWhenStopped | KeepsPagesWhenDropped if frames.len() == 100 => self.held.push(frames.remove(0)),
            LeavesRuntsForEver if frames.iter().any(|frame| frame.len() < 14) => return Traffic::default(),
            _ => {}
        }
        let mut sent = Traffic::default();
        if let Some(writes) = &mut self.writes {
            let write = frames.len().min(*writes as usize);
            *writes -= write as u64;
            for frame in frames.drain(write..) {
                sent.add(frame.len());
                self.unsent.add(frame.len());
            }
        }
        lost.iter().for_each(|frame| sent.add(frame.len()));
        sent.merge(self.inner.tx(pool, frames, drops));
        sent.packets += u64::from(self.is(CountsOneMore));
        match self.fault {
            DropsWhenFull => frames.clear(),
            TurnsWhatIsLeft => frames.reverse(),
            _ => {}
        }
        sent
    }

    fn tx_room(&mut self) -> usize {
        if self.is(PromisesRoom) { 300 } else { self.inner.tx_room() }
    }

    fn wait_tx(&self) -> Wait {
        match self.fault {
            WaitsForRoomWithoutEnd => Wait::Until(Instant::now() + Duration::from_secs(3600)),
            WaitsForRoomNow => Wait::Now,
            WaitsForRoomUntilThePast => Wait::Until(Instant::now() - Duration::from_secs(1)),
            _ => self.inner.wait_tx(),
        }
    }

    fn wait(&self) -> Wait {
        match self.fault {
            NeverWakes => Wait::Never,
            NeverSleeps => Wait::Now,
            _ => self.inner.wait(),
        }
    }

    fn health(&mut self) -> Health {
        match self.fault {
            KeepsPagesWhenCut if self.cut.load(Ordering::Relaxed) => Health::Failed("the other end is gone".to_owned()),
            FailsAsItIsClosed if self.stopped => Health::Failed("it is closed".to_owned()),
            FailsInSilence | FailsAsItIsClosed => self.inner.health(),
            _ if self.unsent.packets > 0 => Health::Failed("the disk is full".to_owned()),
            _ => self.inner.health(),
        }
    }

    fn lost(&self, count: &mut dyn FnMut(&'static str, u64)) {
        match self.fault {
            LosesBeforeRx => {}
            ForgetsLosses if self.stopped => {}
            CountsLossesTwice => count("ring_full", 2 * self.lost),
            NamesALossTwice => (0..2).for_each(|n| count("ring_full", n * self.lost)),
            _ => count("ring_full", self.lost),
        }
    }

    fn unsent(&self) -> Traffic {
        match self.fault {
            SwallowsTheRest => Traffic::default(),
            DeniesWhatItSent => Traffic { packets: 1, bytes: 60 },
            _ => self.unsent,
        }
    }

    fn in_flight(&self) -> usize {
        if self.is(MiscountsInFlight) && !self.stopped { 1 } else { 0 }
    }

    fn account(&self, account: &mut Account) {
        self.inner.account(account);
    }

    fn shutdown(&mut self, homes: &mut Homes<'_>) {
        self.stopped = true;
        let held = std::mem::take(&mut self.held);
        if self.is(KeepsPagesWhenStopped) {
            keep(held);
        }
        self.inner.shutdown(homes);
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        keep(std::mem::take(&mut self.held));
    }
}

struct Workshop {
    fault: Fault,
    cut: Arc<AtomicBool>,
    /// Memory over which there was a device.
    used: HashSet<RegionId>,
}

impl Workshop {
    fn device(&mut self, zone: &Zone, writes: Option<u64>) -> Pair {
        let (near, far) = veth("near", "far", 256);
        self.cut.store(false, Ordering::Relaxed);
        let device = Broken {
            inner: near,
            fault: self.fault,
            region: zone.id(),
            cut: self.cut.clone(),
            later: !self.used.insert(zone.id()),
            packets: 0,
            held: Vec::new(),
            stopped: false,
            lost: 0,
            writes,
            unsent: Traffic::default(),
        };
        Pair { device: Box::new(device), peer: Box::new(DevicePeer::new(Box::new(far), zone)) }
    }
}

impl Rig for Workshop {
    fn profile(&self) -> Profile {
        let sends = if self.fault == SendsAgainstItsProfile { Sends::Nothing } else { Sends::Wire };
        Profile { sends, patience: Duration::from_millis(5), ..profile() }
    }

    fn open(&mut self, zone: &Zone, _: &[Vec<u8>]) -> Pair {
        self.device(zone, None)
    }

    fn choke(&mut self, zone: &Zone) -> Option<Pair> {
        Some(self.device(zone, Some(70)))
    }

    fn cut(&mut self) -> Cut {
        match self.fault {
            KeepsPagesWhenCut | DoesNotNoticeTheCut => {
                self.cut.store(true, Ordering::Relaxed);
                Cut::Failed
            }
            _ => Cut::Survived,
        }
    }
}

#[test]
fn every_fault_is_caught_by_the_rule_that_it_breaks() {
    for (fault, rule) in FAULTS {
        let report = run(&mut Workshop { fault, cut: Arc::default(), used: HashSet::new() });
        let broken: Vec<_> = report.broken.iter().map(|violation| violation.rule).collect();
        assert!(broken.contains(&rule), "{fault:?} was to be caught by `{rule}`: {:#?}", report.broken);
    }
}

/// A source that never says that it has given everything.
struct Endless(Vec<Vec<u8>>);

impl Device for Endless {
    fn name(&self) -> &str {
        "endless"
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities { tx: false, ..Capabilities::default() }
    }
    fn complete(&mut self, _: &mut Homes<'_>) -> usize {
        0
    }
    fn rx(&mut self, pool: &mut PagePool, batch: &mut Vec<XdpBuff>, budget: usize) -> usize {
        let before = batch.len();
        for bytes in self.0.drain(..budget.min(self.0.len())) {
            let mut packet = XdpBuff::with_len(pool.alloc(Direction::Rx).unwrap(), bytes.len());
            packet.data_mut().copy_from_slice(&bytes);
            batch.push(packet);
        }
        batch.len() - before
    }
    fn tx(&mut self, _: &mut PagePool, _: &mut Vec<XdpFrame>, _: &mut Drops) -> Traffic {
        Traffic::default()
    }
    fn wait(&self) -> Wait {
        if self.0.is_empty() { Wait::Never } else { Wait::Now }
    }
}

struct Shelf;

impl Rig for Shelf {
    fn profile(&self) -> Profile {
        Profile { receives: Receives::File, sends: Sends::Nothing, ..Profile::default() }
    }
    fn open(&mut self, _: &Zone, inbound: &[Vec<u8>]) -> Pair {
        Pair { device: Box::new(Endless(inbound.to_vec())), peer: Box::new(Nobody) }
    }
}

#[test]
fn a_source_that_never_ends_is_caught_and_every_rule_has_a_fault() {
    let report = run(&mut Shelf);
    let broken: Vec<_> = report.broken.iter().map(|violation| violation.rule).collect();
    assert_eq!(broken, ["the_last_packet"], "{:#?}", report.broken);

    let caught: HashSet<_> = FAULTS.iter().map(|(_, rule)| *rule).chain(broken).collect();
    let without: Vec<_> = CHECKS.iter().map(|check| check.name).filter(|name| !caught.contains(name)).collect();
    assert!(without.is_empty(), "nothing shows that these can fail: {without:?}");
}
