//! Packets of several pages.

use super::bed::{Bed, packet, pool};
use super::pattern::{damage, frame, number};
use super::{Asked, Rig, Sends, Verdict, ensure};
use crate::action::Action;
use crate::buff::{MAX_FRAGS, XdpBuff, XdpFrame};
use crate::device::{Capabilities, Device, Traffic, Wait};
use crate::drops::{DropReason, Drops};
use crate::fabric::Fabric;
use crate::homes::Homes;
use crate::program::Context;
use crate::{Direction, HEADROOM, PagePool, Zone};

/// Bytes of the first part, enough for the number; of each fragment: odd, and at an odd place in its page.
const FIRST: usize = 61;
const FRAGMENT: usize = 37;

pub(super) fn fragments(rig: &mut dyn Rig, zone: &Zone) -> Verdict {
    if rig.profile().sends == Sends::Nothing {
        return Ok(Asked::No);
    }
    let most = Bed::open(rig, zone, &[]).device().capabilities().max_frags;
    ensure!(most <= MAX_FRAGS, "max_frags is {most}; no packet has more than {MAX_FRAGS}");
    (1..=most).try_for_each(|count| of_parts(rig, zone, count))?;
    if most < MAX_FRAGS {
        one_too_many(rig, zone, most + 1)?;
    }
    Ok(Asked::Yes)
}

/// A packet in a first part and `count` fragments.
fn cut(pool: &mut PagePool, count: usize) -> Option<XdpBuff> {
    let bytes = frame(count as u64, FIRST + count * FRAGMENT);
    let (first, rest) = bytes.split_at(FIRST);
    let mut packet = XdpBuff::new(pool.alloc(Direction::Tx)?, HEADROOM, FIRST);
    packet.data_mut().copy_from_slice(first);
    for (at, bytes) in rest.chunks(FRAGMENT).enumerate() {
        let mut page = pool.alloc(Direction::Tx)?;
        page.as_mut_slice()[at..at + FRAGMENT].copy_from_slice(bytes);
        packet.push_frag(page, at, FRAGMENT).ok()?;
    }
    Some(packet)
}

/// The device is given such a packet, between two ordinary ones.
fn of_parts(rig: &mut dyn Rig, zone: &Zone, count: usize) -> Result<(), String> {
    let mut bed = Bed::open(rig, zone, &[]);
    let plain = |pool: &mut PagePool, number| packet(pool, &frame(number, 100), 0).ok_or("there are no pages");
    let cut = cut(&mut bed.pools[0], count).ok_or("there are no pages")?;
    let mut frames = vec![plain(&mut bed.pools[0], 100)?, XdpFrame::from(cut), plain(&mut bed.pools[0], 101)?];
    bed.send(&mut frames);
    ensure!(frames.is_empty(), "three frames, one of them with {count} fragments: {} found no room", frames.len());
    let bytes = (200 + FIRST + count * FRAGMENT) as u64;
    let (sent, dropped) = (bed.tally.sent, bed.drops.total());
    ensure!(
        dropped > 0 || sent.bytes == bytes,
        "{bytes} bytes in three frames, one with {count} fragments: it says {}",
        sent.bytes
    );
    let since = std::time::Instant::now();
    let mut out = bed.turn();
    while out.len() as u64 + dropped < 3 && bed.profile.sends == Sends::Wire && since.elapsed() < bed.profile.patience {
        out.extend(bed.turn());
    }
    if bed.profile.sends == Sends::File {
        bed.close();
        out.extend(bed.take());
    }
    let looked_at = bed.profile.lossless && bed.wires().0;
    ensure!(
        !looked_at || out.len() as u64 + dropped == 3,
        "of three frames, one with {count} fragments, {} came out",
        out.len()
    );
    for bytes in out.iter().filter(|_| bed.profile.faithful) {
        let number = number(bytes).unwrap_or_default();
        let wrong = damage(bytes, number, if number >= 100 { 100 } else { FIRST + count * FRAGMENT });
        ensure!(wrong.is_none(), "with {count} fragments: {}", wrong.unwrap_or_default());
    }
    bed.end(&format!("after a frame with {count} fragments"))
}

/// What the device does not take never gets there: the loop drops it, and says why.
fn one_too_many(rig: &mut dyn Rig, zone: &Zone, count: usize) -> Result<(), String> {
    let mut bed = Bed::open(rig, zone, &[]);
    let device = bed.device.take().ok_or("there is no device")?;
    let mut pool_of_source = pool(zone);
    let packets = cut(&mut pool_of_source, count).into_iter().collect();
    let mut fabric = Fabric::new(1);
    let wrong = |error: &dyn std::fmt::Display| format!("the device in a worker: {error}");
    fabric.add(0, Box::new(Feed(packets)), pool_of_source).map_err(|error| wrong(&error))?;
    let target = fabric.add(0, device, pool(zone)).map_err(|error| wrong(&error))?;
    let mut worker = fabric.build().map_err(|error| wrong(&error))?.remove(0);
    for _ in 0..3 {
        worker.poll(&mut |cx: &Context, _: &mut XdpBuff| {
            if cx.port == target { Action::Drop(DropReason::Program) } else { Action::Redirect(target) }
        });
    }
    let (counted, sent) = (worker.stats().drops.get(DropReason::TooManyFrags), worker.stats().ports[1].tx.packets);
    drop(worker.close());
    ensure!(
        counted == 1 && sent == 0,
        "a frame with {count} fragments, one more than max_frags: {counted} counted as too_many_frags, {sent} sent"
    );
    Ok(())
}

/// Gives packets that were made before.
struct Feed(Vec<XdpBuff>);

impl Device for Feed {
    fn name(&self) -> &str {
        "feed"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { tx: false, ..Capabilities::default() }
    }

    fn complete(&mut self, _: &mut Homes<'_>) -> usize {
        0
    }

    fn rx(&mut self, _: &mut PagePool, batch: &mut Vec<XdpBuff>, budget: usize) -> usize {
        let before = batch.len();
        batch.extend(self.0.drain(..budget.min(self.0.len())));
        batch.len() - before
    }

    fn tx(&mut self, _: &mut PagePool, _: &mut Vec<XdpFrame>, _: &mut Drops) -> Traffic {
        Traffic::default()
    }

    fn wait(&self) -> Wait {
        Wait::Never
    }
}
