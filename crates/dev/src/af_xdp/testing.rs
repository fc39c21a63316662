#![allow(dead_code, reason = "not every test uses all of it")]
#![expect(unsafe_code, reason = "test support: a packet socket as the stranger at the other end")]
//! Test support: a network namespace with a veth pair, and a packet socket on its far end.

use std::fs::File;
use std::io::{Error, Result};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// True when the test may go on: the process is root. Else it fails by name, or, with `WATERWHEEL_SKIP_ROOT=1`, says that it was left out.
pub(super) fn root(test: &str) -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    assert!(
        std::env::var("WATERWHEEL_SKIP_ROOT").is_ok_and(|value| value == "1"),
        "the test `{test}` needs root (or set WATERWHEEL_SKIP_ROOT=1 to leave it out)"
    );
    eprintln!("left out, as it needs root: {test}");
    false
}

pub(super) fn run(command: &str) {
    let mut words = command.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output().expect(command);
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A namespace that the calling thread lives in from now on, with the veth pair `near` and `far` in it, both up.
pub(super) struct Net {
    name: String,
}

impl Net {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ww-axdp-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        run(&format!("ip netns add {name}"));
        let net = Self { name };
        let file = File::open(format!("/run/netns/{}", net.name)).unwrap();
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        Self::pair();
        net
    }

    /// Makes the pair `near` and `far`, up: [`Net::new`] has, and after `ip link del near` there may be another one.
    pub(super) fn pair() {
        run("ip link add near type veth peer name far");
        // No packets but those of the test.
        for name in ["near", "far"] {
            run(&format!("ip link set dev {name} addrgenmode none arp off"));
            run(&format!("ip link set dev {name} up"));
        }
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "del", "near"]).output();
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

/// A packet socket on one interface.
pub(super) struct Stranger {
    fd: OwnedFd,
}

impl Stranger {
    pub(super) fn on(ifindex: u32) -> Self {
        let all = (libc::ETH_P_ALL as u16).to_be();
        // SAFETY: plain system calls over values that live through them; the descriptor is fresh.
        unsafe {
            let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, i32::from(all));
            assert!(fd >= 0, "{}", Error::last_os_error());
            let fd = OwnedFd::from_raw_fd(fd);
            let mut address: libc::sockaddr_ll = std::mem::zeroed();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = all;
            address.sll_ifindex = ifindex as i32;
            let len = size_of_val(&address) as u32;
            assert_eq!(libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len), 0, "{}", Error::last_os_error());
            rustix::net::sockopt::set_socket_timeout(
                &fd,
                rustix::net::sockopt::Timeout::Recv,
                Some(Duration::from_secs(60)),
            )
            .unwrap();
            Self { fd }
        }
    }

    /// Sends a packet unless there is no room for it now.
    pub(super) fn send_now(&self, packet: &[u8]) -> bool {
        rustix::net::send(&self.fd, packet, rustix::net::SendFlags::DONTWAIT).is_ok_and(|sent| sent == packet.len())
    }

    pub(super) fn send(&self, packet: &[u8]) {
        let sent = rustix::net::send(&self.fd, packet, rustix::net::SendFlags::empty()).unwrap();
        assert_eq!(sent, packet.len());
    }

    /// The next packet that was received, not sent, here; an error after a minute.
    pub(super) fn recv(&self) -> Result<Vec<u8>> {
        let mut buffer = vec![0; 1 << 16];
        let (len, _) = rustix::net::recv(&self.fd, &mut buffer[..], rustix::net::RecvFlags::empty())?;
        buffer.truncate(len);
        Ok(buffer)
    }
}

impl Stranger {
    /// The next packet, when there is one already.
    pub(super) fn recv_now(&self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 1 << 16];
        let (len, _) = rustix::net::recv(&self.fd, &mut buffer[..], rustix::net::RecvFlags::DONTWAIT).ok()?;
        buffer.truncate(len);
        Some(buffer)
    }
}

/// An Ethernet frame of `len` bytes whose payload counts up from `seed`.
pub(super) fn frame(len: usize, seed: u8) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5];
    frame.extend((0..len - 14).map(|at| seed.wrapping_add(at as u8)));
    frame
}

impl AsFd for Stranger {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
