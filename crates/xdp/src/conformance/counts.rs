//! What a device says of itself.

use super::bed::{Bed, mixed};
use super::{Asked, Receives, Rig, Sends, Verdict, ensure};
use crate::Zone;
use crate::buff::XdpFrame;
use crate::device::Health;
use crate::drops::DropReason;

pub(super) fn profile(rig: &mut dyn Rig, zone: &Zone) -> Verdict {
    let frames = mixed(&rig.profile(), 0, 8);
    let mut bed = Bed::open(rig, zone, &frames);
    let profile = bed.profile;
    let can = bed.device().capabilities();
    ensure!(can.rx || profile.receives == Receives::Nothing, "the profile has it receive, its capabilities have not");
    ensure!(can.tx || profile.sends == Sends::Nothing, "the profile has it send, its capabilities have not");
    ensure!(
        can.max_frame >= profile.longest || !can.tx,
        "max_frame is {}, and frames of {} bytes are to get through",
        can.max_frame,
        profile.longest
    );
    ensure!(!bed.device().name().is_empty(), "it has no name");
    let health = bed.device().health();
    ensure!(health == Health::Up, "a new device is not up: {health:?}");
    let mut fds = 0;
    bed.device().fds(&mut |_| fds += 1);
    ensure!(fds <= crate::MAX_FDS, "it gives {fds} descriptors to wait on; {} are the most", crate::MAX_FDS);
    if profile.receives == Receives::Nothing {
        let got = bed.receive(64).len();
        ensure!(got == 0, "it receives nothing, by its profile, and gave {got} packets");
    }
    if profile.sends == Sends::Nothing {
        let mut given: Vec<XdpFrame> = frames.iter().filter_map(|bytes| bed.packet(bytes)).collect();
        bed.send(&mut given);
        let refused = bed.dropped(&[DropReason::NotSupported, DropReason::DeviceDown]) + given.len() as u64;
        ensure!(
            bed.tally.sent.packets == 0 && refused == frames.len() as u64,
            "it sends nothing, by its profile: of {} frames it says {} sent",
            frames.len(),
            bed.tally.sent.packets
        );
    }
    Ok(Asked::Yes)
}

pub(super) fn counters(rig: &mut dyn Rig, zone: &Zone) -> Verdict {
    let profile = rig.profile();
    let frames = mixed(&profile, 0, 300);
    if profile.sends != Sends::Nothing {
        let mut bed = Bed::open(rig, zone, &[]);
        let out = bed.carry_out(&frames, 50);
        let (taken, sent, dropped) = (bed.tally.taken, bed.tally.sent, bed.drops.total());
        ensure!(
            taken == sent.packets + dropped,
            "{taken} frames were taken: {} as sent and {dropped} as dropped",
            sent.packets
        );
        if dropped == 0 {
            let bytes: usize = frames[..taken.min(300) as usize].iter().map(Vec::len).sum();
            ensure!(
                sent.bytes == bytes as u64,
                "{taken} frames of {bytes} bytes were taken; it says {} bytes",
                sent.bytes
            );
        }
        if profile.lossless && bed.wires().0 {
            ensure!(out.len() as u64 == sent.packets, "it says {} packets sent, {} came out", sent.packets, out.len());
        }
    }
    if profile.receives != Receives::Nothing {
        let mut bed = Bed::open(rig, zone, &frames);
        if profile.receives == Receives::Own {
            (0..20).for_each(|_| drop(bed.receive(64)));
        } else {
            bed.carry_in(&frames, 50, 64);
        }
        let (said, got) = (bed.tally.rx_said, bed.tally.rx_got);
        ensure!(said == got, "rx says {said} packets and appended {got}");
    }
    Ok(Asked::Yes)
}

pub(super) fn budget(rig: &mut dyn Rig, zone: &Zone) -> Verdict {
    let profile = rig.profile();
    if profile.receives == Receives::Nothing {
        return Ok(Asked::No);
    }
    let frames = mixed(&profile, 0, 200);
    for budget in [1, 7, 64] {
        let mut bed = Bed::open(rig, zone, &frames);
        if profile.receives == Receives::Own {
            (0..20).for_each(|_| drop(bed.receive(budget)));
        } else {
            bed.carry_in(&frames, 100, budget);
        }
        let over = bed.tally.over_budget;
        ensure!(over == 0, "asked for {budget} packets, rx gave {over} more");
    }
    Ok(Asked::Yes)
}
