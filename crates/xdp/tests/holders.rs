//! Who has the pages of a loop: devices, the host, other workers, each by its name.

mod common;

use common::{Sink, Source, assert_balance, assert_whole, pool, zone};
use std::sync::{Arc, Mutex};
use waterwheel_xdp::mm::{Event, Sampling};
use waterwheel_xdp::page_pool::stalled;
use waterwheel_xdp::{
    Account, Action, Capabilities, Context, Device, Direction, Drops, Fabric, Homes, PagePool, PortHolders, PortId,
    Traffic, Wait, Worker, XdpBuff, XdpFrame, Zone,
};

fn traced(pages: usize, n: u32) -> Zone {
    let zone = zone(pages);
    zone.trace(Sampling::one_in(n).expect("a power of two")).expect("not followed yet");
    zone
}

/// Who has how many pages of the port's pool after what.
fn who(holders: &PortHolders) -> Vec<(String, Event, u64)> {
    holders.pool.held.iter().map(|group| (group.holder.to_string(), group.event, group.pages)).collect()
}

fn one(name: &str, event: Event, pages: u64) -> (String, Event, u64) {
    (name.to_owned(), event, pages)
}

/// A card: it fills a receive ring of eight pages and keeps what it is to send until it is shut down.
#[derive(Default)]
struct Card {
    ring: Vec<XdpBuff>,
    queue: Vec<XdpFrame>,
}

impl Device for Card {
    fn name(&self) -> &str {
        "card:0"
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities { max_frags: 17, ..Capabilities::default() }
    }
    fn complete(&mut self, _: &mut Homes<'_>) -> usize {
        0
    }
    fn rx(&mut self, pool: &mut PagePool, _: &mut Vec<XdpBuff>, _: usize) -> usize {
        let wanted = 8 - self.ring.len();
        self.ring.extend(pool.hand_out(Direction::Rx, wanted).map(XdpBuff::whole));
        0
    }
    fn tx(&mut self, _: &mut PagePool, frames: &mut Vec<XdpFrame>, _: &mut Drops) -> Traffic {
        let sent = Traffic::of_frames(frames);
        self.queue.append(frames);
        sent
    }
    fn wait(&self) -> Wait {
        Wait::Never
    }
    fn in_flight(&self) -> usize {
        self.ring.len() + self.queue.iter().map(|frame| 1 + frame.frag_count()).sum::<usize>()
    }
    fn account(&self, account: &mut Account) {
        self.ring.iter().for_each(|packet| packet.account(account));
        self.queue.iter().for_each(|frame| frame.account(account));
    }
    fn shutdown(&mut self, homes: &mut Homes<'_>) {
        homes.put_bulk(self.ring.drain(..).map(XdpBuff::into_page));
        homes.put_bulk(self.queue.drain(..).map(XdpFrame::into_page));
    }
}

/// A source of `packets`, and a card, on one worker.
fn source_and_card(zone: &Zone, packets: u64) -> (Worker, PortId) {
    let mut fabric = Fabric::new(1);
    fabric.add(0, Source::new(packets), pool(zone)).unwrap();
    let card = fabric.add(0, Box::new(Card::default()), pool(zone)).unwrap();
    (fabric.build().unwrap().remove(0), card)
}

#[test]
fn a_device_is_named_with_what_is_in_its_rings() {
    let zone = traced(1024, 1);
    let (mut worker, card) = source_and_card(&zone, 20);
    let mut forward = move |_: &Context, _: &mut XdpBuff| Action::Redirect(card);
    while worker.poll(&mut forward) > 0 {}
    let holders = worker.holders();
    assert_eq!(who(&holders[0]), [one("card:0", Event::Queued, 20)]);
    assert_eq!(who(&holders[1]), [one("card:0", Event::Posted, 8)]);
    assert_eq!((holders[1].name.as_str(), holders[1].in_flight), ("card:0", 28));
    let page = holders[0].pool.held[0].oldest_page;
    let events: Vec<Event> = zone.history(page).iter().map(|step| step.event).collect();
    assert_eq!(events, [Event::Queued, Event::Received, Event::Posted], "of a page that went through");
    assert_balance(&zone, std::slice::from_mut(&mut worker), &mut [], 0);
    worker.close();
    assert!(zone.holders(None).is_empty(), "the card has given back what it had");
    assert_whole(&zone);
}

