//! Posted pages against a kernel that this test plays: one that keeps the rules, and one that does not.

use waterwheel_xdp::mm::{PageAccount, Users, ZoneParams};
use waterwheel_xdp::{Account, Direction, PagePool, PoolParams, XdpBuff, XdpFrame, Zone};

use super::rings::{Consumer, Desc, Producer};
use super::socket::{CHUNK, QueueIsFree};
use super::unbound::{KernelEnds, Unbound};

const RING: u32 = 16;
const PAGE: u64 = CHUNK as u64;

/// Our side, with a pool, and the kernel's.
struct Fake {
    zone: Zone,
    pool: PagePool,
    socket: Unbound,
    kernel: Kernel,
}

struct Kernel {
    fill: Consumer<u64>,
    rx: Producer<Desc>,
    tx: Consumer<Desc>,
    completion: Producer<u64>,
}

impl Kernel {
    fn says_received(&mut self, addr: u64, len: u32, options: u32) {
        let mut slots = self.rx.reserve(1);
        slots.push(Desc { addr, len, options }).unwrap();
        slots.submit();
    }

    fn says_sent(&mut self, addr: u64) {
        let mut slots = self.completion.reserve(1);
        slots.push(addr).unwrap();
        slots.submit();
    }
}

impl Fake {
    fn new() -> Self {
        let zone = Zone::new(&ZoneParams::pages(64)).unwrap();
        let pool = PagePool::new(&zone, PoolParams::default()).unwrap();
        let (socket, kernel) = Self::socket(&zone);
        Self { zone, pool, socket, kernel }
    }

    fn socket(zone: &Zone) -> (Unbound, Kernel) {
        let (socket, KernelEnds { fill, rx, tx, completion }) = Unbound::new(zone, RING, 0);
        let kernel = Kernel {
            fill: Consumer::new(fill),
            rx: Producer::new(rx),
            tx: Consumer::new(tx),
            completion: Producer::new(completion),
        };
        (socket, kernel)
    }

    /// Another socket, over the same memory and pool.
    fn reset(&mut self) {
        let (socket, kernel) = Self::socket(&self.zone);
        (self.socket, self.kernel) = (socket, kernel);
    }

    fn fill(&mut self, count: u32) -> Vec<u64> {
        self.socket.fill(&mut self.pool, count);
        self.kernel.fill.peek(u32::MAX).collect()
    }

    fn receive(&mut self) -> Vec<XdpBuff> {
        self.socket.receive(&mut self.pool, 64)
    }

    fn frame(&mut self, bytes: &[u8]) -> XdpFrame {
        let mut packet = XdpBuff::whole(self.pool.alloc(Direction::Tx).unwrap());
        packet.set_len(bytes.len());
        packet.data_mut().copy_from_slice(bytes);
        packet.into()
    }

    fn send(&mut self, frame: XdpFrame) -> Result<Desc, XdpFrame> {
        self.socket.send(frame)?;
        Ok(self.kernel.tx.peek(1).next().unwrap())
    }

    fn complete(&mut self) -> usize {
        let pool = &mut self.pool;
        self.socket.complete(|page| pool.put(page))
    }

    fn account(&mut self) -> PageAccount {
        let mut account = Account::open(&self.zone);
        self.pool.account(&mut account);
        self.socket.account(&mut account);
        account.close(Users::Gone)
    }
}

#[test]
fn pages_go_out_and_come_back_by_their_number() {
    let mut fake = Fake::new();
    let addresses = fake.fill(8);
    assert_eq!((addresses.len(), fake.socket.posts.rx_count()), (8, 8));
    assert!(addresses.iter().all(|addr| addr % PAGE == 0 && addr / PAGE < 64), "{addresses:?}");
    assert_eq!(fake.account().held_by_devices, 8);

    // Not in the order in which they went out.
    for addr in addresses.iter().rev() {
        fake.kernel.says_received(addr + 256, 60, 0);
    }
    let batch = fake.receive();
    let numbers: Vec<u64> = batch.iter().map(|packet| u64::from(packet.page().number()) * PAGE).collect();
    let mut expected = addresses.clone();
    expected.reverse();
    assert_eq!(numbers, expected);
    assert!(batch.iter().all(|packet| packet.offset() == 256 && packet.len() == 60));
    assert_eq!((fake.socket.posts.rx_count(), fake.socket.posts.bad_rx), (0, 0));
    batch.into_iter().for_each(|packet| fake.pool.put(packet.into_page()));
    let account = fake.account();
    assert_eq!((account.held_by_devices, account.leaked, account.conflicts), (0, 0, 0), "{account:?}");
}

