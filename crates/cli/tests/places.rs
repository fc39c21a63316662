//! What captures are written to and read from: one place for each, and descriptors as they were given.

mod common;

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Output, Stdio};

use common::{Running, Scratch, events, parsed, run, waterwheel};

/// `bash`, with the binary as `$W` and a folder of its own as its place.
fn shell(folder: &Scratch, script: &str) -> Output {
    std::fs::create_dir_all(&folder.0).expect("a place for it");
    let mut shell = Command::new("bash");
    shell.args(["-o", "pipefail", "-c", script]).env("W", env!("CARGO_BIN_EXE_waterwheel")).current_dir(&folder.0);
    shell.output().expect("bash runs")
}

#[test]
fn what_one_command_writes_it_writes_to_one_place() {
    let overwritten = "would be overwritten";
    for (script, why) in [
        ("$W capture gen:count=3000 o --snap 30 --to pcap:./o", overwritten),
        ("$W capture gen:count=3000 o --to pcap:o", overwritten),
        ("touch o; ln o p; $W capture gen:count=3000 o --to pcap:p", overwritten),
        ("$W capture gen:count=3000 o_%n --file-size 10k --to pcap:./o_%n,file-size=10k", overwritten),
        ("$W capture gen:count=3000 o_%n --file-size 10k --to pcap:o_1", overwritten),
        ("$W capture gen:count=3000 - --to pcap:- >o", overwritten),
        ("$W capture gen:count=3000 - --to pcap:o >o", overwritten),
        ("$W capture gen:count=3000 - --to pcap:- | cat >o", "two captures"),
        ("mkfifo f; exec 3<>f; $W capture gen:count=3000 f --to pcap:./f", "two captures"),
        // What is said goes there.
        ("$W capture gen:count=10 o >o", overwritten),
        ("$W capture gen:count=10 o 2>>o", overwritten),
        ("$W capture gen:count=10 - >o 2>&1", overwritten),
        ("$W capture gen:count=10 /dev/stderr 2>o", overwritten),
        ("$W forward gen:count=10 pcap:o >o", overwritten),
        ("$W generate pcap:o --count 10 >o", overwritten),
        ("$W capture gen:count=10 o --to null: 2>o", overwritten),
    ] {
        let folder = Scratch::new("same");
        let script = format!("({script}) 2>said || code=$?; cat said; test -f o && cat o; exit $code");
        let output = shell(&folder, &script);
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(3), "{script}: {said}");
        assert!(said.contains(why), "{script}: {said}");
    }
    // A file that only turns out to be another's when its turn comes.
    let folder = Scratch::new("later");
    let output = shell(&folder, "$W capture gen:count=3000 o_2 --to pcap:o_%n,file-size=10k");
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains(overwritten), "{output:?}");
}

#[test]
fn what_takes_everything_may_be_written_to_twice() {
    let folder = Scratch::new("twice");
    for script in [
        "$W capture gen:count=10 /dev/null --to pcap:/dev/null >/dev/null 2>&1",
        "$W capture gen:count=10 - 2>&1 | cat >both",
        "$W capture gen:count=10 o >said 2>&1; $W capture gen:count=10 o >said 2>&1",
    ] {
        let output = shell(&folder, script);
        assert!(output.status.success(), "{script}: {output:?}");
    }
}

/// Whatever a descriptor is called, it is used as it was given, and not opened again.
#[test]
fn a_descriptor_is_used_as_it_was_given() {
    for (name, redirected) in [
        ("/dev/fd/3", "3>>o"),
        ("/proc/self/fd/3", "3>>o"),
        ("/proc/$$/fd/3", "3>>o"),
        ("/dev/../dev/fd/13", "13>>o"),
        ("link", "3>>o"),
        ("/dev/fd/1", ">>o"),
        ("/dev/stdout", ">>o"),
    ] {
        let folder = Scratch::new("given");
        let first = "ln -s /dev/fd/3 link; $W generate pcap:o --count 2";
        let output = shell(&folder, &format!("{first}; exec $W generate pcap:{name} --count 3 {redirected}"));
        assert!(output.status.success(), "{name}: {output:?}");
        let total = events(&format!("drop pcap:{}/o", folder.display())).pop().expect("a total");
        assert_eq!(total["rx_packets"], 5, "{name}");
    }
    // Read from where it stands.
    let folder = Scratch::new("read");
    for name in ["/dev/fd/3", "/dev/fd/0", "-"] {
        let script = format!(
            "(printf 'head'; $W generate pcap:- --count 7 2>/dev/null) >o; exec 3<o 0<&3; dd bs=4 count=1 of=/dev/null <&3; exec $W drop pcap:{name} --json"
        );
        let output = shell(&folder, &script);
        assert_eq!(parsed(&output.stdout).pop().expect("a total")["rx_packets"], 7, "{name}: {output:?}");
    }
    // A socket cannot be opened by any name.
    let (mut ours, theirs) = UnixStream::pair().expect("a socket");
    let mut running =
        Running::start(waterwheel("drop pcap:/proc/self/fd/0 --json").stdin(Stdio::from(OwnedFd::from(theirs))));
    let packets = run("generate pcap:- --count 4").stdout;
    ours.write_all(&packets).expect("it is read");
    drop(ours);
    assert_eq!(parsed(running.lines().rest().as_bytes()).pop().expect("a total")["rx_packets"], 4);
    running.wait();
}

/// Neither one that is not there, nor one of those that this program has for itself.
#[test]
fn a_descriptor_that_was_not_given_is_none() {
    let (folder, close) = (Scratch::new("none"), "3>&- 4>&- 5>&- 6>&- 7>&- 8>&-");
    for number in [3, 4, 5, 6, 7, 8, 900] {
        for line in [format!("generate pcap:/dev/fd/{number} --count 3"), format!("drop pcap:/dev/fd/{number}")] {
            let output = shell(&folder, &format!("exec {close}; exec $W {line}"));
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(3), "{line}: {errors}");
            assert!(errors.contains(&format!("descriptor {number}")), "{line}: {errors}");
        }
    }
}
