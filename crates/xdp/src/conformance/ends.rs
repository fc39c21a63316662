//! The end of a device, in the middle of everything.

use super::bed::{self, Bed, mixed};
use super::pattern::number;
use super::{Asked, Cut, Receives, Rig, Sends, Verdict, ensure};
use crate::Zone;
use crate::buff::{XdpBuff, XdpFrame};
use crate::device::Health;
use crate::drops::Drops;
use crate::homes::Homes;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

/// Frames in flight each way.
const IN_FLIGHT: usize = 100;
/// Times that a device is made anew.
const TIMES: usize = 4;

/// A call that has not returned after so long waits, or loops without a bound. (A worker's other ports have stood still all the time.)
const NO_RETURN: Duration = Duration::from_secs(2);

/// Uses the device while nobody puts anything in and nobody takes anything out, until it is full: each call returns all the same.
pub(super) fn returns(rig: &mut dyn Rig, zone: &Zone) -> Verdict {
    let mut bed = Bed::open(rig, zone, &[]);
    let mut device = bed.device.take().ok_or("a check has its device")?;
    let frames = if device.capabilities().tx { mixed(&bed.profile, 0, 480) } else { Vec::new() };
    let mut bursts = [const { Vec::new() }; 30];
    for (burst, frames) in std::iter::zip(&mut bursts, frames.chunks(16)) {
        burst.extend(frames.iter().filter_map(|bytes| bed.packet(bytes)));
    }
    let mut pool = bed::pool(zone);
    let (say, hear) = channel();
    let user = move || {
        let mut batch = Vec::with_capacity(64);
        for mut frames in bursts {
            let say = |call| {
                let _ = say.send(call); // nobody listens any more: it took too long
            };
            say("complete");
            device.complete(&mut Homes::new(std::slice::from_mut(&mut pool)));
            say("rx");
            device.rx(&mut pool, &mut batch, 64);
            batch.clear();
            say("tx_room");
            device.tx_room();
            say("tx");
            device.tx(&mut pool, &mut frames, &mut Drops::default());
            say("flush");
            device.flush();
            say("health");
            device.health();
            say("wait");
            let _ = (device.wait(), device.wait_tx(), device.mode(), device.in_flight(), device.unsent());
            say("counters");
            device.counters(&mut |_, _| ());
            device.lost(&mut |_, _| ());
        }
        (device, pool)
    };
    let used = thread::Builder::new().name("conformance".to_owned()).spawn(user);
    let used = used.map_err(|error| format!("no thread to use it: {error}"))?;
    let mut last = "";
    loop {
        match hear.recv_timeout(NO_RETURN.max(bed.profile.patience)) {
            Ok(call) => last = call,
            Err(_) if used.is_finished() => break,
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break, // it is about to be
            Err(_) => return Err(format!("nothing comes and nobody takes anything, and `{last}` does not return")),
        }
    }
    let (device, pool) = used.join().map_err(|_| format!("`{last}` panicked"))?;
    bed.device = Some(device);
    bed.close();
    drop(pool);
    bed.end("used by another thread")?;
    Ok(Asked::Yes)
}

/// Gets frames under way, both ways, and holds some that were received: nothing is waited for.
fn make_busy(bed: &mut Bed) -> Vec<XdpBuff> {
    let frames = mixed(&bed.profile, 0, IN_FLIGHT);
    if bed.profile.receives == Receives::Wire
        && let Some(peer) = &mut bed.peer
    {
        frames.iter().take_while(|frame| peer.put(frame)).count();
    }
    let held = bed.receive_packets(16);
    if bed.profile.sends != Sends::Nothing {
        let mut given: Vec<XdpFrame> = frames.iter().filter_map(|bytes| bed.packet(bytes)).collect();
        bed.send(&mut given);
    }
    held
}