#[test]
fn frames_go_out_from_where_they_lie_and_their_pages_come_home() {
    let mut fake = Fake::new();
    let frame = fake.frame(&[7; 100]);
    let number = u64::from(frame.page().number());
    let desc = fake.send(frame).unwrap();
    assert_eq!(desc, Desc { addr: number * PAGE + 256, len: 100, options: 0 });
    assert_eq!((fake.socket.posts.tx_count(), fake.account().held_by_devices), (1, 1));
    fake.kernel.says_sent(desc.addr);
    assert_eq!(fake.complete(), 1);
    assert_eq!((fake.socket.posts.tx_count(), fake.pool.outstanding()), (0, 0));
}

#[test]
fn what_a_hostile_kernel_says_costs_a_counter() {
    let mut fake = Fake::new();
    let addresses = fake.fill(4);
    let free = (0..64).map(|page| page * PAGE).find(|addr| !addresses.contains(addr)).unwrap();
    let mine = addresses[0];
    for (addr, len, options, what) in [
        (free, 60, 0, "a page that is not posted"),
        (64 * PAGE, 60, 0, "beyond the memory"),
        (u64::MAX, 60, 0, "far beyond the memory"),
        (mine + 256, 60, 0, "a packet, the only good one"),
        (mine + 256, 60, 0, "the same page again"),
        (addresses[1] + 256, 4096 - 255, 0, "out of its page"),
        (addresses[2] + 4095, 2, 0, "out of its page by one"),
        (addresses[3], u32::MAX, 0, "a length that wraps"),
    ] {
        let before = fake.socket.posts.bad_rx;
        fake.kernel.says_received(addr, len, options);
        let batch = fake.receive();
        assert_eq!(batch.len() as u64 + fake.socket.posts.bad_rx - before, 1, "{what}");
        batch.into_iter().for_each(|packet| fake.pool.put(packet.into_page()));
    }
    assert_eq!(fake.socket.posts.bad_rx, 7);
}

#[test]
fn a_packet_of_several_descriptors_is_one_packet() {
    let mut fake = Fake::new();
    let addresses = fake.fill(16);
    let lens = [3840, 4096, 100];
    for (i, len) in lens.into_iter().enumerate() {
        fake.kernel.says_received(addresses[i] + 256 * u64::from(i == 0), len, u32::from(i < 2));
        let batch = fake.receive();
        assert_eq!(batch.len(), usize::from(i == 2), "its last descriptor is what makes it one");
        assert_eq!(fake.account().held_by_devices, if i == 2 { 13 } else { 16 });
        for packet in batch {
            assert_eq!(packet.parts().map(<[u8]>::len).collect::<Vec<_>>(), [3840, 4096, 100]);
            fake.pool.put(packet.into_page());
        }
    }
    // One whose middle leaves its page, and one that is whole right behind it.
    for (addr, len, options) in
        [(addresses[3], 4096, 1), (addresses[4] + 1, 4096, 1), (addresses[5], 10, 0), (addresses[6], 60, 0)]
    {
        fake.kernel.says_received(addr, len, options);
    }
    let batch = fake.receive();
    assert_eq!((batch.len(), batch[0].len(), fake.socket.posts.bad_rx), (1, 60, 2));
    drop(batch);
    assert_eq!((fake.account().held_by_devices, fake.pool.outstanding()), (9, 9));
    // One whose last part is a page that is not with the kernel: it does not go on in the next packet.
    for (addr, options) in [(addresses[15], 1), (addresses[0], 0), (addresses[14], 0)] {
        fake.kernel.says_received(addr, 60, options);
    }
    let batch = fake.receive();
    assert_eq!((batch.len(), batch[0].total_len(), fake.socket.posts.bad_rx), (1, 60, 3));
    drop(batch);
    assert_eq!((fake.account().held_by_devices, fake.pool.outstanding()), (7, 7));
    // One that never ends, until the socket does.
    fake.kernel.says_received(addresses[7], 60, 1);
    assert!(fake.receive().is_empty());
    drop(fake.socket.posts.quarantine());
    assert_eq!((fake.account().quarantined, fake.account().held_by_devices), (6, 0));
    // One of too many parts, of 18 that are taken: all are home.
    let (mut fake, before) = (Fake::new(), 19);
    let addresses: Vec<u64> = (0..2).flat_map(|_| fake.fill(16)).collect();
    for (i, addr) in addresses.iter().take(before).enumerate() {
        fake.kernel.says_received(*addr, 60, u32::from(i + 1 < before));
        assert!(fake.receive().is_empty());
    }
    assert_eq!((fake.socket.posts.bad_rx, fake.pool.outstanding()), (1, 32 - before as u64));
    fake.kernel.says_received(addresses[before], 60, 0);
    assert_eq!(fake.receive().len(), 1, "the next packet is a new one");
}