#[test]
fn a_sample_is_scaled() {
    let zone = traced(1024, 16);
    let (mut worker, card) = source_and_card(&zone, 640);
    let mut forward = move |_: &Context, _: &mut XdpBuff| Action::Redirect(card);
    while worker.poll(&mut forward) > 0 {}
    let held = &worker.holders()[0].pool.held;
    assert_eq!((held[0].pages, held[0].seen), (640, 40), "pages come from the zone in their order: {held:?}");
    worker.close();
    assert!(zone.holders(None).is_empty());
    assert_whole(&zone);
}

#[test]
fn what_a_packet_of_several_pages_leads_goes_where_it_goes() {
    let zone = traced(1024, 1);
    let (mut worker, card) = source_and_card(&zone, 1);
    let mut frags = pool(&zone);
    let mut longer = |_: &Context, packet: &mut XdpBuff| {
        for page in frags.hand_out(Direction::Rx, 3) {
            packet.push_frag(page, 0, 4000).expect("room for three");
        }
        Action::Redirect(card)
    };
    while worker.poll(&mut longer) > 0 {}
    assert_eq!(who(&worker.holders()[0]), [one("card:0", Event::Queued, 1)]);
    let held: Vec<_> = frags.holders().held.iter().map(|group| (group.holder.to_string(), group.pages)).collect();
    assert_eq!(held, [("card:0".to_owned(), 3)], "its fragments are there, too");
    worker.close();
    assert!(zone.holders(None).is_empty());
    drop(frags);
    assert_whole(&zone);
}

#[test]
fn without_tracing_it_is_known_how_many_are_out_and_what_the_devices_have() {
    let zone = zone(1024);
    let (mut worker, card) = source_and_card(&zone, 20);
    let mut forward = move |_: &Context, _: &mut XdpBuff| Action::Redirect(card);
    while worker.poll(&mut forward) > 0 {}
    let holders = worker.holders();
    assert!(holders.iter().all(|port| port.pool.held.is_empty() && port.pool.sampling.is_none()));
    let known: Vec<_> = holders.iter().map(|port| (port.pool.outstanding, port.in_flight)).collect();
    assert_eq!(known, [(20, 0), (8, 28)]);
    worker.close();
    assert_whole(&zone);
}

#[test]
fn a_host_that_outlives_the_pool_is_named_by_the_stalled_pool() {
    let zone = traced(512, 1);
    let kept = Arc::new(Mutex::new(Vec::new()));
    let mut fabric = Fabric::new(1);
    let params = waterwheel_xdp::PoolParams { name: "host's source".to_owned(), ..Default::default() };
    fabric.add(0, Source::new(10), PagePool::new(&zone, params).unwrap()).unwrap();
    let host = kept.clone();
    fabric.host(0, Box::new(move |_: PortId, frame: XdpFrame| host.lock().unwrap().push(frame)));
    let mut worker = fabric.build().unwrap().remove(0);
    while worker.poll(&mut |_: &Context, _: &mut XdpBuff| Action::Pass) > 0 {}
    assert_eq!(who(&worker.holders()[0]), [one("the host", Event::Held, 10)]);
    assert_balance(&zone, std::slice::from_mut(&mut worker), &mut [], 10);
    worker.close();
    let stalled = stalled().into_iter().find(|pool| pool.name == "host's source").expect("ten pages are out");
    assert_eq!(stalled.inflight, 10);
    assert!(stalled.to_string().contains("10 pages held by the host, oldest "), "{stalled}");
    kept.lock().unwrap().clear();
    assert!(waterwheel_xdp::page_pool::stalled().iter().all(|pool| pool.name != "host's source"));
    assert_whole(&zone);
}

#[test]
fn pages_on_the_way_to_another_worker_are_named_after_its_device() {
    let zone = traced(512, 1);
    let mut fabric = Fabric::new(2);
    fabric.add(0, Source::new(40), pool(&zone)).unwrap();
    let (sink, _) = Sink::new(64);
    let far = fabric.add(1, sink, pool(&zone)).unwrap();
    let mut workers = fabric.build().unwrap();
    let control = workers[0].control();
    // The other worker does nothing yet: what is handed over lies in the ring.
    let mut first = workers.remove(0);
    let mut stop = move |_: &Context, _: &mut XdpBuff| {
        control.force();
        Action::Redirect(far)
    };
    first.run(&mut stop);
    assert_eq!(who(&first.holders()[0]), [one("sink", Event::Redirected, 40)]);
    let mut second = workers.remove(0);
    second.poll(&mut |_: &Context, _: &mut XdpBuff| Action::Aborted);
    assert_eq!(who(&first.holders()[0]), [one("sink", Event::Queued, 40)]);
    first.close();
    second.close();
    assert!(zone.holders(None).is_empty());
    assert_whole(&zone);
}
