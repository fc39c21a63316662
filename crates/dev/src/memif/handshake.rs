//! From the first message to `Connected`, for both sides: what may come when, and what is answered. No socket, no memory, no clock.
//!
//! ```text
//! server                         client
//!   | --- Hello (what I can) -----> |
//!   | <-- Init (interface, secret)  |
//!   | --- Ack --------------------> |
//!   | <-- AddRegion (file) -------- |   each region, each answered by Ack
//!   | <-- AddRing (eventfd) ------- |   each ring, each answered by Ack
//!   | <-- Connect ----------------- |
//!   | --- Connected --------------> |
//!   | <-- Disconnect (why) -------> |   either side, at any time
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use super::closer::Foreign;
use super::fault::Fault;
use super::memory::{RING_ALIGN, ring_bytes};
use super::message::{AddRing, Hello, Init, Message, SECRET_SIZE, Text, VERSION};
use super::params::{MAX_LOG2_SLOTS, MAX_QUEUES};
use super::region::MAX_REGION;

/// Most regions of a client.
const MAX_REGIONS: usize = 16;

/// Who we are, as others are told.
fn program() -> Text<32> {
    Text::new(concat!("waterwheel ", env!("CARGO_PKG_VERSION")))
}

/// What a server says first, before it knows which of its interfaces is wanted: `queues` are those of the largest one.
#[must_use]
pub fn hello(queues: u16) -> Message {
    let last_ring = queues.clamp(1, MAX_QUEUES) - 1;
    Message::Hello(Hello {
        name: program(),
        min_version: VERSION,
        max_version: VERSION,
        max_region: MAX_REGIONS as u16 - 1,
        max_to_client: last_ring,
        max_to_server: last_ring,
        max_log2_slots: MAX_LOG2_SLOTS,
    })
}

/// What a client has sent, when it says `Connect`.
#[derive(Debug, Default)]
pub struct Offer {
    /// Files with the sizes that they are said to have.
    pub regions: Vec<(Foreign, u64)>,
    /// Rings to us, each with the eventfd that wakes us.
    pub to_server: Vec<(AddRing, Foreign)>,
    /// Rings to the client, each with the eventfd that wakes it.
    pub to_client: Vec<(AddRing, Foreign)>,
}

/// What a server does with a message.
#[derive(Debug)]
pub enum Reply {
    /// Says this.
    Say(Message),
    /// Looks whether it can use what is offered, and says `Connected`.
    Connect(Offer),
}

/// The server's side, after `Init` has told which interface is wanted.
#[derive(Debug)]
pub struct Server {
    queues: u16,
    offer: Offer,
    done: bool,
}

impl Server {
    /// The answer to `init`, for an interface of so many queues.
    ///
    /// # Errors
    /// What is wrong with it: version, mode, secret.
    pub fn new(init: &Init, queues: u16, secret: &[u8; SECRET_SIZE]) -> Result<(Self, Message), Fault> {
        if init.version != VERSION {
            return Err(Fault::protocol("incompatible memif version"));
        }
        if init.mode != 0 {
            return Err(Fault::protocol("only ethernet mode supported"));
        }
        // No secret of ours: any will do. All bytes are compared, so that the time tells nothing.
        let differs = init.secret.iter().zip(secret).fold(0, |differs, (theirs, ours)| differs | (theirs ^ ours));
        if secret[0] != 0 && differs != 0 {
            return Err(Fault::protocol(if init.secret[0] == 0 { "secret required" } else { "incorrect secret" }));
        }
        Ok((Self { queues, offer: Offer::default(), done: false }, Message::Ack))
    }

    /// The answer to a message.
    ///
    /// # Errors
    /// It makes no sense, or not now.
    pub fn on(&mut self, message: Message, file: Option<Foreign>) -> Result<Reply, Fault> {
        match message {
            Message::Disconnect { reason, .. } => return Err(Fault::Said(reason.to_string())),
            _ if self.done => {}
            Message::AddRegion { index, size } => {
                self.add_region(index, size, file)?;
                return Ok(Reply::Say(Message::Ack));
            }
            Message::AddRing(ring) => {
                self.add_ring(ring, file)?;
                return Ok(Reply::Say(Message::Ack));
            }
            Message::Connect(_) => {
                if self.offer.to_server.is_empty() && self.offer.to_client.is_empty() {
                    return Err(Fault::protocol("no rings"));
                }
                self.done = true;
                return Ok(Reply::Connect(std::mem::take(&mut self.offer)));
            }
            _ => {}
        }
        Err(Fault::protocol("unexpected message"))
    }

