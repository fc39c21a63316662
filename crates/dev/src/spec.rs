//! Device specs: how a device is named in text, `KIND:ARG[,KEY[=VALUE]]*`.
//!
//! Parsing goes in two steps. [`Spec::parse`] knows the kinds and which of them take an argument, and nothing of any device's keys.
//! [`Spec::apply`] then gives each `KEY=VALUE` to the device's own parameters, checked against the device's table of keys, which is
//! also what the help text is made of: a key cannot be understood and undocumented.
//!
//! ```
//! use waterwheel_dev::spec::{Kind, Spec};
//!
//! let spec: Spec = "afxdp:eth0:1,mode=native,promisc".parse()?;
//! assert_eq!(spec.kind, Kind::AfXdp);
//! assert_eq!(spec.arg, "eth0:1");
//! assert_eq!(spec.options, [("mode".into(), "native".into()), ("promisc".into(), String::new())]);
//! assert_eq!(spec.to_string(), "afxdp:eth0:1,mode=native,promisc");
//! # Ok::<(), waterwheel_dev::spec::SpecError>(())
//! ```

#[cfg(feature = "af_xdp")]
mod af_xdp;
#[cfg(feature = "memif")]
mod memif;
#[cfg(feature = "uring")]
mod socket;
#[cfg(feature = "tap")]
mod tap;

use std::fmt;
use std::str::FromStr;

#[cfg(feature = "af_xdp")]
pub use af_xdp::{AF_XDP_KEYS, af_xdp};
#[cfg(feature = "memif")]
pub use memif::{MEMIF_KEYS, MemifSpec, memif};
#[cfg(feature = "uring")]
pub use socket::{TCP_KEYS, TcpSpec, UDP_KEYS, UdpSpec, address, tcp, udp};
#[cfg(feature = "tap")]
pub use tap::{TAP_KEYS, tap_queues};

/// What a spec's text before the first colon names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `gen:`, the traffic generator.
    Gen,
    /// `null:`, a sink that completes at once.
    Null,
    /// `pcap:FILE`, packets read from a file or written to one.
    Pcap,
    /// `tap:NAME`, a tap interface of the kernel.
    Tap,
    /// `afxdp:IFACE[:QUEUE]`, AF_XDP sockets on a network interface.
    AfXdp,
    /// `veth:[NAME]`, a pair of devices in this process's memory.
    Veth,
    /// `memif:SOCKET`, memory shared with another process.
    Memif,
    /// `udp:ADDR:PORT`, datagrams of a socket.
    Udp,
    /// `tcp:ADDR:PORT`, the stream of a connection.
    Tcp,
}

