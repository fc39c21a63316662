//! What can be opened once and stands twice in a command. Who opened it would hear that somebody has it, and not who: this very command.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use waterwheel_dev::memif::Role;
use waterwheel_dev::spec::{Kind, Spec, memif, tcp, udp};

use crate::config::Plan;
use crate::failure::{Class, Failure};

/// What one device has for itself. (Queues of interfaces overlap, which is another matter.)
#[derive(PartialEq)]
enum Claim {
    Tap(String),
    Address(Kind, SocketAddr),
    Memif(PathBuf, u32, bool),
}

impl Claim {
    fn of(spec: &Spec) -> Result<Option<Self>, Failure> {
        let address = |address: SocketAddr| (address.port() != 0).then_some(Self::Address(spec.kind, address));
        Ok(match spec.kind {
            // The kernel makes another one of each name with a %.
            Kind::Tap => (!spec.arg.contains('%')).then(|| Self::Tap(spec.arg.clone())),
            Kind::Udp => address(udp(spec)?.local),
            Kind::Tcp => Some(tcp(spec)?).filter(|tcp| tcp.listen).and_then(|tcp| address(tcp.address)),
            Kind::Memif => {
                let params = memif(spec)?.params;
                Some(Self::Memif(place(&params.socket), params.id, params.role == Role::Server))
            }
            Kind::Gen | Kind::Null | Kind::Pcap | Kind::AfXdp | Kind::Veth => None,
        })
    }

    fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Address(kind, a), Self::Address(of, b)) if kind == of && a.is_ipv4() == b.is_ipv4() => {
                let every = a.ip().is_unspecified() || b.ip().is_unspecified();
                a.port() == b.port() && (every || a.ip() == b.ip())
            }
            _ => self == other,
        }
    }
}

/// Where a socket is, however it is written. (One whose name begins with @ has no file.)
fn place(socket: &Path) -> PathBuf {
    if socket.to_string_lossy().starts_with('@') {
        return socket.to_owned();
    }
    let path = std::path::absolute(socket).unwrap_or_else(|_| socket.to_owned());
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    folder.map(|folder| folder.join(path.file_name().unwrap_or(OsStr::new("")))).unwrap_or(path)
}

/// # Errors
/// Two devices of the plan want the same.
pub(super) fn check(plan: &Plan) -> Result<(), Failure> {
    let mut claims: Vec<Claim> = Vec::new();
    for spec in plan.ports.iter().map(|port| &port.spec) {
        let Some(claim) = Claim::of(spec)? else { continue };
        if claims.iter().any(|other| claim.excludes(other)) {
            return Err(refused(plan, &Spec { options: Vec::new(), ..spec.clone() }.to_string(), spec));
        }
        claims.push(claim);
    }
    Ok(())
}

/// `what` stands twice, the second time as `spec`.
pub(super) fn refused(plan: &Plan, what: &str, spec: &Spec) -> Failure {
    let way_out = if plan.copy.is_some() {
        "name another device after --to, or leave --to out".to_owned()
    } else {
        format!("name another one, or, to send packets back where they came from, use 'waterwheel tx {spec}'")
    };
    let message = format!("{what} stands twice in this command, and can be opened once: {way_out}");
    Failure::new(Class::Config, message)
}
