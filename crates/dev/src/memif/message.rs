//! Control messages: 128 bytes each, in the byte order of the machine, as both sides are on it (memif 2.0).
//!
//! | bytes | what |
//! |---|---|
//! | 0..2 | the type |
//! | 2..128 | by type, packed without gaps; what is left is zero |

use std::fmt;

/// Bytes of a message.
pub const MESSAGE_SIZE: usize = 128;
/// Version 2.0, the only one that there is.
pub const VERSION: u16 = 2 << 8;
/// Bytes of a secret.
pub const SECRET_SIZE: usize = 24;
/// Bytes of a name.
pub(super) const NAME_SIZE: usize = 32;
/// Bytes of the reason in a [`Message::Disconnect`].
pub(super) const REASON_SIZE: usize = 96;
/// `MEMIF_MSG_ADD_RING_FLAG_S2M`.
const TO_SERVER: u16 = 1;

/// What one side says to the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Server: go on.
    Ack,
    /// Server: what it can.
    Hello(Hello),
    /// Client: which interface it wants.
    Init(Init),
    /// Client: memory, whose file comes with the message.
    AddRegion {
        /// Its number, counted from 0.
        index: u16,
        /// Its bytes.
        size: u64,
    },
    /// Client: a ring in that memory, whose eventfd comes with the message.
    AddRing(AddRing),
    /// Client: that was all; the name of its interface.
    Connect(Text<NAME_SIZE>),
    /// Server: packets may flow; the name of its interface.
    Connected(Text<NAME_SIZE>),
    /// Either: the end.
    Disconnect {
        /// 0, mostly.
        code: u32,
        /// Why, for people.
        reason: Text<REASON_SIZE>,
    },
}

/// What a server offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Its program, such as `DPDK 22.11.11`.
    pub name: Text<NAME_SIZE>,
    /// The oldest version that it speaks.
    pub min_version: u16,
    /// The newest one.
    pub max_version: u16,
    /// The greatest number of a region.
    pub max_region: u16,
    /// The greatest number of a ring to the client.
    pub max_to_client: u16,
    /// The greatest number of a ring to the server.
    pub max_to_server: u16,
    /// log2 of the most slots that a ring may have.
    pub max_log2_slots: u8,
}

/// What a client wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Init {
    /// The version that it speaks.
    pub version: u16,
    /// The interface behind the socket.
    pub id: u32,
    /// 0: Ethernet frames; other modes carry IP packets.
    pub mode: u8,
    /// All zero: none.
    pub secret: [u8; SECRET_SIZE],
    /// Its program.
    pub name: Text<NAME_SIZE>,
}

/// Where a ring lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddRing {
    /// From the client to the server, else the other way.
    pub to_server: bool,
    /// Its number in its direction, counted from 0.
    pub index: u16,
    /// The region.
    pub region: u16,
    /// Its first byte in the region.
    pub offset: u32,
    /// log2 of its slots.
    pub log2_slots: u8,
    /// Bytes behind each descriptor that are private to both sides: 0.
    pub private_header: u16,
}

/// A text of at most `N - 1` bytes, padded with zeros.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<const N: usize>([u8; N]);

impl<const N: usize> Text<N> {
    /// As much of `text` as has room.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut end = text.len().min(N - 1);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let mut bytes = [0; N];
        bytes[..end].copy_from_slice(&text.as_bytes()[..end]);
        Self(bytes)
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    /// Up to the first zero; what a terminal would act upon becomes `?`, as a stranger wrote it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.split(|byte| *byte == 0).next().unwrap_or_default();
        let plain = |c: char| if c.is_control() { '?' } else { c };
        f.write_str(&String::from_utf8_lossy(text).chars().map(plain).collect::<String>())
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

/// Bytes that are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadMessage {
    /// No type has this number.
    Type(u16),
    /// A ring flag that nobody knows.
    RingFlags(u16),
}

impl fmt::Display for BadMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type(number) => write!(f, "unknown message type {number}"),
            Self::RingFlags(flags) => write!(f, "unknown ring flags {flags:#x}"),
        }
    }
}

