//! Network interfaces, as netlink shows them: the answers are those of this process's network namespace.

use serde::Serialize;
use waterwheel_dev::af_xdp::link::{Link, default_routes};

use super::{Answer, Verdict};
use crate::failure::{Class, Failure};

/// The largest MTU of which a frame fits a page, so that every driver takes it: 4096 bytes less the 256 that the kernel keeps before it, the Ethernet header and a VLAN tag.
const MAX_MTU: u32 = 4096 - 256 - 14 - 4;

/// One interface of this network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Interface {
    pub(crate) name: String,
    /// Its further names.
    pub(crate) alt_names: Vec<String>,
    pub(crate) driver: String,
    /// Set up by the administrator.
    pub(crate) up: bool,
    /// The other end is there.
    pub(crate) carrier: bool,
    pub(crate) mtu: u32,
    /// Receive queues in use.
    pub(crate) queues: u32,
    /// What the driver can do with XDP; `None` when the kernel (before 6.3) does not tell.
    pub(crate) xdp: Option<Xdp>,
    /// The XDP program on it, and who holds it.
    pub(crate) program: Option<String>,
    /// The command that takes that program away.
    #[serde(skip)]
    pub(crate) removal: String,
    pub(crate) default_route: bool,
    pub(crate) loopback: bool,
    /// Its packets have an Ethernet header.
    pub(crate) ethernet: bool,
}

/// What a driver can do with XDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Xdp {
    /// Runs programs, and redirects to AF_XDP sockets.
    pub(crate) native: bool,
    /// AF_XDP sockets get their packets without a copy.
    pub(crate) zero_copy: bool,
    /// They get frames that are longer than a page.
    pub(crate) fragments: bool,
}

/// Every interface, by number.
///
/// # Errors
/// The kernel cannot be asked.
pub(crate) fn interfaces() -> Result<Vec<Interface>, Failure> {
    let silent = |error| Failure::new(Class::Device, error);
    let defaults = default_routes().map_err(silent)?;
    let links = Link::all().map_err(silent)?;
    Ok(links.iter().map(|link| Interface::new(link, defaults.contains(&link.index))).collect())
}

impl Interface {
    fn new(link: &Link, default_route: bool) -> Self {
        let xdp = link.features().map(|features| Xdp {
            native: features.native() && features.redirect(),
            zero_copy: features.zero_copy(),
            fragments: features.fragments(),
        });
        Self {
            name: link.name.clone(),
            alt_names: link.alt_names.clone(),
            driver: if link.loopback { "loopback".to_owned() } else { link.driver() },
            up: link.up,
            carrier: link.carrier,
            mtu: link.mtu,
            queues: link.rx_queues,
            xdp,
            program: link.xdp.map(|program| program.describe()),
            removal: link.removal().unwrap_or_default(),
            default_route,
            loopback: link.loopback,
            ethernet: link.ethernet,
        }
    }

    /// Up, or why not.
    pub(super) fn state(&self) -> &'static str {
        match (self.up, self.carrier) {
            (false, _) => "down",
            (true, false) => "no carrier",
            (true, true) => "up",
        }
    }

    /// The best mode that the driver offers.
    pub(super) fn mode(&self) -> &'static str {
        match self.xdp {
            None => "?",
            Some(Xdp { zero_copy: true, .. }) => "native, zero copy",
            Some(Xdp { native: true, .. }) => "native",
            Some(_) => "generic",
        }
    }

    /// Whether, and how, an `afxdp:` device can use it; `missing` are the capabilities that this process lacks.
    pub(super) fn answer(&self, missing: &[&str]) -> Answer {
        let Self { name, mtu, .. } = self;
        let (no, careful) =
            (|text: String| Answer::new(Verdict::No, text), |text: String| Answer::new(Verdict::Careful, text));
        if !self.ethernet {
            return no("not an Ethernet interface: its packets have no Ethernet header".to_owned());
        }
        if let Some(program) = &self.program {
            return no(format!("taken by an XDP program ({program}): end its owner, or {}", self.removal));
        }
        if !self.up {
            return no(format!("it is down: ip link set {name} up"));
        }
        if !missing.is_empty() {
            return no(format!("needs {}", missing.join(" and ")));
        }
        if self.default_route {
            return careful(format!(
                "carries the default route: steer (afxdp:{name},dst=...), or you cut yourself off"
            ));
        }
        if self.loopback {
            return careful("this host's own connections run over it: for tests, steered".to_owned());
        }
        if !self.carrier {
            return careful("no carrier: a cable, or the other end, is missing or down".to_owned());
        }
        if self.xdp.is_some_and(|xdp| !xdp.native) {
            return careful(format!(
                "afxdp:{name}, slowly: the driver runs no XDP programs, the network stack does (generic)"
            ));
        }
        // Frames that do not fit a page come in several parts.
        if *mtu > MAX_MTU && !self.xdp.is_some_and(|xdp| xdp.fragments) {
            return careful(format!(
                "frames of MTU {mtu} are longer than a page, and whether the driver gives them away is not known: ip link set {name} mtu {MAX_MTU}, or afxdp:{name},mode=generic (Linux 6.6)"
            ));
        }
        Answer::new(Verdict::Ready, format!("afxdp:{name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_interface_gets_a_plain_answer() {
        let ready = Interface {
            name: "eth1".into(),
            up: true,
            carrier: true,
            mtu: 1500,
            ethernet: true,
            xdp: Some(Xdp { native: true, ..Xdp::default() }),
            ..Interface::default()
        };
        let line = |interface: &Interface, missing: &[&str]| interface.answer(missing).line();
        assert_eq!(line(&ready, &[]), "ready: afxdp:eth1");
        assert_eq!(line(&ready, &["CAP_BPF"]), "no: needs CAP_BPF");
        let changed = |change: fn(&mut Interface)| {
            let mut interface = ready.clone();
            change(&mut interface);
            line(&interface, &[])
        };
        assert_eq!(changed(|i| i.up = false), "no: it is down: ip link set eth1 up");
        assert!(changed(|i| i.mtu = 9000).starts_with("careful: frames of MTU 9000 are longer than a page"));
        let jumbo = |i: &mut Interface| {
            i.mtu = 9000;
            i.xdp = Some(Xdp { native: true, fragments: true, ..Xdp::default() });
        };
        assert_eq!(changed(jumbo), "ready: afxdp:eth1");
        let taken = |i: &mut Interface| {
            (i.program, i.removal) = (Some("id 7".into()), "`so`".into());
        };
        assert_eq!(changed(taken), "no: taken by an XDP program (id 7): end its owner, or `so`");
        assert!(changed(|i| i.default_route = true).starts_with("careful: carries the default route"));
        assert!(changed(|i| i.ethernet = false).starts_with("no: not an Ethernet"));
        assert!(changed(|i| i.carrier = false).starts_with("careful: no carrier"));
        assert!(changed(|i| i.xdp = Some(Xdp::default())).starts_with("careful: afxdp:eth1, slowly"));
        assert_eq!(changed(|i| i.xdp = None), "ready: afxdp:eth1", "an older kernel does not tell");
    }
}
