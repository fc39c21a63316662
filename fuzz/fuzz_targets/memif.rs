//! memif against a hostile peer: any message in any order, and any bytes anywhere in the shared memory. What an honest peer would have sent arrives as it was; no page is lost.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::LazyLock;
use waterwheel::dev::memif::handshake::{Client, Offer, Reply, Server, agree};
use waterwheel::dev::memif::message::{MESSAGE_SIZE, Message};
use waterwheel::dev::memif::unbound::{Shared, Unbound};
use waterwheel::dev::memif::{Fault, Foreign, Role};
use waterwheel::{Direction, PagePool, PoolParams, XdpBuff, XdpFrame, Zone};
use waterwheel_fuzz::script::Script;
use waterwheel_fuzz::{all, assert_whole, zone};

const PAGES: usize = 32;

static ZONE: LazyLock<Zone> = LazyLock::new(|| zone(PAGES, 0));

fn file() -> Foreign {
    OwnedFd::from(File::open("/dev/null").expect("a file")).into()
}

/// What was offered is known to lie where it may.
fn check(offer: &Offer, queues: u16) {
    for rings in [&offer.to_server, &offer.to_client] {
        assert!(rings.len() <= queues.into());
        for (number, (ring, _)) in rings.iter().enumerate() {
            let size = offer.regions[usize::from(ring.region)].1;
            assert!(usize::from(ring.index) == number && (1..=14).contains(&ring.log2_slots));
            assert!(u64::from(ring.offset) + 128 + (16 << ring.log2_slots) <= size && size <= 1 << 32);
        }
    }
}

/// A message: any bytes, of which the type is mostly one that there is.
fn message(script: &mut Script<'_>) -> [u8; MESSAGE_SIZE] {
    let mut bytes = [0; MESSAGE_SIZE];
    let some = script.bytes(16);
    bytes[..some.len()].copy_from_slice(some);
    bytes[1] &= u8::from(script.u8() < 8) * 255;
    bytes[0] %= 10;
    bytes
}

fn messages(script: &mut Script<'_>) {
    let (mut server, mut client): (Option<Server>, Option<Client>) = (None, None);
    let queues = 1 + u16::from(script.u8() % 16);
    while !script.is_empty() {
        let bytes = message(script);
        let Ok(message) = Message::decode(&bytes) else { continue };
        let again = Message::decode(&message.encode());
        assert_eq!(again.as_ref(), Ok(&message), "what is read is written");
        match &message {
            Message::Init(init) if server.is_none() => {
                server = Server::new(init, queues, &[0; 24]).ok().map(|(server, _)| server);
            }
            Message::Hello(hello) if client.is_none() => {
                if let Ok(agreed) = agree(hello, queues, 10, 1) {
                    assert!((1..=queues).contains(&agreed.queues) && (1..=10).contains(&agreed.log2_slots));
                    client = Some(Client::new(0, [0; 24], "fuzz", Vec::new()));
                }
            }
            _ => {}
        }
        if let Some(server) = &mut server
            && let Ok(Reply::Connect(offer)) = server.on(message.clone(), script.flag().then(file))
        {
            check(&offer, queues);
        }
        if let Some(client) = &mut client {
            let _ = client.on(message);
        }
    }
}

struct Model {
    role: Role,
    pool: PagePool,
    ours: Unbound,
    shared: Shared,
    memory: File,
    /// Nothing was written but what an honest peer writes.
    honest: bool,
    /// Our index in the ring that we receive from.
    taken: u16,
}

impl Model {
    fn new(role: Role) -> Self {
        let pool = PagePool::new(&ZONE, PoolParams { limit: PAGES, ..PoolParams::default() }).expect("a pool");
        let (ours, shared) = Unbound::new(role);
        let memory = File::from(shared.file.try_clone().expect("a copy"));
        Self { role, pool, ours, shared, memory, honest: true, taken: 0 }
    }

