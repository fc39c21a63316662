//! What a device says of packets that it did not give, and of those that it did not send after all.

use super::bed::{Bed, mixed};
use super::pattern::number;
use super::{Asked, Receives, Rig, Sends, Verdict, ensure};
use crate::Zone;
use crate::buff::XdpFrame;
use crate::device::{Device, Health, Traffic};
use crate::homes::Homes;
use std::time::Instant;

/// More frames than any ring of a test has slots.
const FLOOD: usize = 1000;
/// Times that a wire on which strangers send, too, is tried.
const TIMES: usize = 3;

/// By name. A name stands there once.
fn lost(device: &dyn Device) -> Result<Vec<(&'static str, u64)>, String> {
    let mut all: Vec<(&'static str, u64)> = Vec::new();
    let mut twice = None;
    device.lost(&mut |name, n| {
        if name.is_empty() || all.iter().any(|(known, _)| *known == name) {
            twice = Some(name);
        }
        all.push((name, n));
    });
    match twice {
        Some(name) => Err(format!("`lost` names {name:?} twice, or it is no name")),
        None => Ok(all),
    }
}

fn total(lost: &[(&'static str, u64)]) -> u64 {
    lost.iter().map(|(_, n)| n).sum()
}

/// Whether no count became smaller, and all are still there.
fn only_grew(before: &[(&'static str, u64)], after: &[(&'static str, u64)]) -> bool {
    before.iter().all(|(name, n)| after.iter().any(|(known, more)| known == name && more >= n))
}

pub(super) fn losses(rig: &mut dyn Rig, zone: &Zone) -> Verdict {
    let mut seen = String::new();
    for _ in 0..TIMES {
        seen = match flood(rig, zone)? {
            None => return Ok(Asked::Yes),
            Some(seen) => seen,
        };
    }
    Err(seen)
}

/// Floods the device while nobody receives. Tells what is wrong with the count of losses, if anything; strangers may have made it wrong.
fn flood(rig: &mut dyn Rig, zone: &Zone) -> Result<Option<String>, String> {
    let frames = mixed(&rig.profile(), 0, FLOOD);
    let mut bed = Bed::open(rig, zone, &frames);
    let profile = bed.profile;
    let first = lost(bed.device())?;
    ensure!(total(&first) == 0 || profile.receives == Receives::Wire, "a new device says that it has lost {first:?}");
    let mut put = 0;
    if profile.receives == Receives::Wire
        && let Some(peer) = &mut bed.peer
    {
        put = frames.iter().take_while(|frame| peer.put(frame)).count() as u64;
    }
    let (mut received, mut strangers, mut last) = (0, 0, first);
    let mut since = Instant::now();
    while since.elapsed() < profile.patience {
        let came = bed.receive(64);
        let ours = came.iter().filter(|bytes| number(bytes).is_some()).count() as u64;
        (received, strangers) = (received + ours, strangers + came.len() as u64 - ours);
        let now = lost(bed.device())?;
        ensure!(only_grew(&last, &now), "the losses were {last:?}, and are {now:?}");
        if total(&now) != total(&last) || ours > 0 {
            since = Instant::now();
        }
        last = now;
        let all = profile.knows_losses && received + total(&last) >= put;
        if came.is_empty() && (all || !profile.knows_losses || profile.receives != Receives::Wire) {
            break;
        }
        if profile.receives == Receives::Own && received > 1000 {
            break;
        }
    }
    let mut device = bed.device.take().ok_or("a check has its device")?;
    device.shutdown(&mut Homes::new(&mut bed.pools));
    let end = lost(&*device)?;
    ensure!(only_grew(&last, &end), "the losses were {last:?} before the end, and are {end:?} after it");
    if !profile.knows_losses || profile.receives != Receives::Wire {
        return Ok(None);
    }
    let last = total(&last);
    ensure!(received + last >= put, "of {put} packets {received} were received, and {last} were told as lost");
    let more = received + last - put;
    Ok((more > 0).then(|| {
        format!(
            "of {put} packets {received} were received, and {last} told as lost: {more} too many ({strangers} others)"
        )
    }))
}

pub(super) fn unsent(rig: &mut dyn Rig, zone: &Zone) -> Verdict {
    let profile = rig.profile();
    let frames = mixed(&profile, 0, 200);
    let mut bed = Bed::open(rig, zone, &[]);
    if profile.sends != Sends::Nothing && profile.lossless {
        bed.carry_out(&frames, 50);
        if let Some(device) = &bed.device {
            let unsent = device.unsent();
            ensure!(unsent == Traffic::default(), "all went well, and it says that it has not sent {unsent:?}");
        }
    }
    if let Some(mut device) = bed.device.take() {
        let before = device.health();
        device.shutdown(&mut Homes::new(&mut bed.pools));
        let after = device.health();
        let well = !matches!(after, Health::Failed(_)) || matches!(before, Health::Failed(_));
        ensure!(well, "all went well, and after the end its health is {after:?}");
    }
    bed.end("it was to send everything")?;
    match rig.choke(zone) {
        Some(pair) => choked(rig, zone, pair, &frames),
        None => Ok(Asked::Yes),
    }
}

/// What arrived is what was sent, without what was not.
fn choked(rig: &mut dyn Rig, zone: &Zone, pair: super::Pair, frames: &[Vec<u8>]) -> Verdict {
    let mut bed = Bed::bare(rig, zone);
    bed.take_up(pair);
    let mut arrived = Vec::new();
    let mut before = Traffic::default();
    for group in frames.chunks(20) {
        let mut given: Vec<XdpFrame> = group.iter().filter_map(|bytes| bed.packet(bytes)).collect();
        bed.send(&mut given);
        arrived.extend(bed.turn());
        let unsent = bed.device().unsent();
        ensure!(unsent.packets >= before.packets, "it had not sent {before:?}, and now {unsent:?}");
        before = unsent;
    }
    let mut device = bed.device.take().ok_or("a check has its device")?;
    device.shutdown(&mut Homes::new(&mut bed.pools));
    arrived.extend(bed.take());
    let (said, unsent, health) = (bed.tally.sent, device.unsent(), device.health());
    let sent = said.without(unsent);
    let bytes: usize = arrived.iter().map(Vec::len).sum();
    ensure!(
        sent == Traffic { packets: arrived.len() as u64, bytes: bytes as u64 },
        "it says {said:?} sent and {unsent:?} of it unsent; {} packets of {bytes} bytes arrived",
        arrived.len()
    );
    ensure!(
        unsent == Traffic::default() || matches!(health, Health::Failed(_)),
        "it has not sent {unsent:?}, and its health is {health:?}"
    );
    drop(device);
    bed.end("its other end took no more")?;
    Ok(Asked::Yes)
}
