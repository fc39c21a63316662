//! Whose page is where.

use super::bed::{Bed, mixed, packet, pool};
use super::pattern::{damage, number};
use super::{Asked, Receives, Rig, Sends, Verdict, ensure};
use crate::buff::XdpFrame;
use crate::drops::DropReason;
use crate::mm::Users;
use crate::{Account, Zone};

pub(super) fn conservation(rig: &mut dyn Rig, zone: &Zone) -> Verdict {
    let profile = rig.profile();
    let frames = mixed(&profile, 0, 64);
    let mut bed = Bed::open(rig, zone, &frames);
    bed.account("a new device")?;
    if profile.sends != Sends::Nothing {
        let mut some: Vec<_> = frames[..20].iter().filter_map(|bytes| bed.packet(bytes)).collect();
        bed.send(&mut some);
        bed.holdings("with frames in flight")?;
    }
    for round in 0..20 {
        if profile.sends != Sends::Nothing && bed.device.is_some() {
            bed.carry_out(&frames, 40);
        }
        if profile.sends == Sends::File {
            break; // it was closed, as that is when its frames can be looked at
        }
        match profile.receives {
            Receives::Wire => drop(bed.carry_in(&frames, 40, 64)),
            Receives::Own | Receives::File => drop(bed.receive(64)),
            Receives::Nothing => {}
        }
        bed.account(&format!("round {round}"))?;
    }
    bed.end("at the end")?;
    Ok(Asked::Yes)
}

pub(super) fn foreign_pages(rig: &mut dyn Rig, zone: &Zone) -> Verdict {
    let elsewhere = super::zone(512);
    let mut bed = Bed::open(rig, zone, &[]);
    if bed.profile.sends == Sends::Nothing {
        return Ok(Asked::No);
    }
    let mut stranger = pool(&elsewhere);
    send_all(&mut bed, |_, bytes| packet(&mut stranger, bytes, 0))?;
    let promised = bed.device.as_ref().is_some_and(|device| device.capabilities().foreign_pages);
    let refused = bed.dropped(&[DropReason::ForeignPage]);
    ensure!(!promised || refused == 0, "its capabilities have foreign_pages, and it refused {refused}");
    bed.end("after pages of another region")?;
    drop(stranger);
    let account = Account::open(&elsewhere).close(Users::Gone);
    ensure!(account.is_whole(), "the pages of the other region did not go home: {account:?}");
    Ok(Asked::Yes)
}

pub(super) fn orphans(rig: &mut dyn Rig, zone: &Zone) -> Verdict {
    let mut bed = Bed::open(rig, zone, &[]);
    if bed.profile.sends == Sends::Nothing {
        return Ok(Asked::No);
    }
    let mut gone = Some(pool(zone));
    let frames = mixed(&bed.profile, 0, 100);
    let mut made: Vec<XdpFrame> = frames.iter().filter_map(|bytes| packet(gone.as_mut()?, bytes, 0)).rev().collect();
    drop(gone.take());
    send_all(&mut bed, |_, _| made.pop())?;
    made.clear(); // a device that loses some is not waited for until it has all
    bed.end("after pages whose pool is gone")?;
    bed.pools = [pool(zone)]; // the former goes, and with it what it has in its cache
    bed.pools[0].shrink(0);
    let account = Account::open(zone).close(Users::Gone);
    ensure!(account.is_whole(), "{account:?}");
    Ok(Asked::Yes)
}

/// Sends the hundred frames that `make` gives for their bytes, and looks at each that comes out.
fn send_all(bed: &mut Bed, mut make: impl FnMut(&mut Bed, &[u8]) -> Option<XdpFrame>) -> Result<(), String> {
    let frames = mixed(&bed.profile, 0, 100);
    let (mut out, mut waiting) = (Vec::new(), Vec::new());
    let mut made = 0;
    let since = std::time::Instant::now();
    while since.elapsed() < bed.profile.patience {
        while waiting.len() < 10
            && made < frames.len()
            && let Some(frame) = make(bed, &frames[made])
        {
            waiting.push(frame);
            made += 1;
        }
        bed.send(&mut waiting);
        out.extend(bed.turn());
        let gone = made == frames.len() && waiting.is_empty();
        if gone && (bed.profile.sends != Sends::Wire || out.len() as u64 + bed.drops.total() >= 100) {
            break;
        }
    }
    if bed.profile.sends == Sends::File {
        bed.close();
        out.extend(bed.take());
    }
    let (dropped, seen) = (bed.drops.total(), out.len() as u64);
    let looked_at = bed.profile.lossless && bed.wires().0;
    ensure!(!looked_at || seen + dropped == 100, "of 100 frames {seen} came out and {dropped} were counted as dropped");
    for bytes in out.iter().filter(|_| bed.profile.faithful) {
        let n = number(bytes).unwrap_or_default();
        let wrong = damage(bytes, n, frames[n as usize % 100].len());
        ensure!(wrong.is_none(), "{}", wrong.unwrap_or_default());
    }
    Ok(())
}