/// Whether a kind's name is followed by an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg {
    /// None: what follows the colon is keys.
    None,
    /// One may follow, called so in the help text.
    Optional(&'static str),
    /// One must follow, called so in the help text.
    Required(&'static str),
}

impl Kind {
    /// Every kind, in the order in which the help text explains them.
    pub const ALL: [Self; 9] =
        [Self::AfXdp, Self::Memif, Self::Tap, Self::Udp, Self::Tcp, Self::Pcap, Self::Gen, Self::Null, Self::Veth];

    /// The text before the colon.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gen => "gen",
            Self::Null => "null",
            Self::Pcap => "pcap",
            Self::Tap => "tap",
            Self::AfXdp => "afxdp",
            Self::Veth => "veth",
            Self::Memif => "memif",
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }

    /// What follows the colon.
    pub const fn arg(self) -> Arg {
        match self {
            Self::Gen | Self::Null => Arg::None,
            Self::Pcap => Arg::Required("FILE"),
            Self::Tap => Arg::Required("NAME"),
            Self::AfXdp => Arg::Required("IFACE[:QUEUE]"),
            Self::Veth => Arg::Optional("NAME"),
            Self::Memif => Arg::Required("SOCKET"),
            Self::Udp | Self::Tcp => Arg::Required("ADDR:PORT"),
        }
    }

    /// The form of a spec of this kind, e.g. `afxdp:IFACE[:QUEUE]`.
    pub fn form(self) -> String {
        match self.arg() {
            Arg::None => format!("{}:", self.as_str()),
            Arg::Optional(arg) => format!("{}:[{arg}]", self.as_str()),
            Arg::Required(arg) => format!("{}:{arg}", self.as_str()),
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// A device named in text, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// What stands before the first colon.
    pub kind: Kind,
    /// What stands between the colon and the first comma; empty for kinds that take no argument.
    pub arg: String,
    /// The keys in the order typed; the value of a key without `=` is empty.
    pub options: Vec<(String, String)>,
}

impl Spec {
    /// A spec of `kind` with an argument and no keys.
    pub fn new(kind: Kind, arg: impl Into<String>) -> Self {
        Self { kind, arg: arg.into(), options: Vec::new() }
    }

    /// Takes `text` apart. A comma or a backslash that belongs to a name or a value is written `\,` or `\\`.
    ///
    /// # Errors
    /// The kind is missing or unknown, its argument is missing, or a key is empty.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        let error = |problem| SpecError { spec: text.to_owned(), problem };
        let Some((name, rest)) = text.split_once(':') else {
            return Err(error(Problem::NoKind));
        };
        let kind = Kind::from_name(name).ok_or_else(|| error(Problem::UnknownKind(name.to_owned())))?;
        let mut parts = split_commas(rest);
        let arg = match kind.arg() {
            Arg::None => String::new(),
            Arg::Optional(_) => parts.next().unwrap_or_default(),
            Arg::Required(what) => {
                parts.next().filter(|arg| !arg.is_empty()).ok_or_else(|| error(Problem::NoArg(kind, what)))?
            }
        };
        let options = parts
            .map(|part| match part.split_once('=') {
                Some((key, value)) => (key.to_owned(), value.to_owned()),
                None => (part, String::new()),
            })
            .collect::<Vec<_>>();
        if options.iter().any(|(key, _)| key.is_empty()) {
            return Err(error(Problem::EmptyKey));
        }
        Ok(Self { kind, arg, options })
    }

    /// Gives every key of the spec, in order, to `set(key, value)`, after a look into `keys`, pairs of a key and its help text.
    ///
    /// # Errors
    /// A key that is not in `keys`, or what `set` has against its value.
    pub fn apply<E: fmt::Display>(
        &self,
        keys: &[(&'static str, &str)],
        mut set: impl FnMut(&str, &str) -> Result<(), E>,
    ) -> Result<(), SpecError> {
        for (key, value) in &self.options {
            let problem = if keys.iter().any(|(known, _)| known == key) {
                match set(key, value) {
                    Ok(()) => continue,
                    Err(reason) => Problem::BadValue { key: key.clone(), reason: reason.to_string() },
                }
            } else {
                Problem::UnknownKey { key: key.clone(), known: keys.iter().map(|(known, _)| *known).collect() }
            };
            return Err(SpecError { spec: self.to_string(), problem });
        }
        Ok(())
    }

    /// The value of `key` that was typed last.
    pub fn option(&self, key: &str) -> Option<&str> {
        self.options.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The argument of `afxdp:` as interface and queues: `eth0`, `eth0:1` or `eth0:0-3`.
    ///
    /// # Errors
    /// What follows the last colon is no queue number and no range of them.
    pub fn interface_and_queues(&self) -> Result<(&str, Queues), SpecError> {
        let Some((interface, text)) = self.arg.rsplit_once(':') else {
            return Ok((&self.arg, Queues::All));
        };
        let bad = || SpecError { spec: self.to_string(), problem: Problem::BadQueue(text.to_owned()) };
        let number = |text: &str| text.parse::<u32>().map_err(|_| bad());
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(text)?, number(text)?),
        };
        if interface.is_empty() || first > last {
            return Err(bad());
        }
        Ok((interface, Queues::Range { first, last }))
    }
}

/// Which queues of an interface are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queues {
    /// As many as the interface has.
    All,
    /// `first` to `last`, both included.
    Range {
        /// The first queue.
        first: u32,
        /// The last queue, not below the first.
        last: u32,
    },
}

impl Queues {
    /// The first queue meant.
    pub fn first(self) -> u32 {
        match self {
            Self::All => 0,
            Self::Range { first, .. } => first,
        }
    }
}

impl FromStr for Spec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        Self::parse(text)
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.as_str(), escape(&self.arg))?;
        for (n, (key, value)) in self.options.iter().enumerate() {
            let comma = if n == 0 && self.kind.arg() == Arg::None { "" } else { "," };
            let equals = if value.is_empty() { "" } else { "=" };
            write!(f, "{comma}{}{equals}{}", escape(key), escape(value))?;
        }
        Ok(())
    }
}