    fn write(&self, offset: u64, bytes: &[u8]) {
        self.memory.write_all_at(bytes, offset).expect("it lies in the memory");
    }

    /// The other side's index.
    fn show(&self, ring: u64, index: u16) {
        self.write(ring + if self.role == Role::Client { 64 } else { 6 }, &index.to_ne_bytes());
    }

    fn describe(&self, ring: u64, index: u16, desc: (u16, u16, u32, u32)) {
        let at = ring + 128 + 16 * u64::from(index % self.shared.slots);
        let (flags, region, length, offset) = desc;
        let bytes = [flags.to_ne_bytes(), region.to_ne_bytes()].concat();
        self.write(at, &bytes);
        self.write(at + 4, &length.to_ne_bytes());
        self.write(at + 8, &offset.to_ne_bytes());
    }

    fn step(&mut self, script: &mut Script<'_>) -> Result<(), Fault> {
        match script.u8() {
            0..60 if self.honest => self.honest_packet(script)?,
            0..120 => {
                for packet in self.ours.receive(&mut self.pool, 1 + script.below(8))? {
                    assert!(packet.total_len() >= 14);
                    self.taken = self.taken.wrapping_add(1);
                    self.pool.put(packet.into_page());
                }
                self.honest = false; // how many descriptors that were is not known here
            }
            120..170 => {
                let len = 1 + usize::from(script.u16() % 9000);
                let Some(frame) = XdpBuff::of_len(&mut self.pool, Direction::Tx, len) else { return Ok(()) };
                let frames = [XdpFrame::from(frame)];
                let sent = self.ours.send(&frames);
                frames.into_iter().for_each(|frame| self.pool.put(frame.into_page()));
                let (done, sent) = sent?;
                assert!(done <= 1 && sent <= done as u64);
            }
            170..220 => {
                self.honest = false;
                let ring = if script.flag() { self.shared.rx } else { self.shared.tx };
                let near = self.taken.wrapping_add(script.u8().into());
                if script.flag() {
                    self.show(ring, near);
                } else {
                    let offset = self.shared.buffers as u32 + u32::from(script.u16());
                    let desc = (script.u8().into(), u16::from(script.u8() % 3), script.u16().into(), offset);
                    self.describe(ring, near, desc);
                }
            }
            _ => {
                self.honest = false;
                let bytes = script.u64().to_le_bytes();
                self.write(u64::from(script.u16()) * 8 % (self.shared.size - 8), &bytes);
            }
        }
        Ok(())
    }

    /// A packet as it should be, which must arrive.
    fn honest_packet(&mut self, script: &mut Script<'_>) -> Result<(), Fault> {
        let (len, tag) = (14 + script.u16() % 2000, script.u8());
        let slot = u64::from(self.taken % self.shared.slots);
        let offset = self.shared.buffers + slot * 2112;
        self.write(offset, &vec![tag; len.into()]);
        self.describe(self.shared.rx, self.taken, (0, 0, len.into(), offset as u32));
        self.taken = self.taken.wrapping_add(1);
        self.show(self.shared.rx, self.taken);
        let got = self.ours.receive(&mut self.pool, 8)?;
        assert!(got.len() == 1 && got[0].len() == usize::from(len) && all(got[0].data(), tag), "{got:?}");
        got.into_iter().for_each(|packet| self.pool.put(packet.into_page()));
        Ok(())
    }
}

fuzz_target!(|input: &[u8]| {
    let mut script = Script::new(input);
    let role = match script.u8() % 3 {
        0 => return messages(&mut script),
        1 => Role::Client,
        _ => Role::Server,
    };
    let mut model = Model::new(role);
    while !script.is_empty() {
        if let Err(fault) = model.step(&mut script) {
            assert!(!model.honest, "an honest peer was accused: {fault}");
            break; // here the device lets go
        }
    }
    drop(model);
    assert_whole(&ZONE);
});