pub(super) fn stop_while_busy(rig: &mut dyn Rig, zone: &Zone) -> Verdict {
    let inbound = mixed(&rig.profile(), 0, IN_FLIGHT);
    let mut bed = Bed::open(rig, zone, &inbound);
    let held = make_busy(&mut bed);
    bed.stop("with frames in flight")?;
    drop(held);
    bed.end("stopped with frames in flight")?;
    Ok(Asked::Yes)
}

pub(super) fn drop_while_busy(rig: &mut dyn Rig, zone: &Zone) -> Verdict {
    let inbound = mixed(&rig.profile(), 0, IN_FLIGHT);
    let mut bed = Bed::open(rig, zone, &inbound);
    let held = make_busy(&mut bed);
    drop(bed.device.take());
    drop(held);
    bed.end("dropped with frames in flight")?;
    Ok(Asked::Yes)
}

pub(super) fn reset_while_busy(rig: &mut dyn Rig, zone: &Zone) -> Verdict {
    if rig.profile().sends != Sends::Wire && rig.profile().receives != Receives::Wire {
        return Ok(Asked::No);
    }
    let mut bed = Bed::open(rig, zone, &[]);
    for time in 0..TIMES {
        let held = make_busy(&mut bed);
        let cut = rig.cut();
        bed.peer = None;
        let deadline = Instant::now() + bed.profile.patience;
        let mut rounds = 0;
        loop {
            // A worker goes on as long as the device does not say that it has failed.
            drop(bed.receive_packets(16));
            let mut more: Vec<_> = bed.packet(&mixed(&bed.profile, 0, 1)[0]).into_iter().collect();
            bed.send(&mut more);
            bed.turn();
            rounds += 1;
            match (cut, bed.device().health()) {
                (Cut::Failed, Health::Failed(why)) => {
                    ensure!(!why.is_empty(), "it failed, and does not say why");
                    break;
                }
                (Cut::Survived, Health::Failed(why)) => {
                    return Err(format!("the profile has it survive, and it failed: {why}"));
                }
                (Cut::Survived, _) if rounds == 10 => break,
                (Cut::Survived, _) => {}
                (Cut::Failed, health) => {
                    ensure!(Instant::now() < deadline, "it is of no more use, and its health is {health:?}");
                }
            }
        }
        bed.stop("after the other end vanished")?;
        drop(held);
        bed.end(&format!("after the other end vanished for time {time}"))?;
        bed.reopen(rig, &[]);
        works(&mut bed, &format!("made anew after the other end vanished for time {time}"))?;
    }
    Ok(Asked::Yes)
}

pub(super) fn reopen(rig: &mut dyn Rig, zone: &Zone) -> Verdict {
    let inbound = mixed(&rig.profile(), 0, IN_FLIGHT);
    let mut bed = Bed::open(rig, zone, &inbound);
    for time in 0..TIMES {
        let held = make_busy(&mut bed);
        bed.stop("with frames in flight")?;
        drop(held);
        bed.end(&format!("device {time}"))?;
        bed.reopen(rig, &inbound);
        works(&mut bed, &format!("device {}", time + 1))?;
        bed.end(&format!("device {}", time + 1))?;
        bed.reopen(rig, &inbound);
    }
    Ok(Asked::Yes)
}

/// Some frames each way.
fn works(bed: &mut Bed, what: &str) -> Result<(), String> {
    let frames = mixed(&bed.profile, 1 << 20, 20);
    let (sends, receives) = (bed.profile.sends == Sends::Wire, bed.profile.receives == Receives::Wire);
    if !bed.profile.lossless {
        return Ok(());
    }
    if receives {
        let came = bed.carry_in(&frames, 20, 64);
        let new = came.iter().filter(|bytes| number(bytes) >= Some(1 << 20)).count();
        ensure!(new == frames.len(), "{what}: received {new} of {} frames", frames.len());
    }
    if sends {
        let out = bed.carry_out(&frames, 20);
        let new = out.iter().filter(|bytes| number(bytes) >= Some(1 << 20)).count();
        ensure!(new == frames.len(), "{what}: sent {new} of {} frames", frames.len());
    }
    Ok(())
}