#[test]
fn a_packet_of_several_pages_takes_a_descriptor_for_each() {
    let mut fake = Fake::new();
    let bytes: Vec<u8> = (0..9000).map(|i| (i % 251) as u8).collect();
    let frame = XdpBuff::copy_from(&mut fake.pool, Direction::Tx, &bytes).unwrap();
    let first = fake.send(frame.into()).unwrap();
    let rest: Vec<Desc> = fake.kernel.tx.peek(9).collect();
    assert_eq!((first.len, first.options), (3840, 1));
    assert_eq!(rest.iter().map(|desc| (desc.len, desc.options)).collect::<Vec<_>>(), [(4096, 1), (1064, 0)]);
    assert_eq!((fake.socket.posts.tx_count(), fake.account().held_by_devices), (3, 3));
    for desc in [rest[1], first, rest[0]] {
        fake.kernel.says_sent(desc.addr);
    }
    assert_eq!((fake.complete(), fake.pool.outstanding()), (3, 0));

    let mut empty = XdpBuff::copy_from(&mut fake.pool, Direction::Tx, &bytes[..100]).unwrap();
    let page = fake.pool.alloc(Direction::Tx).unwrap();
    empty.push_frag(page, 10, 0).unwrap();
    assert!(fake.send(empty.into()).is_err(), "an empty part is never completed");
    let mut foreign = XdpBuff::copy_from(&mut fake.pool, Direction::Tx, &bytes[..100]).unwrap();
    let other = Zone::new(&ZoneParams::pages(16)).unwrap();
    foreign.push_frag(other.alloc(0).unwrap().into_page(), 0, 100).unwrap();
    assert!(fake.send(foreign.into()).is_err(), "a part in memory that the kernel does not know");
    assert_eq!((fake.socket.posts.tx_count(), fake.pool.outstanding()), (0, 0));
}

#[test]
fn a_completion_cannot_take_what_was_not_sent() {
    let mut fake = Fake::new();
    let waiting = fake.fill(1)[0];
    let frame = fake.frame(&[1; 60]);
    let sent = fake.send(frame).unwrap().addr;
    for addr in [waiting, 64 * PAGE, u64::MAX, sent ^ PAGE] {
        fake.kernel.says_sent(addr);
    }
    assert_eq!((fake.complete(), fake.socket.posts.bad_completions), (0, 4));
    // The kernel names the page, whatever the offset in it.
    fake.kernel.says_sent(sent & !(PAGE - 1));
    fake.kernel.says_sent(sent);
    assert_eq!((fake.complete(), fake.socket.posts.bad_completions), (1, 5));
    // And a descriptor cannot take what is being sent.
    let frame = fake.frame(&[1; 60]);
    let sent = fake.send(frame).unwrap().addr;
    fake.kernel.says_received(sent, 60, 0);
    assert_eq!((fake.receive().len(), fake.socket.posts.bad_rx, fake.socket.posts.tx_count()), (0, 1, 1));
    assert_eq!(fake.socket.posts.quarantine().len(), 2);
}

#[test]
fn what_cannot_be_sent_from_where_it_lies_comes_back() {
    let mut fake = Fake::new();
    // A block of two pages is sent when the packet lies in one of them.
    let block = |offset, len| XdpBuff::new(fake.zone.alloc(1).unwrap().into_page(), offset, len);
    let (first, second, across) = (block(0, 4096), block(4096 + 10, 100), block(4000, 97));
    assert_eq!(fake.send(first.into()).unwrap().len, 4096);
    let number = u64::from(second.page().number());
    let desc = fake.send(second.into()).unwrap();
    assert_eq!(desc.addr, (number + 1) * PAGE + 10);
    assert!(fake.send(across.into()).is_err(), "a packet across the end of its chunk");
    fake.kernel.says_sent(desc.addr);
    assert_eq!(fake.complete(), 1);
    drop(fake.socket.posts.quarantine());
}