    fn add_region(&mut self, index: u16, size: u64, file: Option<Foreign>) -> Result<(), Fault> {
        let file = file.ok_or(Fault::protocol("missing region file"))?;
        if usize::from(index) != self.offer.regions.len() || usize::from(index) >= MAX_REGIONS {
            return Err(Fault::protocol("invalid region index"));
        }
        if size == 0 || size > MAX_REGION {
            return Err(Fault::protocol("invalid region size"));
        }
        self.offer.regions.push((file, size));
        Ok(())
    }

    fn add_ring(&mut self, ring: AddRing, event: Option<Foreign>) -> Result<(), Fault> {
        let event = event.ok_or(Fault::protocol("missing interrupt file"))?;
        let rings = if ring.to_server { &mut self.offer.to_server } else { &mut self.offer.to_client };
        if usize::from(ring.index) != rings.len() || ring.index >= self.queues {
            return Err(Fault::protocol("invalid ring index"));
        }
        if !(1..=MAX_LOG2_SLOTS).contains(&ring.log2_slots) {
            return Err(Fault::protocol("invalid ring size"));
        }
        if ring.private_header != 0 {
            return Err(Fault::protocol("private headers not supported"));
        }
        let Some((_, size)) = self.offer.regions.get(usize::from(ring.region)) else {
            return Err(Fault::protocol("invalid region index"));
        };
        let offset = u64::from(ring.offset);
        if !offset.is_multiple_of(RING_ALIGN) || offset + ring_bytes(ring.log2_slots) > *size {
            return Err(Fault::protocol("invalid ring offset"));
        }
        rings.push((ring, event));
        Ok(())
    }
}

/// What both sides can, as a client finds out by `Hello`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreed {
    /// Rings in either direction.
    pub queues: u16,
    /// log2 of their slots.
    pub log2_slots: u8,
}

/// What a client can do with `hello`: as much of `queues` and `log2_slots` as the server takes, if it takes so many `regions`.
///
/// # Errors
/// The server is none that we can talk to.
pub fn agree(hello: &Hello, queues: u16, log2_slots: u8, regions: u16) -> Result<Agreed, Fault> {
    if hello.min_version > VERSION || hello.max_version < VERSION {
        return Err(Fault::protocol("incompatible memif version"));
    }
    if hello.max_region < regions - 1 {
        return Err(Fault::protocol("too few regions"));
    }
    let most = hello.max_to_client.min(hello.max_to_server).saturating_add(1);
    let log2_slots = log2_slots.min(hello.max_log2_slots);
    if log2_slots == 0 {
        return Err(Fault::protocol("rings of one slot"));
    }
    Ok(Agreed { queues: queues.min(most), log2_slots })
}

/// A message of a client, and the file that goes with it.
pub type Line = (Message, Option<Arc<Foreign>>);

/// The client's side, after `Hello`: one line after each `Ack`.
#[derive(Debug)]
pub struct Client {
    lines: VecDeque<Line>,
    /// The ring that was offered last, until the server has taken it.
    offered: Option<AddRing>,
    done: bool,
}

impl Client {
    /// Will say that it wants interface `id`, then each of `lines`, and `Connect`.
    #[must_use]
    pub fn new(id: u32, secret: [u8; SECRET_SIZE], interface: &str, lines: Vec<Line>) -> Self {
        let init = Message::Init(Init { version: VERSION, id, mode: 0, secret, name: program() });
        let last = Message::Connect(Text::new(interface));
        let lines = std::iter::once((init, None)).chain(lines).chain(std::iter::once((last, None))).collect();
        Self { lines, offered: None, done: false }
    }

    /// The next line, if there is one.
    pub fn next_line(&mut self) -> Option<Line> {
        let line = self.lines.pop_front();
        self.offered = line
            .as_ref()
            .and_then(|(message, _)| if let Message::AddRing(ring) = message { Some(*ring) } else { None });
        line
    }

