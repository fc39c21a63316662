//! Interfaces that the test made, seen through netlink.

use super::netlink::{ACK, Netlink, ROUTE, put};
use super::{Link, default_routes};
use crate::af_xdp::bpf::{AttachMode, Steering, XdpMode, attach_steering};
use crate::af_xdp::testing::{Net, root, run};

#[test]
fn a_veth_is_described_as_it_is() {
    if !root("a_veth_is_described_as_it_is") {
        return;
    }
    let _net = Net::new();
    run("ip link set dev near mtu 1400 address 02:00:00:00:00:99");
    let link = Link::by_name("near").unwrap();
    assert_eq!((link.name.as_str(), link.mtu, link.up, link.carrier), ("near", 1400, true, true));
    assert_eq!(link.address, [2, 0, 0, 0, 0, 0x99]);
    assert_eq!(link.kind.as_deref(), Some("veth"));
    assert_eq!(link.driver(), "veth");
    assert!(!link.loopback && !link.promiscuous);
    assert!(link.rx_queues >= 1);
    assert_eq!(link.xdp, None);
    assert_eq!(Link::by_index(link.index).unwrap(), link);
    if let Some(features) = link.features() {
        assert!(features.native() && features.redirect() && !features.zero_copy(), "{features:?}");
    }

    run("ip link set dev near down");
    assert!(!Link::by_name("near").unwrap().up);
    let names: Vec<String> = Link::all().unwrap().into_iter().map(|link| link.name).collect();
    for name in ["lo", "near", "far"] {
        assert!(names.iter().any(|there| there == name), "{names:?}");
    }
    run("ip link del near");
    assert!(Link::by_index(link.index).unwrap_err().to_string().contains("is gone"));
}

#[test]
fn queues_are_counted_as_they_are_used() {
    if !root("queues_are_counted_as_they_are_used") {
        return;
    }
    let _net = Net::new();
    run("ip link add wide numrxqueues 4 numtxqueues 4 type veth peer name edge numrxqueues 4 numtxqueues 4");
    run("ethtool -L wide rx 3");
    assert_eq!(Link::by_name("wide").unwrap().rx_queues, 3);
    run("ip tuntap add idle mode tap multi_queue");
    assert_eq!(Link::by_name("idle").unwrap().rx_queues, 1, "nobody has it open: it may have 256, and uses one");
}

#[test]
fn an_unknown_interface_is_named_with_those_that_are_there() {
    if !root("an_unknown_interface_is_named_with_those_that_are_there") {
        return;
    }
    let _net = Net::new();
    let error = Link::by_name("nera").unwrap_err().to_string();
    assert!(error.contains("`nera`") && error.contains("near") && error.contains("far"), "{error}");
    assert!(
        Link::by_name("a-name-that-is-too-long-for-most").unwrap_err().to_string().contains("there is no interface")
    );
    for name in ["", &"long".repeat(32)] {
        assert!(Link::by_name(name).unwrap_err().to_string().contains("1 to 15"));
    }
}

#[test]
fn interfaces_answer_to_all_their_names() {
    if !root("interfaces_answer_to_all_their_names") {
        return;
    }
    let _net = Net::new();
    const LONG: &str = "the-one-that-is-nearer-than-far";
    run(&format!("ip link property add dev near altname nigh altname {LONG}"));
    let link = Link::by_name("near").unwrap();
    assert_eq!(link.alt_names, ["nigh", LONG]);
    for name in ["nigh", LONG] {
        assert_eq!(Link::by_name(name).unwrap(), link);
    }
    assert!(Link::by_name("far").unwrap().alt_names.is_empty());
}

/// A program of somebody else, attached as `ip link set dev IF MODE pinned FILE` does it; `flags` are those of `IFLA_XDP_FLAGS`.
fn attach(link: &Link, prog: std::os::fd::BorrowedFd<'_>, flags: u32) {
    use std::os::fd::AsRawFd;
    let mut attrs = Vec::new();
    put(&mut attrs, 1, &prog.as_raw_fd().to_ne_bytes());
    put(&mut attrs, 3, &flags.to_ne_bytes());
    let mut request = vec![0; super::IFINFOMSG];
    request[4..8].copy_from_slice(&link.index.to_ne_bytes());
    put(&mut request, super::IFLA_XDP | 0x8000, &attrs);
    Netlink::open(ROUTE).unwrap().request(19, ACK, &request, |_| {}).unwrap(); // RTM_SETLINK
}

