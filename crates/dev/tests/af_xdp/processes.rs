//! Tests that need a second process: this test binary again, with one test to run and a role in its environment.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use waterwheel_dev::ErrorClass;
use waterwheel_dev::af_xdp::link::Link;
use waterwheel_dev::af_xdp::{AfXdp, AfXdpParams, Steering};
use waterwheel_xdp::{Action, Context, DropReason, XdpBuff};

use crate::support::{account, params, poll_until, reflect, worker, zone};
use crate::testing::{Net, Stranger, frame, root};

const ROLE: &str = "WATERWHEEL_TEST_ROLE";

fn child(prefix: &[&str], test: &str, role: &str) -> Command {
    let exe = std::env::current_exe().unwrap();
    let words: Vec<_> = prefix.iter().map(std::ffi::OsStr::new).chain([exe.as_os_str()]).collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).args([&format!("processes::{test}"), "--exact", "--nocapture"]).env(ROLE, role);
    command
}

#[test]
fn a_killed_process_leaves_nothing_and_the_next_start_works() {
    const NAME: &str = "a_killed_process_leaves_nothing_and_the_next_start_works";
    if !root(NAME) {
        return;
    }
    if std::env::var(ROLE).is_ok() {
        let zone = zone();
        let mut worker = worker(&zone, &[AfXdpParams { promiscuous: true, ..params("near") }]);
        worker.poll(&mut reflect);
        println!("\nopen");
        return worker.run(&mut reflect);
    }
    let _net = Net::new();
    let far = Stranger::on(Link::by_name("far").unwrap().index);
    let zone = zone();
    for round in 0..3 {
        let mut process = child(&[], NAME, "open").stdout(Stdio::piped()).spawn().unwrap();
        let holder = format!("process {}", process.id());
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let opened = lines.any(|line| line.unwrap() == "open");
        let refused =
            |steering| AfXdp::open(&zone, &AfXdpParams { steering, ..params("near") }).unwrap_err().to_string();
        let attached = opened.then(|| refused(Steering::All));
        // Once: a taken queue is tried for two seconds.
        let queue = (opened && round == 0).then(|| refused(Steering::None));
        for seed in 0..20 {
            far.send(&frame(60, seed));
        }
        process.kill().unwrap();
        process.wait().unwrap();

        let attached = attached.expect("the child opens the device");
        assert!(attached.contains("is attached already") && attached.contains(&holder), "{attached}");
        if let Some(queue) = queue {
            assert!(queue.starts_with("near: queue 0 is taken") && queue.contains(&holder), "{queue}");
        }
        let link = Link::by_name("near").unwrap();
        assert_eq!((link.xdp, link.promiscuous), (None, false));
        let mut worker = worker(&zone, &[params("near")]);
        worker.poll(&mut reflect);
        let marked = frame(200, 77);
        far.send(&marked);
        let drop_it = |_: &Context, _: &mut XdpBuff| Action::Drop(DropReason::Program);
        poll_until(&mut worker, drop_it, |stats| stats.ports[0].rx.packets == 1);
        assert_eq!(worker.close().ports[0].rx.bytes, 200);
        assert!(account(&zone).is_whole());
    }
}

#[test]
fn a_missing_capability_is_named() {
    const NAME: &str = "a_missing_capability_is_named";
    if !root(NAME) {
        return;
    }
    if let Ok(role) = std::env::var(ROLE) {
        let (steering, words) = role.split_once('/').unwrap();
        let params = AfXdpParams { steering: steering.parse().unwrap(), ..params("near") };
        let error = AfXdp::open(&zone(), &params).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Permission, "{error}");
        assert!(words.split(' ').all(|word| error.to_string().contains(word)), "{error}");
        return println!("{error}");
    }
    let _net = Net::new();
    for (without, steering, words) in [
        ("-net_raw", "none", "CAP_NET_RAW setcap"),
        ("-net_admin,-sys_admin", "all", "CAP_NET_ADMIN"),
        ("-bpf,-sys_admin", "all", "CAP_BPF"),
        ("-bpf,-sys_admin,-net_admin", "port=53", "CAP_BPF CAP_NET_ADMIN"),
    ] {
        let prefix = ["setpriv", "--bounding-set", without];
        let output = child(&prefix, NAME, &format!("{steering}/{words}")).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{without}: {}{}", text(&output.stdout), text(&output.stderr));
        assert!(text(&output.stdout).contains("1 passed"), "{}", text(&output.stdout));
    }
    assert_eq!(Link::by_name("near").unwrap().xdp, None);
}

/// Processes of other network namespaces have other interfaces, whatever they are called. This one is named where it is to blame.
#[test]
fn holders_are_looked_for_in_this_namespace() {
    const NAME: &str = "holders_are_looked_for_in_this_namespace";
    if !root(NAME) {
        return;
    }
    if std::env::var(ROLE).is_ok() {
        let zone = zone();
        let mut worker = worker(&zone, &[params("near")]);
        println!("\nopen");
        return worker.run(&mut reflect);
    }
    let elsewhere = Net::new();
    let mut other = child(&[], NAME, "open").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(other.stdout.take().unwrap()).lines();
    let opened = lines.any(|line| line.unwrap() == "open");
    let zone = zone();
    // Both namespaces have an interface of this name. The thread is in the second one from here on.
    let _net = Net::new();
    let steered = |steering| AfXdp::open(&zone, &AfXdpParams { steering, ..params("near") });
    let mine = opened.then(|| steered(Steering::All));
    let taken = opened.then(|| steered(Steering::None).unwrap_err().to_string());
    other.kill().unwrap();
    other.wait().unwrap();
    let taken = taken.expect("the child opens the device");
    let own = format!("AF_XDP sockets are open in this very process ({})", std::process::id());
    assert!(taken.starts_with("near: queue 0 is taken") && taken.contains(&own), "{taken}");
    assert!(!taken.contains(&format!("process {} (", other.id())), "{taken}");
    drop((mine, elsewhere));
    assert!(account(&zone).is_whole());
}