/// Why a text is not a spec; its message is one line that says what to type instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecError {
    /// The whole spec, as typed.
    pub spec: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// There is no colon.
    NoKind,
    /// No device is called so.
    UnknownKind(String),
    /// The kind needs an argument, called so.
    NoArg(Kind, &'static str),
    /// Two commas in a row, or one at the end.
    EmptyKey,
    /// The device has no such key.
    UnknownKey {
        /// The key as typed.
        key: String,
        /// What the device knows.
        known: Vec<&'static str>,
    },
    /// The device does not take this value.
    BadValue {
        /// The key as typed.
        key: String,
        /// What the device says, the value included.
        reason: String,
    },
    /// No queue number.
    BadQueue(String),
}

impl fmt::Display for SpecError {
    /// One line, also where the spec was more: line breaks become spaces.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.explain(&mut text)?;
        f.write_str(&text.replace(['\n', '\r'], " "))
    }
}

impl SpecError {
    fn explain(&self, f: &mut impl fmt::Write) -> fmt::Result {
        let Self { spec, problem } = self;
        match problem {
            Problem::NoKind if Kind::from_name(spec).is_some_and(|kind| !matches!(kind.arg(), Arg::Required(_))) => {
                write!(f, "'{spec}' lacks its colon: did you mean '{spec}:'?")
            }
            Problem::NoKind if spec.is_empty() => write!(f, "an empty text names no device: use one of {}", forms()),
            Problem::NoKind if spec.contains(['/', '.']) => {
                write!(f, "'{spec}' is not a device spec (KIND:...): for a file, did you mean 'pcap:{spec}'?")
            }
            Problem::NoKind => {
                write!(f, "'{spec}' is not a device spec (KIND:...): for an interface, did you mean 'afxdp:{spec}'?")
            }
            Problem::UnknownKind(name) => {
                write!(f, "'{spec}': there is no device '{name}:'")?;
                match nearest(name, Kind::ALL.map(Kind::as_str)) {
                    Some(kind) => write!(f, ", did you mean '{kind}:'?"),
                    None => write!(f, ", use one of {}", forms()),
                }
            }
            Problem::NoArg(kind, what) => write!(f, "'{spec}' lacks its {what}: the form is '{}'", kind.form()),
            Problem::EmptyKey => write!(f, "'{spec}' has an empty key: write KEY or KEY=VALUE between commas"),
            Problem::UnknownKey { key, known } => {
                write!(f, "'{spec}': unknown key '{key}'")?;
                match nearest(key, known.iter().copied()) {
                    Some(key) => write!(f, ", did you mean '{key}'?"),
                    None if known.is_empty() => write!(f, ", this device has no keys"),
                    None => write!(f, ", the keys are {}", known.join(", ")),
                }
            }
            Problem::BadValue { reason, .. } => write!(f, "'{spec}': {reason}"),
            Problem::BadQueue(text) => {
                write!(
                    f,
                    "'{spec}': '{text}' is not a queue: use a number (0) or a range (0-3), or leave it out for all queues"
                )
            }
        }
    }
}

impl std::error::Error for SpecError {}

/// The candidate that a reader of `typed` most likely meant, if one is near: at most a third of the letters are wrong, or `typed` begins it.
pub fn nearest<'a>(typed: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_ascii_lowercase();
    let allowed = typed.chars().count().div_ceil(3);
    candidates
        .into_iter()
        .map(|candidate| (distance(&typed, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= allowed || (typed.len() > 1 && candidate.starts_with(&typed)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many letters must be inserted, removed, replaced or swapped with their neighbour (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.chars().collect::<Vec<_>>(), b.chars().collect::<Vec<_>>());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let swapped = if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    rows[i - 2][j - 2] + 1
                } else {
                    usize::MAX
                };
                (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(replaced).min(swapped)
            };
        }
    }
    rows[a.len()][b.len()]
}

fn forms() -> String {
    Kind::ALL.map(|kind| format!("'{}'", kind.form())).join(", ")
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace(',', "\\,")
}

