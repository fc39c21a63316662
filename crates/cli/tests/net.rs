//! The binary on real interfaces: A - waterwheel - B over two veth pairs, in three network namespaces of this test. Needs root, `ip` of iproute2 and `ping` of
//! iputils, `ethtool`, `iperf3`, and `dpdk-testpmd` (Debian: `dpdk-dev`).

mod common;

use std::io::Read as _;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::{Lines, Running, Scratch, parsed, until, waterwheel};
use rustix::process::Signal;
use serde_json::Value;

/// True when the test may go on: the process is root. Else it fails by name, or, with `WATERWHEEL_SKIP_ROOT=1`, says that it was left out.
fn root(test: &str) -> bool {
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

/// Namespaces `A`, `M` (the middle, with `left` and `right`) and `B`; they go when the test does, however it ends.
struct Net {
    name: String,
}

impl Net {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let net = Self { name: format!("ww-cli-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)) };
        for part in ["a", "m", "b"] {
            net.ip(&format!("netns add {}{part}", net.name));
        }
        net.link("left");
        net.link("right");
        net
    }

    /// The pair between the middle's `left` and A, or its `right` and B.
    fn link(&self, side: &str) {
        let (part, address) = if side == "left" { ("a", "192.0.2.1/24") } else { ("b", "192.0.2.2/24") };
        let (own, name) = (format!("{}m", self.name), format!("{}{part}", self.name));
        self.ip(&format!("-n {own} link add {side} type veth peer name eth netns {name}"));
        // No packets but those of the test: neighbour discovery would be some.
        self.ip(&format!("-n {own} link set {side} addrgenmode none up"));
        self.ip(&format!("-n {name} link set eth addrgenmode none up"));
        self.ip(&format!("-n {name} addr add {address} dev eth"));
    }

    fn ip(&self, line: &str) -> Output {
        let output = Command::new("ip").args(line.split_whitespace()).output().expect("ip of iproute2 runs");
        assert!(output.status.success(), "ip {line}: {output:?}");
        output
    }

    /// `command` in one of the namespaces.
    fn exec(&self, part: &str, command: &Command) -> Command {
        let mut inside = Command::new("ip");
        inside.args(["netns", "exec", &format!("{}{part}", self.name)]).arg(command.get_program());
        inside.args(command.get_args());
        inside
    }

    /// The binary in the middle.
    fn waterwheel(&self, line: &str) -> Command {
        self.exec("m", &waterwheel(line))
    }

    /// The binary in the middle, when it has begun to count.
    fn start(&self, line: &str) -> (Running, Lines) {
        let mut running = Running::start(&mut self.waterwheel(&format!("{line} --json --interval 50ms")));
        let mut lines = running.lines();
        if lines.next().is_none() {
            let mut errors = String::new();
            running.0.stderr.take().expect("piped").read_to_string(&mut errors).expect("UTF-8");
            panic!("{line}: {errors}");
        }
        (running, lines)
    }

    /// What `ping` says in A. Without a deadline (`-w`) it waits for the last reply hardly longer than the others took; with one it ends at the first error.
    fn ping(&self, line: &str) -> String {
        let mut ping = Command::new("ping");
        ping.args(line.split(' '));
        let output = self.exec("a", &ping).output().expect("ping of iputils runs");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Five pings from A to B come back, before long.
    fn assert_crosses(&self, when: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let text = self.ping("-n -c 5 -i 0.01 -w 10 192.0.2.2");
            if text.matches("bytes from").count() >= 5 {
                return;
            }
            assert!(Instant::now() < deadline, "{when}: {text}");
        }
    }

    /// None of five pings comes back.
    fn assert_is_cut(&self) {
        let text = self.ping("-n -c 5 -i 0.01 -W 1 192.0.2.2");
        assert!(!text.contains("bytes from"), "{text}");
    }

    /// Whether an XDP program is on an interface of the middle.
    fn has_program(&self, interface: &str) -> bool {
        let output = self.ip(&format!("-n {}m -d link show {interface}", self.name));
        String::from_utf8_lossy(&output.stdout).contains("prog/xdp")
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for part in ["a", "m", "b"] {
            let _ = Command::new("ip").args(["netns", "del", &format!("{}{part}", self.name)]).output();
        }
    }
}

/// Ends a run by SIGINT, and gives its total.
fn total(mut running: Running, lines: Lines) -> Value {
    running.signal(Signal::INT);
    let text = lines.rest();
    assert_eq!(running.wait().code(), Some(0));
    parsed(text.as_bytes()).pop().expect("a total")
}

#[test]
fn pings_cross_and_nothing_is_left_behind() {
    if !root("pings_cross_and_nothing_is_left_behind") {
        return;
    }
    let net = Net::new();
    for round in 0..20 {
        let (running, lines) = net.start("forward afxdp:left afxdp:right");
        assert!(net.has_program("left") && net.has_program("right"), "round {round}");
        net.assert_crosses(&format!("round {round}"));
        let total = total(running, lines);
        assert!(total["actions"]["redirect"].as_u64().expect("a count") >= 10, "{total}");
        assert_eq!(total["dma_maps"], 2, "each socket has mapped the memory once: {total}");
        for device in total["devices"].as_array().expect("devices") {
            assert_eq!(device["counters"]["copied_frames"], 0, "{device}");
            assert!(device["mode"].as_str().expect("a mode").contains("copy"), "{device}");
        }
        assert!(!net.has_program("left") && !net.has_program("right"), "round {round}");
    }
}

#[test]
fn a_killed_run_leaves_nothing_and_the_next_one_starts_at_once() {
    if !root("a_killed_run_leaves_nothing_and_the_next_one_starts_at_once") {
        return;
    }
    let net = Net::new();
    let (mut running, _lines) = net.start("forward afxdp:left afxdp:right");
    running.0.kill().expect("the process is there");
    running.wait();
    let (running, lines) = net.start("forward afxdp:left afxdp:right");
    net.assert_crosses("at first");
    total(running, lines);
    assert!(!net.has_program("left") && !net.has_program("right"));
}

#[test]
fn an_interface_that_goes_ends_a_run_that_has_no_other() {
    if !root("an_interface_that_goes_ends_a_run_that_has_no_other") {
        return;
    }
    let net = Net::new();
    let (mut running, lines) = net.start("forward afxdp:left afxdp:right --on-device-loss exit");
    net.assert_crosses("at first");
    net.ip(&format!("-n {}m link del left", net.name));
    let text = lines.rest();
    let mut errors = String::new();
    running.0.stderr.take().expect("piped").read_to_string(&mut errors).expect("UTF-8");
    assert_eq!(running.wait().code(), Some(5), "{errors}");
    assert!(errors.contains("afxdp:left:0"), "it says which device: {errors}");
    parsed(text.as_bytes());
    assert!(!net.has_program("right"));
}

#[test]
fn an_interface_that_goes_and_comes_back_is_taken_up_again() {
    if !root("an_interface_that_goes_and_comes_back_is_taken_up_again") {
        return;
    }
    let net = Net::new();
    let (mut running, lines) = net.start("forward afxdp:left afxdp:right");
    let mut errors = running.0.stderr.take().expect("piped");
    net.assert_crosses("at first");
    for time in 1..=3 {
        net.ip(&format!("-n {}m link del left", net.name));
        net.assert_is_cut();
        net.link("left");
        net.assert_crosses(&format!("deleted and made again, time {time}"));
        net.ip(&format!("-n {}m link set right down", net.name));
        net.assert_is_cut();
        net.ip(&format!("-n {}m link set right up", net.name));
        net.assert_crosses(&format!("down and up, time {time}"));
    }
    let total = total(running, lines);
    for device in total["devices"].as_array().expect("devices") {
        assert_eq!((&device["revivals"], &device["state"]), (&Value::from(3), &Value::from("up")), "{device}");
        assert_eq!(device["counters"]["quarantined_pages"], 0, "{device}");
    }
    adds_up(&total);
    let mut said = String::new();
    errors.read_to_string(&mut said).expect("UTF-8");
    assert!(said.contains("afxdp:left:0: left is gone") && said.contains("(waiting until it is back)"), "{said}");
    assert!(said.contains("afxdp:left:0: is back (native, copy)"), "{said}");
    assert!(!net.has_program("left") && !net.has_program("right"));
}

#[test]
fn who_ends_while_an_interface_is_away_says_so() {
    if !root("who_ends_while_an_interface_is_away_says_so") {
        return;
    }
    let net = Net::new();
    let (mut running, lines) = net.start("forward afxdp:left afxdp:right --duration 3s");
    net.ip(&format!("-n {}m link del left", net.name));
    let text = lines.rest();
    let mut errors = String::new();
    running.0.stderr.take().expect("piped").read_to_string(&mut errors).expect("UTF-8");
    assert_eq!(running.wait().code(), Some(5), "{errors}");
    assert!(errors.contains("left is gone; not back yet: "), "it says why: {errors}");
    parsed(text.as_bytes());
}

#[test]
fn generate_takes_nothing_from_the_host() {
    if !root("generate_takes_nothing_from_the_host") {
        return;
    }
    let net = Net::new();
    let (running, lines) = net.start("generate afxdp:left --rate 1k");
    assert!(!net.has_program("left"), "one that only sends needs no program where the driver copies");
    let total = total(running, lines);
    assert_eq!(total["tx_packets"], total["rx_packets"], "{total}");
    assert!(total["tx_packets"].as_u64().expect("a count") > 0, "{total}");
}

#[test]
fn steered_capture_leaves_the_rest_to_the_host() {
    if !root("steered_capture_leaves_the_rest_to_the_host") {
        return;
    }
    let net = Net::new();
    net.ip(&format!("-n {}m addr add 192.0.2.3/24 dev left", net.name));
    let (running, mut lines) = net.start("drop afxdp:left,proto=udp,port=9");
    let text = net.ping("-n -c 3 -i 0.01 -w 10 192.0.2.3");
    assert!(text.matches("bytes from").count() >= 3, "the host answers: {text}");
    let mut send = Command::new("bash");
    send.args(["-c", "for i in 1 2 3; do echo x > /dev/udp/192.0.2.3/9; done"]);
    assert!(net.exec("a", &send).status().expect("bash runs").success());
    until(&mut lines, "all are captured", |interval| interval["actions"]["drop"] == 3);
    let total = total(running, lines);
    assert_eq!(total["actions"]["drop"], 3, "{total}");
}

/// Whatever it was called in the command, and whoever gave it its name.
#[test]
fn a_capture_has_the_interfaces_own_name() {
    if !root("a_capture_has_the_interfaces_own_name") {
        return;
    }
    let net = Net::new();
    net.ip(&format!("-n {}m link property add dev left altname another-name-of-left", net.name));
    for (device, name) in
        [("afxdp:another-name-of-left", "left"), ("tap:own%d", "own0"), ("tap:several%d,queues=2", "several0")]
    {
        for to in ["", "--to null:"] {
            let file = Scratch::new("named.pcapng");
            let line = format!("capture {device} {} {to} --duration 100ms", file.display());
            let output = net.waterwheel(&line).output().expect("the binary runs");
            assert!(output.status.success(), "{line}: {output:?}");
            let output = Command::new("capinfos").arg(&file.0).output().expect("capinfos of tshark runs");
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(text.lines().any(|line| line.trim() == format!("Name = {name}")), "{line}: {text}");
        }
    }
}

/// To another interface, or to the host itself by a tap: both ways, and both ways are captured.
#[test]
fn a_capture_lets_the_packets_go_on() {
    if !root("a_capture_lets_the_packets_go_on") {
        return;
    }
    for to in ["afxdp:right", "tap:host0"] {
        let net = Net::new();
        let file = common::Scratch::new("tee.pcapng");
        let (running, lines) = net.start(&format!("capture afxdp:left {} --to {to}", file.display()));
        if to == "tap:host0" {
            net.ip(&format!("-n {}m link set host0 addrgenmode none up", net.name));
            net.ip(&format!("-n {}m addr add 192.0.2.2/24 dev host0", net.name));
        }
        net.assert_crosses(to);
        let total = total(running, lines);
        assert_eq!(total["capture"]["missed"], 0, "{total}");
        let judge = |filter: &str| {
            let output =
                Command::new("tcpdump").args(["-n", "-r"]).arg(&file.0).arg(filter).output().expect("tcpdump runs");
            String::from_utf8_lossy(&output.stdout).lines().count() as u64
        };
        assert!(judge("icmp[0] == 8") >= 5 && judge("icmp[0] == 0") >= 5, "{to}: both ways");
        assert_eq!(judge(""), total["rx_packets"].as_u64().expect("a count"), "{to}: {total}");
        let output = Command::new("capinfos").arg(&file.0).output().expect("capinfos of tshark runs");
        assert!(String::from_utf8_lossy(&output.stdout).contains("Name = left"), "the interface's own name");
    }
    // Without it they are taken away, which is said.
    let net = Net::new();
    let output = net.waterwheel("capture afxdp:left /dev/null --duration 100ms").output().expect("the binary runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.contains("is taken from this host"), "{errors}");
}

#[test]
fn what_cannot_be_had_is_said_in_one_line() {
    if !root("what_cannot_be_had_is_said_in_one_line") {
        return;
    }
    let net = Net::new();
    let (running, lines) = net.start("drop afxdp:left");
    for (line, code, expected) in [
        ("drop afxdp:left".to_owned(), 5, format!("{}", running.0.id())),
        ("drop afxdp:lft".to_owned(), 5, "did you mean 'left'?".to_owned()),
        ("drop afxdp:right:4096".to_owned(), 3, "right has ".to_owned()),
        ("drop afxdp:right --require-zerocopy".to_owned(), 5, "zero".to_owned()),
        ("drop afxdp:right --pages 100".to_owned(), 3, "--pages 4224".to_owned()),
        ("drop afxdp:right,mode=fast".to_owned(), 3, "native".to_owned()),
    ] {
        let output = net.waterwheel(&line).output().expect("the binary runs");
        let errors = String::from_utf8(output.stderr).expect("UTF-8");
        let last = errors.lines().last().unwrap_or_default();
        assert_eq!(output.status.code(), Some(code), "{line}: {errors}");
        assert!(last.starts_with("waterwheel: ") && last.contains(&expected), "{line}: {errors}");
        assert!(!net.has_program("right"), "{line}: nothing has changed");
    }
    total(running, lines);
}

/// The line that `devices` and every refusal name, typed as it stands: nothing more is needed, whatever may be locked.
#[test]
fn the_setcap_line_is_all_that_a_user_needs() {
    if !root("the_setcap_line_is_all_that_a_user_needs") {
        return;
    }
    let net = Net::new();
    let folder = Scratch::new("setcap");
    std::fs::create_dir(&folder.0).expect("a folder");
    let binary = folder.0.join("waterwheel");
    std::fs::copy(env!("CARGO_BIN_EXE_waterwheel"), &binary).expect("a copy");
    let as_nobody = |line: &str| {
        let mut command = Command::new("prlimit");
        command.args(["--memlock=65536:65536", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.arg(&binary).args(line.split(' '));
        net.exec("m", &command).output().expect("prlimit and setpriv of util-linux run")
    };
    let run = "generate afxdp:left --count 10";
    let refused = as_nobody(run);
    let errors = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(4), "{errors}");
    let line = errors.split('`').find(|part| part.starts_with("setcap ")).unwrap_or_else(|| panic!("{errors}"));
    let devices = String::from_utf8(as_nobody("devices").stdout).expect("UTF-8");
    assert!(devices.split_whitespace().collect::<Vec<_>>().join(" ").contains(line), "{devices}");
    let words = line.split(' ').collect::<Vec<_>>();
    assert!(Command::new(words[0]).args(&words[1..]).status().expect("setcap runs").success());
    for run in
        [run, "drop afxdp:left,proto=udp --duration 100ms", "drop afxdp:right,mode=generic,promisc --duration 100ms"]
    {
        let output = as_nobody(run);
        assert!(output.status.success(), "{run}: {}", String::from_utf8_lossy(&output.stderr));
    }
    std::fs::remove_dir_all(&folder.0).expect("the folder goes");
}

/// `devices` says yes where it works, under whatever name, and no where it does not.
#[test]
fn jumbo_frames_and_other_names_work_as_devices_says() {
    if !root("jumbo_frames_and_other_names_work_as_devices_says") {
        return;
    }
    let net = Net::new();
    let own = format!("{}m", net.name);
    net.ip(&format!("-n {own} link property add dev left altname the-longer-name-of-left"));
    net.ip(&format!("-n {own} tuntap add dev bare mode tun"));
    net.ip(&format!("-n {own} link set bare up"));
    for (part, name) in [("m", "left"), ("m", "right"), ("a", "eth"), ("b", "eth")] {
        net.ip(&format!("-n {}{part} link set {name} mtu 9000", net.name));
    }
    let output = net.waterwheel("devices --json").output().expect("the binary runs");
    let machine: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let answer = |name: &str| {
        let all = machine["interfaces"].as_array().expect("interfaces");
        let one = all.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("{machine}"));
        (one["answer"]["verdict"].as_str().expect("a verdict"), one["answer"]["text"].as_str().expect("a text"))
    };
    assert_eq!(answer("left"), ("ready", "afxdp:left"));
    assert_eq!(answer("bare").0, "no");
    let refused = net.waterwheel("drop afxdp:bare").output().expect("the binary runs");
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(5) && errors.contains("bare is not an Ethernet interface"), "{errors}");
    let (running, lines) = net.start("forward afxdp:the-longer-name-of-left afxdp:right");
    net.assert_crosses("at first");
    let text = net.ping("-n -c 5 -i 0.01 -w 10 -s 8900 192.0.2.2");
    assert!(text.matches("8908 bytes from").count() >= 5, "{text}");
    total(running, lines);
}

/// One command that wants a thing twice hears that it is itself to blame.
#[test]
fn a_command_that_wants_a_device_twice_is_told() {
    if !root("a_command_that_wants_a_device_twice_is_told") {
        return;
    }
    let net = Net::new();
    net.ip(&format!("-n {}m link property add dev left altname other-left", net.name));
    for line in ["forward afxdp:left afxdp:left", "forward afxdp:left afxdp:other-left", "forward tap:x tap:x"] {
        let output = net.waterwheel(line).output().expect("the binary runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{line}: {errors}");
        assert!(errors.contains("stands twice in this command"), "{line}: {errors}");
    }
    let (running, lines) = net.start("forward tap:x,queues=2 tap:y,queues=2 --workers 2");
    let total = total(running, lines);
    let names = total["devices"].as_array().expect("devices").iter().map(|device| device["name"].as_str());
    assert_eq!(names.flatten().collect::<Vec<_>>(), ["tap:x:0", "tap:x:1", "tap:y:0", "tap:y:1"]);
}

#[test]
fn a_missing_capability_is_named() {
    let binary = env!("CARGO_BIN_EXE_waterwheel");
    let mut command = if rustix::process::geteuid().is_root() {
        // Without a bounding set root has no capabilities.
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set", "-all", binary]);
        command
    } else {
        Command::new(binary)
    };
    let output = command.args(["drop", "afxdp:lo"]).output().expect("setpriv of util-linux runs");
    let errors = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(4), "{errors}");
    assert!(errors.contains("CAP_NET_RAW") && errors.contains("CAP_BPF"), "{errors}");
}

/// What `iperf3` measures from A to a server in B that serves once; `args` are the client's.
fn iperf3(net: &Net, args: &str) -> Value {
    let mut server = Command::new("iperf3");
    server.args("-s -1 -B 192.0.2.2 --forceflush".split(' '));
    let mut server = Running::start(&mut net.exec("b", &server));
    assert!(server.lines().any(|line| line.contains("listening")), "iperf3 listens");
    let mut client = Command::new("iperf3");
    client.args(format!("-c 192.0.2.2 -J -t 1 {args}").split_whitespace());
    let output = net.exec("a", &client).output().expect("iperf3 runs");
    assert!(output.status.success(), "iperf3 {args}: {}", String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn tcp_both_ways_and_udp_cross_intact() {
    if !root("tcp_both_ways_and_udp_cross_intact") {
        return;
    }
    let net = Net::new();
    for part in ["a", "b"] {
        // A local stack leaves checksums to the hardware, which a veth has not.
        let mut ethtool = Command::new("ethtool");
        ethtool.args("-K eth tx off".split(' '));
        assert!(net.exec(part, &ethtool).output().expect("ethtool runs").status.success());
    }
    let (running, lines) = net.start("forward afxdp:left afxdp:right");
    // Each reply carries the pattern back; ping says so when a byte is wrong.
    let text = net.ping("-n -c 20 -i 0.01 -w 10 -s 1400 -p a5005aff 192.0.2.2");
    assert!(text.matches("bytes from").count() >= 20 && !text.contains("wrong data"), "{text}");
    for way in ["", "-R"] {
        let report = iperf3(&net, way);
        let bytes = report["end"]["sum_received"]["bytes"].as_u64().expect("bytes");
        assert!(bytes > 1_000_000, "TCP {way}: {bytes} bytes");
    }
    let report = iperf3(&net, "-u -b 20M -l 1000");
    let lost = report["end"]["sum"]["lost_percent"].as_f64().expect("a share");
    assert!(lost < 50.0, "UDP: {lost} % lost");
    let total = total(running, lines);
    for device in total["devices"].as_array().expect("devices") {
        assert_eq!(device["counters"]["copied_frames"], 0, "{device}");
    }
}

#[test]
fn packets_of_testpmd_are_all_accounted_for() {
    if !root("packets_of_testpmd_are_all_accounted_for") {
        return;
    }
    let net = Net::new();
    let (running, mut lines) = net.start("forward afxdp:left afxdp:right");
    let mut testpmd = Command::new("timeout");
    let prefix = format!("{}-pmd", net.name);
    let vdev = "net_af_xdp0,iface=eth";
    testpmd.args([
        "-k",
        "5",
        "30",
        "dpdk-testpmd",
        "-l",
        "0-1",
        "--no-huge",
        "-m",
        "256",
        "--no-pci",
        "--file-prefix",
        &prefix,
    ]);
    testpmd.args([
        "--vdev",
        vdev,
        "--",
        "--forward-mode=txonly",
        "--auto-start",
        "--no-mlockall",
        "--total-num-mbufs=8192",
    ]);
    let mut testpmd = net.exec("a", &testpmd);
    let mut testpmd = Running::start(testpmd.stdin(std::process::Stdio::piped()));
    until(&mut lines, "testpmd sends", |interval| interval["devices"][0]["rx_packets"].as_u64() > Some(1000));
    drop(testpmd.0.stdin.take()); // the end of its input ends it
    let mut text = String::new();
    testpmd.0.stdout.take().expect("piped").read_to_string(&mut text).expect("UTF-8");
    testpmd.wait();
    let sent =
        text.split("TX-total:").nth(1).and_then(|rest| rest.split_whitespace().next()).and_then(|n| n.parse().ok());
    let sent: u64 = sent.unwrap_or_else(|| panic!("testpmd says what it sent: {text}"));
    let total = total(running, lines);
    let received = total["devices"][0]["rx_packets"].as_u64().expect("a count");
    assert!(sent > 1000 && received > 1000, "sent {sent}, received {received}");
    adds_up(&total);
    assert_eq!(total["devices"][1]["counters"]["copied_frames"], 0, "{total}");
}

/// What was received or lost was sent or dropped, and each device that knows says how much it was offered.
fn adds_up(total: &Value) {
    let sum = |counts: &Value| counts.as_object().expect("counts").values().filter_map(Value::as_u64).sum::<u64>();
    let mut lost = 0;
    for device in total["devices"].as_array().expect("devices") {
        lost += sum(&device["lost"]);
        if let Some(offered) = device["offered"].as_u64() {
            assert_eq!(Some(offered - sum(&device["lost"])), device["rx_packets"].as_u64(), "{device}");
        }
    }
    let (rx, tx) = (total["rx_packets"].as_u64().expect("a count"), total["tx_packets"].as_u64().expect("a count"));
    assert_eq!(rx + lost, tx + sum(&total["drops"]), "{total}");
}

/// More packets than a device has room for, while the binary is stopped: those that the kernel dropped are told, and everything adds up.
fn overload(net: &Net, spec: &str, part: &str, prepare: &str) {
    const FLOOD: u64 = 10_000;
    // No packets but those of the test.
    net.ip(&format!("netns exec {}m sysctl -qw net.ipv6.conf.default.disable_ipv6=1", net.name));
    let (running, mut lines) = net.start(&format!("drop {spec} --idle sleep"));
    for line in prepare.split(';') {
        net.ip(line.trim());
    }
    running.signal(Signal::STOP);
    let namespace = std::fs::File::open(format!("/run/netns/{}{part}", net.name)).expect("the namespace");
    // Of a thread alone.
    let flood = std::thread::spawn(move || {
        use std::os::fd::AsFd as _;
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(namespace.as_fd(), kind).expect("root may");
        let socket = std::net::UdpSocket::bind("192.0.2.1:0").expect("an address");
        for _ in 0..FLOOD {
            socket.send_to(b"flood", "192.0.2.77:9").expect("sent");
        }
    });
    flood.join().expect("all are sent");
    running.signal(Signal::CONT);
    let offered = |interval: &Value| interval["devices"][0]["offered"].as_u64() >= Some(FLOOD);
    let interval = until(&mut lines, "all have come or are told as lost", offered);
    assert!(interval["drop_pps"].as_u64().is_some());
    let total = total(running, lines);
    adds_up(&total);
    let device = &total["devices"][0];
    assert_eq!(device["offered"], FLOOD, "{total}");
    let lost = device["lost"].as_object().expect("counts");
    let some = lost.iter().find(|(_, n)| n.as_u64() > Some(0)).expect("more than there is room for");
    assert_eq!(total["drops"][some.0], *some.1, "{total}");
}

#[test]
fn what_an_interface_lost_is_told() {
    if !root("what_an_interface_lost_is_told") {
        return;
    }
    let net = Net::new();
    let prepare = format!("-n {}a neigh add 192.0.2.77 lladdr 02:00:00:00:00:07 dev eth", net.name);
    overload(&net, "afxdp:left", "a", &prepare);
}

#[test]
fn what_a_tap_lost_is_told() {
    if !root("what_a_tap_lost_is_told") {
        return;
    }
    let net = Net::new();
    let own = format!("{}m", net.name);
    let prepare = format!(
        "-n {own} addr add 192.0.2.1/24 dev wwslow; -n {own} neigh add 192.0.2.77 lladdr 02:00:00:00:00:07 dev wwslow"
    );
    overload(&net, "tap:wwslow", "m", &prepare);
}

/// Each worker has a CPU of its own, as long as there are enough.
#[test]
fn workers_are_spread_over_the_cpus() {
    let mut running = Running::start(&mut waterwheel("forward gen: gen: --workers 2 --json --interval 50ms"));
    let mut lines = running.lines();
    lines.next().expect("it runs, and ends in order when it is told to");
    let allowed = rustix::thread::sched_getaffinity(None).expect("a set").count();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", running.0.id())).expect("it runs");
        let of = |task: std::fs::DirEntry| {
            let text = std::fs::read_to_string(task.path().join("status")).ok()?;
            let list = text.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
            list.trim().parse::<u32>().ok() // one that is pinned
        };
        let cpus = tasks.flatten().filter_map(of).collect::<Vec<_>>();
        if let [one, other] = cpus[..] {
            assert_eq!(one != other, allowed > 1, "{cpus:?} of {allowed}");
            break;
        }
        assert!(allowed > 1 && Instant::now() < deadline || allowed == 1, "{cpus:?} of {allowed} are pinned");
        if allowed == 1 {
            break; // where all threads have one CPU, that is all there is to see
        }
    }
    running.signal(Signal::INT);
    parsed(lines.by_ref().map(|line| line + "\n").collect::<String>().as_bytes());
    assert_eq!(running.wait().code(), Some(0));
}
