//! Frames through the device, both ways: order, bytes, lengths, bursts.

use super::bed::{Bed, mixed, wires};
use super::pattern::{self, HEADER, damage, number};
use super::{Asked, Profile, Receives, Rig, Sends, Verdict, ensure};
use crate::Zone;
use crate::buff::XdpBuff;
use crate::drops::DropReason;

/// Frames of a run.
const RUN: usize = 600;

/// What came out of a run each way: nothing for a way that nobody can look at.
struct Run {
    frames: Vec<Vec<u8>>,
    /// What the device sent.
    out: Option<Vec<Vec<u8>>>,
    /// What it received.
    came: Option<Vec<Vec<u8>>>,
    /// Of what was to be sent.
    dropped: u64,
}

/// Takes `frames` through new devices, in and out.
fn run(rig: &mut dyn Rig, zone: &Zone, frames: Vec<Vec<u8>>, burst: usize) -> Run {
    let (sends, receives) = wires(&rig.profile());
    let came = receives.then(|| Bed::open(rig, zone, &frames).carry_in(&frames, burst, 64));
    let mut dropped = 0;
    let out = sends.then(|| {
        let mut bed = Bed::open(rig, zone, &[]);
        let out = bed.carry_out(&frames, burst);
        dropped = bed.drops.total();
        out
    });
    Run { frames, out, came, dropped }
}

impl Run {
    /// Asks `wrong` of what came out each way.
    fn judge(&self, wrong: impl Fn(&str, &[Vec<u8>]) -> Option<String>) -> Verdict {
        for (way, frames) in [("sent", &self.out), ("received", &self.came)] {
            if let Some(seen) = frames.as_ref().and_then(|frames| wrong(way, frames)) {
                return Err(seen);
            }
        }
        Ok(if self.out.is_some() || self.came.is_some() { Asked::Yes } else { Asked::No })
    }

    /// Its own frame of this number.
    fn frame(&self, number: u64) -> Option<&Vec<u8>> {
        self.frames.iter().find(|frame| pattern::number(frame) == Some(number))
    }
}

fn numbers(frames: &[Vec<u8>]) -> Vec<u64> {
    frames.iter().filter_map(|bytes| number(bytes)).collect()
}

pub(super) fn order(rig: &mut dyn Rig, zone: &Zone) -> Verdict {
    let profile = rig.profile();
    if !profile.ordered {
        return Ok(Asked::No);
    }
    run(rig, zone, mixed(&profile, 0, RUN), 48).judge(|way, frames| {
        let numbers = numbers(frames);
        let turned = numbers.windows(2).find(|pair| pair[0] > pair[1])?;
        Some(format!("{way}: frame {} before frame {}", turned[0], turned[1]))
    })
}

pub(super) fn payload(rig: &mut dyn Rig, zone: &Zone) -> Verdict {
    let profile = rig.profile();
    if !profile.faithful {
        return Ok(Asked::No);
    }
    let run = run(rig, zone, mixed(&profile, 1 << 32, RUN), 48);
    run.judge(|way, frames| {
        let wrong = |bytes: &Vec<u8>| {
            let number = number(bytes)?;
            let Some(frame) = run.frame(number) else { return Some(format!("frame {number} was never put in")) };
            damage(bytes, number, frame.len())
        };
        frames.iter().find_map(wrong).map(|seen| format!("{way}: {seen}"))
    })
}

pub(super) fn loss(rig: &mut dyn Rig, zone: &Zone) -> Verdict {
    let profile = rig.profile();
    if !profile.lossless {
        return Ok(Asked::No);
    }
    let run = run(rig, zone, mixed(&profile, 0, RUN), 48);
    run.judge(|way, frames| {
        let mut there = vec![false; RUN];
        numbers(frames).into_iter().for_each(|n| there[n as usize % RUN] = true);
        let missing: Vec<_> = (0..RUN).filter(|n| !there[*n]).collect();
        let counted = if way == "sent" { run.dropped } else { 0 };
        (missing.len() as u64 > counted).then(|| {
            format!(
                "{way}: {} of {RUN} frames are missing, the first is frame {}; {counted} were counted as dropped",
                missing.len(),
                missing[0]
            )
        })
    })
}

pub(super) fn duplicates(rig: &mut dyn Rig, zone: &Zone) -> Verdict {
    let profile = rig.profile();
    if !profile.ordered {
        return Ok(Asked::No);
    }
    run(rig, zone, mixed(&profile, 0, RUN), 48).judge(|way, frames| {
        let mut numbers = numbers(frames);
        numbers.sort_unstable();
        let twice = numbers.windows(2).find(|pair| pair[0] == pair[1])?;
        Some(format!("{way}: frame {} came out twice", twice[0]))
    })
}

/// Lengths at which drivers change their mind: the shortest frame, the shortest with its padding, a cache line, the MTU, a page, and the longest.
fn boundaries(profile: &Profile) -> Vec<usize> {
    let longest = profile.longest;
    let mut lengths =
        vec![HEADER, 59, 60, 61, 64, 1514, 3840, 3841, 4096, 4097, 9000, longest.saturating_sub(1), longest];
    lengths.retain(|len| (profile.shortest.max(HEADER)..=longest).contains(len));
    lengths.sort_unstable();
    lengths.dedup();
    lengths
}