/// The parts of `text` between commas, escapes resolved; none when the text is empty.
fn split_commas(text: &str) -> std::vec::IntoIter<String> {
    let (mut parts, mut part) = (Vec::new(), String::new());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ',' => parts.push(std::mem::take(&mut part)),
            '\\' if matches!(chars.peek(), Some(',' | '\\')) => part.extend(chars.next()),
            c => part.push(c),
        }
    }
    if !text.is_empty() {
        parts.push(part);
    }
    parts.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &[(&str, &str)] = &[("rate", "packets a second"), ("promisc", "take everything")];

    fn message(text: &str) -> String {
        text.parse::<Spec>().expect_err(text).to_string()
    }

    fn apply(text: &str) -> Result<Vec<(String, String)>, String> {
        let mut seen = Vec::new();
        let set = |key: &str, value: &str| {
            seen.push((key.to_owned(), value.to_owned()));
            if value == "0" { Err("rate=0: want 1 or more") } else { Ok(()) }
        };
        text.parse::<Spec>().expect(text).apply(KEYS, set).map_err(|error| error.to_string())?;
        Ok(seen)
    }

    #[test]
    fn specs_survive_the_way_through_text() {
        for text in [
            "gen:",
            "gen:size=64,rate=1M",
            "null:",
            "pcap:/tmp/a b.pcap",
            "pcap:a\\,b.pcap,timing",
            "pcap:back\\\\slash",
            "tap:tap0",
            "afxdp:eth0",
            "afxdp:eth0:0-3,dst=2001:db8::/32,promisc",
            "veth:",
            "veth:a",
            "veth:,queues=2",
        ] {
            let spec = text.parse::<Spec>().expect(text);
            assert_eq!(spec.to_string(), text);
            assert_eq!(spec.to_string().parse::<Spec>().as_ref(), Ok(&spec));
        }
        let spec = "pcap:a\\,b.pcap,timing".parse::<Spec>().expect("escaped comma");
        assert_eq!((spec.arg.as_str(), spec.option("timing")), ("a,b.pcap", Some("")));
    }

    #[test]
    fn a_bad_spec_says_what_to_type() {
        assert_eq!(message("null"), "'null' lacks its colon: did you mean 'null:'?");
        assert_eq!(
            message("eth0"),
            "'eth0' is not a device spec (KIND:...): for an interface, did you mean 'afxdp:eth0'?"
        );
        assert_eq!(
            message("in.pcap"),
            "'in.pcap' is not a device spec (KIND:...): for a file, did you mean 'pcap:in.pcap'?"
        );
        assert_eq!(message("afxpd:eth0"), "'afxpd:eth0': there is no device 'afxpd:', did you mean 'afxdp:'?");
        assert!(
            message("dpdk:0").contains("use one of 'afxdp:IFACE[:QUEUE]', 'memif:SOCKET', 'tap:NAME'"),
            "{}",
            message("dpdk:0")
        );
        assert_eq!(message("afxdp:"), "'afxdp:' lacks its IFACE[:QUEUE]: the form is 'afxdp:IFACE[:QUEUE]'");
        assert_eq!(message("pcap:,timing"), "'pcap:,timing' lacks its FILE: the form is 'pcap:FILE'");
        assert!(message("gen:size=64,").contains("empty key"));
        assert!(message("gen:,size=64").contains("empty key"));
        assert!(message("").contains("names no device"));
        for text in ["\n", "a\r\nb:", "gen:,\n", "afxdp:"] {
            assert_eq!(message(text).lines().count(), 1, "{text:?}");
        }
    }

    #[test]
    fn keys_are_checked_against_the_table() {
        assert_eq!(apply("gen:rate=5,promisc").map(|seen| seen.len()), Ok(2));
        assert_eq!(apply("gen:rte=5"), Err("'gen:rte=5': unknown key 'rte', did you mean 'rate'?".into()));
        assert_eq!(
            apply("gen:colour=5"),
            Err("'gen:colour=5': unknown key 'colour', the keys are rate, promisc".into())
        );
        assert_eq!(apply("gen:rate=0"), Err("'gen:rate=0': rate=0: want 1 or more".into()));
    }

    #[test]
    fn queues_are_numbers_or_ranges() {
        let queues = |arg: &str| {
            let spec = Spec::new(Kind::AfXdp, arg);
            spec.interface_and_queues().map(|(name, queues)| (name.to_owned(), queues)).map_err(|e| e.to_string())
        };
        assert_eq!(queues("eth0"), Ok(("eth0".into(), Queues::All)));
        assert_eq!(queues("eth0.5:7"), Ok(("eth0.5".into(), Queues::Range { first: 7, last: 7 })));
        assert_eq!(queues("eth0:0-3"), Ok(("eth0".into(), Queues::Range { first: 0, last: 3 })));
        for bad in ["eth0:", "eth0:x", "eth0:3-1", ":0", "eth0:-1", "eth0:4294967296"] {
            assert!(queues(bad).expect_err(bad).contains("is not a queue"), "{bad}");
        }
    }

    #[test]
    fn the_nearest_is_near() {
        assert_eq!(nearest("forwrad", ["forward", "drop"]), Some("forward"));
        assert_eq!(nearest("eth", ["lo", "eth0"]), Some("eth0"));
        assert_eq!(nearest("zz", ["lo", "eth0"]), None);
        assert_eq!(nearest("", ["lo"]), None);
    }
}