#[test]
fn pages_of_another_region_are_never_posted_and_go_home() {
    let mut fake = Fake::new();
    let other = Zone::new(&ZoneParams::pages(256)).unwrap();
    let mut elsewhere = PagePool::new(&other, PoolParams::default()).unwrap();
    let mut foreign = XdpBuff::whole(elsewhere.alloc(Direction::Tx).unwrap());
    foreign.set_len(60);
    let back = fake.send(foreign.into()).expect_err("to send: the kernel knows this address by another page");
    assert_eq!((fake.kernel.tx.peek(1).count(), fake.socket.posted()), (0, (0, 0)));
    fake.pool.put(back.into_page()); // not its own: it goes home
    assert_eq!(elsewhere.outstanding(), 0);

    // To be received into: the pool was moved to memory that the socket has not registered.
    fake.pool.set_zone(&other).unwrap();
    assert_eq!((fake.fill(16), fake.socket.posted(), fake.pool.outstanding()), (Vec::new(), (0, 0), 0));
    let home = fake.zone.clone();
    fake.pool.set_zone(&home).unwrap();
    assert_eq!((fake.fill(16).len(), fake.socket.posts.rx_count()), (16, 16), "of its own region again");
    assert_eq!(fake.socket.posts.quarantine().len(), 16);
    let account = fake.account();
    assert_eq!((account.quarantined, account.leaked, account.conflicts), (16, 0, 0), "{account:?}");
    drop((fake, elsewhere));
    let account = Account::open(&other).close(Users::Gone);
    assert!(account.is_whole(), "{account:?}");
}

#[test]
fn an_empty_frame_comes_back_and_is_not_taken_for_the_next_page() {
    let mut fake = Fake::new();
    for offset in [0, 256, 4096] {
        let page = fake.pool.alloc(Direction::Tx).unwrap();
        let back = fake
            .send(XdpBuff::new(page, offset, 0).into())
            .expect_err("the kernel never completes an empty descriptor");
        fake.pool.put(back.into_page());
    }
    assert_eq!((fake.socket.posted(), fake.pool.outstanding()), ((0, 0), 0));
}

#[test]
fn a_pool_that_is_empty_posts_what_it_has() {
    let mut fake = Fake::new();
    let held: Vec<_> = std::iter::from_fn(|| fake.zone.alloc(0)).take(61).collect();
    assert_eq!(fake.fill(16).len(), 3);
    drop(held);
    assert_eq!(fake.fill(16).len(), 16);
}

#[test]
fn what_was_in_flight_at_a_reset_is_quarantined_until_the_queue_is_free() {
    let mut fake = Fake::new();
    let mut pool = PagePool::new(&fake.zone, PoolParams { limit: 8, ..PoolParams::default() }).unwrap();
    std::mem::swap(&mut fake.pool, &mut pool);
    drop(pool);
    for time in 0..3 {
        // Frames in flight both ways: some received and not looked at, some sent and not completed.
        let waiting = fake.fill(5);
        fake.kernel.says_received(waiting[0] + 256, 60, 0);
        let frame = fake.frame(&[1; 60]);
        fake.send(frame).unwrap();
        let held: Vec<_> = std::iter::from_fn(|| fake.pool.alloc(Direction::Tx)).collect();
        assert_eq!(held.len(), 2, "the limit is reached");
        drop(held);

        // The network card is reset, and a zero-copy driver does not say when it lets go.
        let left = fake.socket.posts.quarantine();
        assert_eq!((left.len(), fake.account().quarantined, fake.socket.posted()), (6, 6, (0, 0)), "time {time}");
        assert_eq!(fake.pool.stats().inflight(), 8, "they count against the limit");
        let held: Vec<_> = std::iter::from_fn(|| fake.pool.alloc(Direction::Tx)).collect();
        assert_eq!(held.len(), 2, "nobody gets them");
        drop(held);

        // Another socket on the same queue: the one before it is gone.
        super::posts::out_of_quarantine(QueueIsFree::as_the_kernel(), left).for_each(drop);
        let account = fake.account();
        assert_eq!((account.quarantined, account.leaked, account.conflicts), (0, 0, 0), "{account:?}");
        let held: Vec<_> = std::iter::from_fn(|| fake.pool.alloc(Direction::Tx)).collect();
        assert_eq!(held.len(), 8, "all of the limit can be had again");
        drop(held);
        fake.reset();
    }
    let zone = fake.zone.clone();
    drop(fake);
    let account = Account::open(&zone).close(Users::Gone);
    assert!(account.is_whole(), "{account:?}");
}

#[test]
fn what_is_given_up_is_quarantined_and_counted() {
    let mut fake = Fake::new();
    fake.fill(5);
    let frame = fake.frame(&[1; 60]);
    fake.send(frame).unwrap();
    drop(fake.socket.posts.quarantine());
    assert_eq!(fake.account().quarantined, 6);
    assert_eq!(fake.socket.posts.rx_count() + fake.socket.posts.tx_count(), 0);
}