pub(super) fn lengths(rig: &mut dyn Rig, zone: &Zone) -> Verdict {
    let profile = rig.profile();
    let (sends, receives) = wires(&profile);
    if !profile.lossless || !(sends || receives) {
        return Ok(Asked::No);
    }
    let lengths = boundaries(&profile);
    let frames: Vec<_> = lengths.iter().enumerate().map(|(n, len)| pattern::frame(n as u64, *len)).collect();
    run(rig, zone, frames, 1).judge(|way, frames| {
        let seen: Vec<_> = frames.iter().map(Vec::len).collect();
        (seen != lengths).then(|| format!("{way}: lengths {lengths:?} went in, {seen:?} came out"))
    })?;
    if sends {
        too_long(rig, zone)?;
    }
    Ok(Asked::Yes)
}

/// One byte more than the device says that it takes.
fn too_long(rig: &mut dyn Rig, zone: &Zone) -> Result<(), String> {
    let mut bed = Bed::open(rig, zone, &[]);
    let can = bed.device().capabilities();
    let (most, longest) =
        (can.max_frame, if can.max_frags > 0 { XdpBuff::longest(&bed.pools[0]) } else { usize::from(u16::MAX) });
    if most >= longest {
        return Ok(()); // no packet is longer
    }
    for (number, len) in [(0, most), (1, most + 1)] {
        let out = bed.carry_out(&[pattern::frame(number, len)], 1);
        let (counted, all) = (bed.dropped(&[DropReason::FrameTooLong]), bed.drops.total());
        if number == 0 {
            ensure!(all == 0, "a frame of max_frame ({most}) bytes was dropped");
            ensure!(
                bed.profile.sends == Sends::File || out.len() == 1,
                "a frame of max_frame ({most}) bytes did not come out"
            );
        } else {
            ensure!(out.is_empty(), "a frame of {len} bytes came out, and max_frame is {most}");
            ensure!(
                counted == 1 && all == 1,
                "a frame of {len} bytes, one more than max_frame: {counted} counted as frame_too_long, {all} dropped in all"
            );
        }
        if bed.device.is_none() {
            return Ok(()); // looked at when the device was closed
        }
    }
    Ok(())
}

pub(super) fn runts(rig: &mut dyn Rig, zone: &Zone) -> Verdict {
    if rig.profile().sends == Sends::Nothing {
        return Ok(Asked::No);
    }
    let mut bed = Bed::open(rig, zone, &[]);
    for len in [0, 1, HEADER - 1] {
        let (taken, dropped, sent) = (bed.tally.taken, bed.drops.total(), bed.tally.sent.packets);
        let mut frames: Vec<_> = bed.packet(&vec![7; len]).into_iter().collect();
        bed.send(&mut frames);
        ensure!(
            frames.is_empty(),
            "a frame of {len} bytes stays in `frames`: the caller would offer it again for ever"
        );
        let (taken, dropped, sent) =
            (bed.tally.taken - taken, bed.drops.total() - dropped, bed.tally.sent.packets - sent);
        ensure!(taken == dropped + sent, "a frame of {len} bytes: {taken} taken, {sent} sent, {dropped} dropped");
    }
    bed.end("after frames without a header")?;
    Ok(Asked::Yes)
}

pub(super) fn bursts(rig: &mut dyn Rig, zone: &Zone) -> Verdict {
    let profile = rig.profile();
    let (sends, receives) = wires(&profile);
    if !profile.lossless || !(sends || receives) {
        return Ok(Asked::No);
    }
    let (mut out, mut came) = (Vec::new(), Vec::new());
    let sizes = [1, 2, 63, 64, 65, 256];
    let all = mixed(&profile, 0, sizes.iter().sum());
    let mut outward = Bed::open(rig, zone, &[]);
    if profile.sends == Sends::Wire {
        let mut rest = &all[..];
        for size in sizes {
            let (burst, others) = rest.split_at(size);
            out.extend(numbers(&outward.carry_out(burst, size)));
            rest = others;
        }
    } else if profile.sends == Sends::File {
        out.extend(numbers(&outward.carry_out(&all, 256)));
    }
    drop(outward);
    let mut inward = Bed::open(rig, zone, &all);
    let mut rest = &all[..];
    for size in sizes.into_iter().filter(|_| receives) {
        let (burst, others) = rest.split_at(size);
        let burst = if profile.receives == Receives::File { &all[..] } else { burst };
        came.extend(numbers(&inward.carry_in(burst, size, size)));
        rest = others;
        if profile.receives == Receives::File {
            break;
        }
    }
    for (way, seen, asked) in [("sent", out, sends), ("received", came, receives)] {
        ensure!(
            !asked || seen.len() == all.len(),
            "{way}: {} of {} frames in bursts of {sizes:?}",
            seen.len(),
            all.len()
        );
    }
    Ok(Asked::Yes)
}