    /// The queue whose ring the server has not taken yet: the one that it refuses, if it refuses now.
    #[must_use]
    pub fn offered_queue(&self) -> Option<u16> {
        self.offered.map(|ring| ring.index)
    }

    /// What a message means: a line to say, or nothing more to say: packets may flow.
    ///
    /// # Errors
    /// It makes no sense, or not now.
    pub fn on(&mut self, message: Message) -> Result<Option<Line>, Fault> {
        match message {
            Message::Disconnect { reason, .. } => Err(Fault::Said(reason.to_string())),
            Message::Ack if !self.lines.is_empty() => Ok(self.next_line()),
            Message::Connected(_) if self.lines.is_empty() && !self.done => {
                self.done = true;
                Ok(None)
            }
            _ => Err(Fault::protocol("unexpected message")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memif::region::export;
    use std::os::fd::AsFd;

    fn file() -> Option<Foreign> {
        Some(export(4096).expect("a memfd").into())
    }

    fn init(secret: &[u8; SECRET_SIZE]) -> Init {
        Init { version: VERSION, id: 0, mode: 0, secret: *secret, name: Text::new("test") }
    }

    fn server() -> Server {
        Server::new(&init(&[0; SECRET_SIZE]), 2, &[0; SECRET_SIZE]).expect("welcome").0
    }

    fn ring(to_server: bool, index: u16) -> AddRing {
        AddRing { to_server, index, region: 0, offset: 0, log2_slots: 4, private_header: 0 }
    }

    fn said(server: &mut Server, message: Message, file: Option<Foreign>) -> Result<bool, String> {
        server.on(message, file).map(|reply| matches!(reply, Reply::Connect(_))).map_err(|fault| fault.to_string())
    }

    #[test]
    fn both_sides_understand_each_other() {
        let Message::Hello(hello) = hello(2) else { panic!("a hello") };
        let agreed = agree(&hello, 2, 10, 1).expect("the same version");
        assert_eq!(agreed, Agreed { queues: 2, log2_slots: 10 });
        let lines = vec![
            (Message::AddRegion { index: 0, size: 4096 }, file().map(Arc::new)),
            (Message::AddRing(ring(true, 0)), file().map(Arc::new)),
            (Message::AddRing(ring(false, 0)), file().map(Arc::new)),
        ];
        let mut client = Client::new(0, *b"sesame, open yourself!!!", "test", lines);
        let Some((Message::Init(init), None)) = client.next_line() else { panic!("first Init") };
        let (mut server, mut answer) = Server::new(&init, 2, b"sesame, open yourself!!!").expect("the same secret");
        let offer = loop {
            let (message, file) = client.on(answer).expect("an answer").expect("more to say");
            let file = file.map(|file| file.as_fd().try_clone_to_owned().expect("a copy").into());
            match server.on(message, file).expect("an offer") {
                Reply::Say(message) => answer = message,
                Reply::Connect(offer) => break offer,
            }
        };
        assert_eq!((offer.regions.len(), offer.to_server.len(), offer.to_client.len()), (1, 1, 1));
        assert!(client.on(Message::Connected(Text::new("there"))).expect("done").is_none());
        assert!(client.on(Message::Connected(Text::new("there"))).is_err(), "once");
        assert!(client.on(Message::Ack).is_err());
        assert!(said(&mut server, Message::Connect(Text::new("again")), None).is_err());
    }

    #[test]
    fn a_server_takes_no_nonsense() {
        let region = |index, size| Message::AddRegion { index, size };
        let mut server = server();
        let mut refuses = |message: Message, file, why: &str| {
            let answer = said(&mut server, message.clone(), file);
            assert!(answer.as_ref().is_err_and(|said| said.contains(why)), "{message:?}: {answer:?}, not {why}");
        };
        refuses(Message::AddRing(ring(true, 0)), file(), "invalid region index");
        refuses(region(0, 4096), None, "missing region file");
        refuses(region(1, 4096), file(), "invalid region index");
        refuses(region(0, 0), file(), "invalid region size");
        refuses(region(0, u64::MAX), file(), "invalid region size");
        refuses(region(0, (1 << 32) + 1), file(), "invalid region size");
        refuses(Message::Connect(Text::new("x")), None, "no rings");
        refuses(Message::Ack, None, "unexpected");
        refuses(Message::Connected(Text::new("x")), None, "unexpected");
        refuses(Message::Disconnect { code: 1, reason: Text::new("bye") }, None, "bye");
        assert_eq!(said(&mut server, region(0, 4096), file()), Ok(false));
        let mut refuses = |ring: AddRing, why: &str| {
            let answer = said(&mut server, Message::AddRing(ring), file());
            assert!(answer.as_ref().is_err_and(|said| said.contains(why)), "{ring:?}: {answer:?}, not {why}");
        };
        refuses(ring(true, 1), "invalid ring index");
        refuses(AddRing { region: 1, ..ring(true, 0) }, "invalid region index");
        refuses(AddRing { log2_slots: 0, ..ring(true, 0) }, "invalid ring size");
        refuses(AddRing { log2_slots: 15, ..ring(true, 0) }, "invalid ring size");
        refuses(AddRing { log2_slots: 255, ..ring(true, 0) }, "invalid ring size");
        refuses(AddRing { log2_slots: 8, ..ring(true, 0) }, "invalid ring offset");
        refuses(AddRing { offset: 4096 - 128, ..ring(true, 0) }, "invalid ring offset");
        refuses(AddRing { offset: u32::MAX, ..ring(true, 0) }, "invalid ring offset");
        refuses(AddRing { offset: 8, ..ring(true, 0) }, "invalid ring offset");
        refuses(AddRing { private_header: 1, ..ring(true, 0) }, "private headers");
        for index in 0..2 {
            assert_eq!(said(&mut server, Message::AddRing(ring(true, index)), file()), Ok(false));
        }
        assert!(said(&mut server, Message::AddRing(ring(true, 2)), file()).is_err(), "two queues");
        assert!(said(&mut server, Message::AddRing(ring(false, 0)), None).is_err(), "no eventfd");
        assert_eq!(said(&mut server, Message::Connect(Text::new("x")), None), Ok(true));
    }

    #[test]
    fn regions_have_an_end() {
        let mut server = server();
        for index in 0..MAX_REGIONS as u16 {
            assert_eq!(said(&mut server, Message::AddRegion { index, size: 1 }, file()), Ok(false));
        }
        assert!(said(&mut server, Message::AddRegion { index: MAX_REGIONS as u16, size: 1 }, file()).is_err());
    }

    #[test]
    fn strangers_are_turned_away() {
        let (none, ours) = ([0; SECRET_SIZE], *b"sesame, open yourself!!!");
        let refused = |init: &Init, secret| Server::new(init, 1, secret).expect_err("refused").to_string();
        assert_eq!(refused(&init(&none), &ours), "secret required");
        assert_eq!(refused(&init(&[b's'; SECRET_SIZE]), &ours), "incorrect secret");
        assert!(Server::new(&init(&ours), 1, &none).is_ok(), "a secret that nobody asked for");
        assert!(refused(&Init { version: 0x100, ..init(&none) }, &none).contains("version"));
        assert!(refused(&Init { mode: 1, ..init(&none) }, &none).contains("ethernet"));
    }

    #[test]
    fn a_server_that_can_less_gets_less() {
        let Message::Hello(hello) = hello(MAX_QUEUES) else { panic!("a hello") };
        let small = Hello { max_to_client: 0, max_to_server: 3, max_log2_slots: 6, max_region: 0, ..hello.clone() };
        assert_eq!(agree(&small, 4, 10, 1), Ok(Agreed { queues: 1, log2_slots: 6 }));
        assert!(agree(&small, 4, 10, 2).is_err());
        assert!(agree(&Hello { max_log2_slots: 0, ..hello.clone() }, 1, 10, 1).is_err());
        assert!(agree(&Hello { min_version: VERSION + 1, ..hello.clone() }, 1, 10, 1).is_err());
        assert!(agree(&Hello { max_version: VERSION - 1, ..hello }, 1, 10, 1).is_err());
    }
}