impl Message {
    /// The message as bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; MESSAGE_SIZE] {
        let mut to = Writer { bytes: [0; MESSAGE_SIZE], at: 0 };
        to.u16(self.number());
        match self {
            Self::Ack => {}
            Self::Hello(hello) => {
                to.put(&hello.name.0);
                for field in [hello.min_version, hello.max_version, hello.max_region] {
                    to.u16(field);
                }
                to.u16(hello.max_to_client);
                to.u16(hello.max_to_server);
                to.put(&[hello.max_log2_slots]);
            }
            Self::Init(init) => {
                to.u16(init.version);
                to.u32(init.id);
                to.put(&[init.mode]);
                to.put(&init.secret);
                to.put(&init.name.0);
            }
            Self::AddRegion { index, size } => {
                to.u16(*index);
                to.put(&size.to_ne_bytes());
            }
            Self::AddRing(ring) => {
                to.u16(if ring.to_server { TO_SERVER } else { 0 });
                to.u16(ring.index);
                to.u16(ring.region);
                to.u32(ring.offset);
                to.put(&[ring.log2_slots]);
                to.u16(ring.private_header);
            }
            Self::Connect(name) | Self::Connected(name) => to.put(&name.0),
            Self::Disconnect { code, reason } => {
                to.u32(*code);
                to.put(&reason.0);
            }
        }
        to.bytes
    }

    /// The message that the bytes are.
    ///
    /// # Errors
    /// A type or a flag that does not exist. Whether the numbers make sense is for the handshake to say.
    pub fn decode(bytes: &[u8; MESSAGE_SIZE]) -> Result<Self, BadMessage> {
        let mut from = Reader { bytes, at: 0 };
        Ok(match from.u16() {
            1 => Self::Ack,
            2 => Self::Hello(Hello {
                name: from.text(),
                min_version: from.u16(),
                max_version: from.u16(),
                max_region: from.u16(),
                max_to_client: from.u16(),
                max_to_server: from.u16(),
                max_log2_slots: from.u8(),
            }),
            3 => Self::Init(Init {
                version: from.u16(),
                id: from.u32(),
                mode: from.u8(),
                secret: from.take(),
                name: from.text(),
            }),
            4 => Self::AddRegion { index: from.u16(), size: u64::from_ne_bytes(from.take()) },
            5 => {
                let flags = from.u16();
                if flags & !TO_SERVER != 0 {
                    return Err(BadMessage::RingFlags(flags));
                }
                Self::AddRing(AddRing {
                    to_server: flags == TO_SERVER,
                    index: from.u16(),
                    region: from.u16(),
                    offset: from.u32(),
                    log2_slots: from.u8(),
                    private_header: from.u16(),
                })
            }
            6 => Self::Connect(from.text()),
            7 => Self::Connected(from.text()),
            8 => Self::Disconnect { code: from.u32(), reason: from.text() },
            number => return Err(BadMessage::Type(number)),
        })
    }

    fn number(&self) -> u16 {
        match self {
            Self::Ack => 1,
            Self::Hello(_) => 2,
            Self::Init(_) => 3,
            Self::AddRegion { .. } => 4,
            Self::AddRing(_) => 5,
            Self::Connect(_) => 6,
            Self::Connected(_) => 7,
            Self::Disconnect { .. } => 8,
        }
    }
}

struct Writer {
    bytes: [u8; MESSAGE_SIZE],
    at: usize,
}

impl Writer {
    fn put(&mut self, field: &[u8]) {
        self.bytes[self.at..self.at + field.len()].copy_from_slice(field);
        self.at += field.len();
    }

    fn u16(&mut self, field: u16) {
        self.put(&field.to_ne_bytes());
    }

    fn u32(&mut self, field: u32) {
        self.put(&field.to_ne_bytes());
    }
}

struct Reader<'a> {
    bytes: &'a [u8; MESSAGE_SIZE],
    at: usize,
}

impl Reader<'_> {
    /// The next `N` bytes; no message has more than there are.
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let field = std::array::from_fn(|i| self.bytes[self.at + i]);
        self.at += N;
        field
    }

    fn u8(&mut self) -> u8 {
        self.take::<1>()[0]
    }

    fn u16(&mut self) -> u16 {
        u16::from_ne_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_ne_bytes(self.take())
    }

    fn text<const N: usize>(&mut self) -> Text<N> {
        Text(self.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Message> {
        let ring =
            AddRing { to_server: true, index: 1, region: 2, offset: 0x0304_0506, log2_slots: 10, private_header: 0 };
        let hello = Hello {
            name: Text::new("them"),
            min_version: VERSION,
            max_version: VERSION,
            max_region: 255,
            max_to_client: 3,
            max_to_server: 4,
            max_log2_slots: 14,
        };
        let init = Init { version: VERSION, id: 7, mode: 0, secret: [9; SECRET_SIZE], name: Text::new("us") };
        vec![
            Message::Ack,
            Message::Hello(hello),
            Message::Init(init),
            Message::AddRegion { index: 1, size: 1 << 40 },
            Message::AddRing(ring),
            Message::AddRing(AddRing { to_server: false, ..ring }),
            Message::Connect(Text::new("left")),
            Message::Connected(Text::new("right")),
            Message::Disconnect { code: 5, reason: Text::new("enough") },
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        for message in all() {
            assert_eq!(Message::decode(&message.encode()).as_ref(), Ok(&message));
        }
    }

    /// The places of the fields are those of the C structures, which are packed.
    #[test]
    fn fields_lie_where_the_others_look_for_them() {
        let bytes = all().iter().map(Message::encode).collect::<Vec<_>>();
        assert_eq!(
            (&bytes[1][2..6], bytes[1][34..36].to_vec(), bytes[1][44]),
            (&b"them"[..], 0x200u16.to_ne_bytes().to_vec(), 14)
        );
        assert_eq!((bytes[2][4], bytes[2][8], bytes[2][9], bytes[2][33]), (7u32.to_ne_bytes()[0], 0, 9, b'u'));
        assert_eq!(bytes[3][4..12], (1u64 << 40).to_ne_bytes());
        assert_eq!((&bytes[4][8..12], bytes[4][12]), (&0x0304_0506u32.to_ne_bytes()[..], 10));
        assert_eq!(&bytes[8][6..12], b"enough");
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let mut bytes = [0; MESSAGE_SIZE];
        assert_eq!(Message::decode(&bytes), Err(BadMessage::Type(0)));
        bytes[..2].copy_from_slice(&9u16.to_ne_bytes());
        assert_eq!(Message::decode(&bytes), Err(BadMessage::Type(9)));
        bytes[..2].copy_from_slice(&5u16.to_ne_bytes());
        bytes[2..4].copy_from_slice(&2u16.to_ne_bytes());
        assert_eq!(Message::decode(&bytes), Err(BadMessage::RingFlags(2)));
    }

    #[test]
    fn texts_are_cut_and_made_harmless() {
        assert_eq!(Text::<4>::new("abcdef").to_string(), "abc");
        assert_eq!(Text::<4>::new("abéd").to_string(), "ab", "no half of a character");
        assert_eq!(Text([0x1b, b'[', 0xff, b'x']).to_string(), "?[\u{fffd}x");
    }
}
