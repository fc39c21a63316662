//! Captures as people make them: live, in part, and file after file. Needs tcpdump.

mod common;

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Running, Scratch, events, read, run, waterwheel};
use rustix::process::Signal;

fn capture(count: u32) -> Scratch {
    let file = Scratch::new("a.pcapng");
    events(&format!("generate pcap:{} --count {count}", file.display()));
    file
}

fn error(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().expect("the binary runs");
    (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
}

/// The example of the help: packets are there while it runs.
#[test]
fn another_program_sees_packets_as_they_come() {
    for idle in ["spin", "adaptive", "sleep"] {
        let mut running = Running::start(&mut waterwheel(&format!("capture gen:rate=20 - --json --idle {idle}")));
        let mut command = Command::new("tcpdump");
        command.args(["-Z", "root", "-l", "-n", "-c", "3", "-r", "-"]).stdout(Stdio::piped()).stderr(Stdio::null());
        command.stdin(running.0.stdout.take().expect("piped"));
        let mut judge = Running(command.spawn().expect("tcpdump is installed"));
        drop(command); // it has the pipe, too
        assert!(judge.wait().success(), "it has three, although there are more to come");
        assert_eq!(running.wait().code(), Some(0), "whoever has enough goes away");
    }
}

#[test]
fn a_killed_run_leaves_what_it_has_captured() {
    let file = Scratch::new("killed.pcapng");
    let mut running = Running::start(&mut waterwheel(&format!("generate pcap:{} --rate 50 --json", file.display())));
    let deadline = Instant::now() + Duration::from_secs(60);
    while !file.0.exists() || read(&file).0.len() < 5 {
        assert!(Instant::now() < deadline, "nothing is written");
        std::thread::sleep(Duration::from_millis(10));
    }
    running.signal(Signal::KILL);
    running.wait();
    let text = String::from_utf8(run(&format!("drop pcap:{}", file.display())).stdout).expect("UTF-8");
    assert!(text.contains("received"), "it can be read: {text}");
}

/// What stands in the file before stays there.
#[test]
fn standard_output_is_used_as_it_is() {
    let file = capture(2);
    let append = || File::options().append(true).open(&file.0).expect("it is there");
    for name in ["-", "/dev/stdout"] {
        let output = waterwheel(&format!("generate pcap:{name} --count 3 --json")).stdout(append()).output();
        assert!(output.expect("the binary runs").status.success());
    }
    let total = events(&format!("drop pcap:{}", file.display())).pop().expect("a total");
    assert_eq!(total["rx_packets"], 8);
}

#[test]
fn a_file_is_not_written_while_it_is_read() {
    let file = capture(10);
    let link = Scratch::new("link.pcapng");
    std::fs::hard_link(&file.0, &link.0).expect("a link");
    let before = std::fs::read(&file.0).expect("a capture");
    let numbered = Scratch::new("1.pcapng");
    std::fs::hard_link(&file.0, &numbered.0).expect("a link");
    let template = numbered.0.to_str().expect("UTF-8").replace("1.pcapng", "%n.pcapng");
    for line in [
        format!("forward pcap:{0} pcap:{0}", file.display()),
        format!("forward pcap:{} pcap:{}", file.display(), link.display()),
        format!("capture pcap:{} {}", file.display(), link.display()),
        format!("capture pcap:{} {template} --file-size 1M", file.display()),
        format!("capture pcap:{} {} --to null:", file.display(), link.display()),
    ] {
        let (code, message) = error(&mut waterwheel(&line));
        assert_eq!(code, Some(3), "{line}: {message}");
        assert!(message.contains("would be overwritten"), "{line}: {message}");
        assert_eq!(std::fs::read(&file.0).expect("a capture"), before, "{line}");
    }
    let append = File::options().append(true).open(&link.0).expect("it is there");
    let from = File::open(&file.0).expect("it is there");
    let (code, message) = error(waterwheel("forward pcap:- pcap:-").stdin(from).stdout(append));
    assert!(code == Some(3) && message.contains("would be overwritten"), "{message}");
    assert_eq!(std::fs::read(&file.0).expect("a capture"), before);
}

#[test]
fn a_terminal_is_given_no_packets() {
    use rustix::pty::{OpenptFlags, openpt};
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo terminal");
    let (code, message) = error(waterwheel("capture gen: -").stdout(Stdio::from(terminal)));
    assert!(code == Some(3) && message.contains("terminal"), "{message}");
}

#[test]
fn so_many_of_those_that_match_are_captured_and_of_each_so_much() {
    let file = Scratch::new("some.pcapng");
    let line = "capture gen:dport=53-54";
    let options = "--filter proto=udp,port=53 --snap 50 --count 5";
    let total = events(&format!("{line} {} {options}", file.display())).pop().expect("a total");
    let (packets, counts) = read(&file);
    assert_eq!(packets.len(), 5);
    assert!(packets.iter().all(|(len, data)| *len == 64 && data.len() == 50 && data[36..38] == [0, 53]));
    assert_eq!(counts, Some((total["rx_packets"].as_u64().expect("a number"), 0)), "{total}");
    assert_eq!((&total["tx_packets"], &total["tx_bytes"]), (&5.into(), &250.into()), "{total}");
    let unwanted = total["rx_packets"].as_u64().expect("a number") - 5;
    assert_eq!(total["drops"]["program"], unwanted, "{total}");
    assert_eq!(total["devices"][1]["counters"]["unwanted"], unwanted, "{total}");

    // The same where the rules stand behind the file's name.
    events(&format!("{line} pcap:{},port=53 --count 5", file.display()));
    assert_eq!(read(&file).0.len(), 5);

    events(&format!("capture gen: {} --bytes 1000", file.display()));
    assert_eq!(read(&file).0.len(), 16, "16 of 64 bytes are more than 1000");

    let (code, message) = error(&mut waterwheel("capture gen: /dev/null --filter prot=udp"));
    assert!(code == Some(2) && message.contains("did you mean 'proto'?"), "{message}");
}

#[test]
fn one_file_follows_the_other() {
    let first = Scratch::new("1.pcapng");
    let file = |n: u32| first.0.to_str().expect("UTF-8").replace("1.pcapng", &format!("{n}.pcapng"));
    let template = first.0.to_str().expect("UTF-8").replace("1.pcapng", "%n.pcapng");
    let total = events(&format!("generate pcap:{template},file-size=10k --count 1000")).pop().expect("a total");
    assert_eq!(total["tx_packets"], 1000);
    let mut packets = 0;
    for n in 1.. {
        let file = Scratch(file(n).into());
        let Ok(there) = std::fs::metadata(&file.0) else {
            assert_eq!(n, 11);
            break;
        };
        let (some, counts) = read(&file);
        assert!(there.len() <= 10_100 && counts.is_none_or(|counts| counts == (1000, 0)), "{n}: {counts:?}");
        packets += some.len();
    }
    assert_eq!(packets, 1000);
    let (code, message) = error(&mut waterwheel("capture gen: /tmp/x --file-size 10k"));
    assert!(code == Some(3) && message.contains("put %n"), "{message}");
}
