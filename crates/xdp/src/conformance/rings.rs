//! Rings that are full, and rings that are empty.

use super::bed::{Bed, mixed};
use super::pattern::{damage, number};
use super::{Asked, Receives, Rig, Sends, Verdict, ensure};
use crate::Zone;
use crate::device::{Device, Health, Wait};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::time::{Duration, Instant};

/// More frames than any ring of a test has slots.
const MANY: usize = 480;
/// Rounds without work after which a device must have let its loop sleep.
const ROUNDS: usize = 200;

pub(super) fn ring_full(rig: &mut dyn Rig, zone: &Zone) -> Verdict {
    let profile = rig.profile();
    if !profile.fills || !profile.lossless || profile.sends != Sends::Wire {
        return Ok(Asked::No);
    }
    let frames = mixed(&profile, 0, MANY);
    let mut bed = Bed::open(rig, zone, &[]);
    let room = bed.device().tx_room();
    let (mut given, mut left) = (0, Vec::new());
    while left.is_empty() && given < frames.len() {
        let burst = &frames[given..(given + 32).min(frames.len())];
        left.extend(burst.iter().filter_map(|bytes| bed.packet(bytes)));
        given += left.len();
        bed.send(&mut left); // and nobody takes anything out, and nobody kicks
    }
    ensure!(!left.is_empty(), "{given} frames were taken, nobody took one out, and none stayed in `frames`");
    let taken = given - left.len();
    let unknown = room == usize::MAX; // what a device says that cannot tell
    ensure!(unknown || taken >= room.min(given), "tx_room said {room}, and tx took {taken}");
    for (at, frame) in left.iter().enumerate() {
        let should = (taken + at) as u64;
        ensure!(
            number(frame.data()) == Some(should),
            "frame {should} should be the next in `frames`; it is {:?}",
            number(frame.data())
        );
        let wrong = damage(frame.data(), should, frames[taken + at].len());
        ensure!(wrong.is_none(), "in `frames`: {}", wrong.unwrap_or_default());
    }
    // Now the other end takes out, and what was left goes, too.
    let mut out = Vec::new();
    let mut since = Instant::now();
    while out.len() < given && since.elapsed() < profile.patience {
        let came = bed.turn();
        bed.send(&mut left);
        if !came.is_empty() {
            since = Instant::now();
        }
        out.extend(came);
    }
    ensure!(left.is_empty(), "{} frames never found room, though all others were taken out", left.len());
    let numbers: Vec<_> = out.iter().filter_map(|bytes| number(bytes)).collect();
    ensure!(numbers.len() == given, "of {given} frames around a full ring {} came out", numbers.len());
    ensure!(!profile.ordered || numbers.is_sorted(), "around a full ring frames changed places");
    Ok(Asked::Yes)
}

pub(super) fn ring_empty(rig: &mut dyn Rig, zone: &Zone) -> Verdict {
    let profile = rig.profile();
    if profile.receives != Receives::Wire {
        return Ok(Asked::No);
    }
    let mut bed = Bed::open(rig, zone, &[]);
    let frames = mixed(&profile, 0, 20);
    let mut slept = false;
    for _ in 0..ROUNDS {
        let came = bed.receive(64);
        let ours = came.iter().filter(|bytes| number(bytes).is_some()).count();
        ensure!(ours == 0, "nobody has put anything in, and {ours} packets were received");
        let wait = bed.device().wait();
        ensure!(wait != Wait::Never, "it receives, and says that it never will");
        slept |= wait != Wait::Now;
    }
    ensure!(slept, "in {ROUNDS} rounds without a packet `wait` always said Now: its loop never sleeps");
    for frame in &frames {
        let peer = bed.peer.as_mut().ok_or("there is no other end")?;
        ensure!(peer.put(frame), "the other end has no room for one frame");
        let deadline = Instant::now() + profile.patience;
        loop {
            sleep(bed.device())?;
            if bed.receive(64).iter().any(|bytes| number(bytes) == number(frame)) {
                break;
            }
            ensure!(
                Instant::now() < deadline || !profile.lossless,
                "a frame was put in, and waiting as `wait` says brought nothing"
            );
            if Instant::now() >= deadline {
                break;
            }
        }
    }
    Ok(Asked::Yes)
}