/// What a refusal tells to type does what it says.
#[test]
fn programs_of_others_are_removed_by_the_command_that_is_named() {
    if !root("programs_of_others_are_removed_by_the_command_that_is_named") {
        return;
    }
    let _net = Net::new();
    let link = Link::by_name("near").unwrap();
    let prog = crate::af_xdp::bpf::program_of_nobody();
    for (flags, mode) in [(sys_flags::DRV, XdpMode::Native), (sys_flags::SKB, XdpMode::Generic)] {
        attach(&link, std::os::fd::AsFd::as_fd(&prog), flags);
        let link = Link::by_name("near").unwrap();
        assert_eq!(link.xdp.unwrap().mode, mode);
        let refused = super::super::bpf::attach_anew(&link, AttachMode::Auto).unwrap_err().to_string();
        let command = link.removal().unwrap();
        assert!(refused.ends_with(&format!("or remove it: {command}")), "{refused}");
        run(command.trim_matches('`'));
        assert_eq!(Link::by_name("near").unwrap().xdp, None, "{command}");
    }
    // A link that holds the same program elsewhere is not the one to be detached.
    let far = Link::by_name("far").unwrap();
    let elsewhere = crate::af_xdp::bpf::link_to(std::os::fd::AsFd::as_fd(&prog), far.index);
    attach(&link, std::os::fd::AsFd::as_fd(&prog), sys_flags::DRV);
    let command = Link::by_name("near").unwrap().removal().unwrap();
    run(command.trim_matches('`'));
    assert_eq!(Link::by_name("near").unwrap().xdp, None, "{command}");
    assert!(Link::by_name("far").unwrap().removal().unwrap().starts_with("`bpftool link detach id "));
    drop(elsewhere);
    // One that a link holds can be removed by no command of `ip`.
    let steer = attach_steering(&link, &Steering::All, AttachMode::Auto).unwrap().unwrap();
    let id = crate::af_xdp::bpf::link_id(&steer);
    assert_eq!(Link::by_name("near").unwrap().removal(), Some(format!("`bpftool link detach id {id}`")));
    let refused = super::super::bpf::attach_anew(&link, AttachMode::Auto).unwrap_err().to_string();
    assert!(refused.contains("one process has all queues of an interface that are used"), "{refused}");
}

mod sys_flags {
    pub(super) const SKB: u32 = 1 << 1;
    pub(super) const DRV: u32 = 1 << 2;
}

#[test]
fn default_routes_are_found() {
    if !root("default_routes_are_found") {
        return;
    }
    let _net = Net::new();
    assert_eq!(default_routes().unwrap(), []);
    let (near, far) = (Link::by_name("near").unwrap().index, Link::by_name("far").unwrap().index);
    run("ip addr add 192.0.2.1/24 dev near");
    assert_eq!(default_routes().unwrap(), [], "a route to a network is no default route");
    run("ip route add default via 192.0.2.2 dev near onlink");
    assert_eq!(default_routes().unwrap(), [near]);
    run("ip -6 route add default dev far");
    let mut both = [near, far];
    both.sort_unstable();
    assert_eq!(default_routes().unwrap(), both);
    run("ip route del default");
    run("ip route add default nexthop via 192.0.2.2 dev near onlink nexthop via 192.0.2.3 dev near onlink");
    assert_eq!(default_routes().unwrap(), both);
}

#[test]
fn a_program_is_shown_and_gone_with_its_owner() {
    if !root("a_program_is_shown_and_gone_with_its_owner") {
        return;
    }
    let _net = Net::new();
    for (attach, mode) in [
        (AttachMode::Native, XdpMode::Native),
        (AttachMode::Generic, XdpMode::Generic),
        (AttachMode::Auto, XdpMode::Native),
    ] {
        let steer = attach_steering(&Link::by_name("near").unwrap(), &Steering::All, attach).unwrap().unwrap();
        let attached = Link::by_name("near").unwrap().xdp.unwrap();
        assert_eq!((attached.mode, steer.mode()), (mode, mode));
        let words = attached.describe();
        assert!(words.contains("`waterwheel`") && words.contains(&std::process::id().to_string()), "{words}");
        drop(steer);
        assert_eq!(Link::by_name("near").unwrap().xdp, None);
    }
}

#[test]
fn a_taken_interface_is_refused_and_its_program_named() {
    if !root("a_taken_interface_is_refused_and_its_program_named") {
        return;
    }
    let _net = Net::new();
    let link = Link::by_name("near").unwrap();
    let steer = attach_steering(&link, &Steering::All, AttachMode::Auto).unwrap().unwrap();
    // The same process may join, when it wants the same.
    let joined = attach_steering(&link, &Steering::All, AttachMode::Auto).unwrap().unwrap();
    assert!(std::sync::Arc::ptr_eq(&steer, &joined));
    let other = attach_steering(&link, &"port=53".parse().unwrap(), AttachMode::Auto).unwrap_err();
    assert!(other.to_string().contains("share one program"), "{other}");
    let id = link_program(&link);

    // A second namespace handle on the same interface plays the other process: the table of this one does not know it.
    let error = super::super::bpf::attach_anew(&link, AttachMode::Auto).unwrap_err().to_string();
    assert!(error.contains(&format!("XDP program {id} `waterwheel` (native, held by this very process")), "{error}");
    let error = super::super::bpf::attach_anew(&link, AttachMode::Generic).unwrap_err().to_string();
    assert!(error.contains("is attached already"), "{error}");
}

fn link_program(link: &Link) -> u32 {
    Link::by_index(link.index).unwrap().xdp.unwrap().prog_id
}