/// Nobody takes anything out, and then somebody does.
pub(super) fn tx_wait(rig: &mut dyn Rig, zone: &Zone) -> Verdict {
    let profile = rig.profile();
    if profile.sends == Sends::Nothing {
        return Ok(Asked::Yes);
    }
    let mut bed = Bed::open(rig, zone, &[]);
    for burst in mixed(&profile, 0, MANY).chunks(32) {
        let mut given: Vec<_> = burst.iter().filter_map(|bytes| bed.packet(bytes)).collect();
        bed.send(&mut given); // and nobody kicks
        if !given.is_empty() {
            break;
        }
    }
    let mut since = Instant::now();
    let mut rounds = 0;
    while bed.device().tx_room() == 0 {
        let (before, wait) = (Instant::now(), bed.device().wait_tx());
        ensure!(wait != Wait::Now, "there is no room, and `wait_tx` says Now");
        ensure!(!matches!(wait, Wait::Until(then) if then < before), "there is no room, and `wait_tx` says at once");
        // Once it knows that one waits for a while, the frames go.
        let came = if rounds < 3 { Vec::new() } else { bed.turn() };
        if wait == Wait::Never {
            sleep(bed.device())?;
        } else {
            sleep_until(bed.device(), wait)?;
        }
        rounds += 1;
        if !came.is_empty() {
            since = Instant::now();
        }
        let patient = since.elapsed() < profile.patience || rounds < 10;
        ensure!(patient || !profile.lossless, "after waiting {rounds} times as `wait_tx` says there is no room");
        if !patient {
            break;
        }
    }
    Ok(Asked::Yes)
}

/// Sleeps as the device says that one may.
fn sleep(device: &dyn Device) -> Result<(), String> {
    sleep_until(device, device.wait())
}

fn sleep_until(device: &dyn Device, wait: Wait) -> Result<(), String> {
    match wait {
        Wait::Now => {}
        Wait::Never => return Err("a frame is on its way, and it is to be waited for Never".to_owned()),
        Wait::Until(then) => {
            let pause = then.saturating_duration_since(Instant::now());
            ensure!(pause <= Duration::from_secs(1), "a frame is on its way, and it is to be waited for in {pause:?}");
            wait_for_fds(device, pause)?;
        }
        Wait::Readable => {
            let mut fds = 0;
            device.fds(&mut |_| fds += 1);
            ensure!(fds > 0, "it is to be waited for what is Readable, and there is no descriptor");
            wait_for_fds(device, Duration::from_millis(100))?; // as long as a worker sleeps at most
        }
    }
    Ok(())
}

fn wait_for_fds(device: &dyn Device, timeout: Duration) -> Result<(), String> {
    let mut all = Vec::new();
    device.fds(&mut |fd| all.push(PollFd::from_borrowed_fd(fd, PollFlags::IN)));
    let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
    match poll(&mut all, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(format!("poll(2) of its descriptors: {error}")),
    }
}

pub(super) fn the_last_packet(rig: &mut dyn Rig, zone: &Zone) -> Verdict {
    let profile = rig.profile();
    if profile.receives != Receives::File {
        return Ok(Asked::No);
    }
    let frames = mixed(&profile, 0, 100);
    let mut bed = Bed::open(rig, zone, &frames);
    let came = bed.carry_in(&frames, 100, 64);
    ensure!(came.len() == frames.len(), "{} of {} frames were there", came.len(), frames.len());
    let more = bed.receive(64).len();
    ensure!(more == 0, "after the last packet there were {more} more");
    let (health, wait) = (bed.device().health(), bed.device().wait());
    ensure!(health == Health::Finished, "it has given everything, and its health is {health:?}");
    ensure!(wait == Wait::Never, "it has given everything, and `wait` says {wait:?}");
    Ok(Asked::Yes)
}
