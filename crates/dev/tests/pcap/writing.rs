//! What is in a capture, and when.

use super::*;

/// What a loop does when it has nothing to do.
fn idle(writer: &mut PcapWriter) {
    for _ in 0..1000 {
        writer.flush();
        if writer.wait() == Wait::Never {
            return;
        }
    }
    panic!("it does not come to rest");
}

#[test]
fn what_was_taken_is_in_the_file_when_the_loop_is_idle_and_the_header_at_once() {
    for (flush, at_once) in [("packet", true), ("idle", false), ("full", false)] {
        let mut bench = Bench::new();
        let to = TempPath::new();
        let mut params = PcapWriteParams::default();
        params.set("flush", flush).unwrap();
        let mut writer = params.create(&to.0).unwrap();
        assert_eq!(parse(&to.0), [], "there is a header");
        let frame = bench.frame(&[1; 60]);
        bench.send(&mut writer, vec![frame]);
        assert_eq!(parse(&to.0).len(), usize::from(at_once), "{flush}");
        idle(&mut writer);
        assert_eq!(parse(&to.0).len(), usize::from(flush != "full"), "{flush}");
        bench.finish(writer);
        assert_eq!(parse(&to.0).len(), 1, "{flush}");
    }
}

#[test]
fn what_was_taken_waits_no_longer_than_a_second_while_more_comes() {
    let mut bench = Bench::new();
    let to = TempPath::new();
    let mut writer = PcapWriter::create(&to.0).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while parse(&to.0).is_empty() {
        // It is never idle for long, and no buffer will be full before a minute is over.
        for round in 0..64 {
            if round % 16 == 0 {
                let frame = bench.frame(&[1; 14]);
                bench.send(&mut writer, vec![frame]);
                bench.complete(&mut writer);
            } else {
                writer.flush();
            }
        }
        std::thread::sleep(Duration::from_millis(100));
        assert!(Instant::now() < deadline);
    }
    bench.finish(writer);
}

/// The statistics at the end of a file: received, dropped.
fn statistics(path: &Path) -> Vec<(u64, Option<u64>)> {
    let mut reader = create_reader(1 << 20, std::fs::File::open(path).unwrap()).unwrap();
    let mut found = Vec::new();
    loop {
        match reader.next() {
            Ok((len, block)) => {
                if let PcapBlockOwned::NG(Block::InterfaceStatistics(block)) = block {
                    let option = |code: u16| {
                        let option = block.options.iter().find(|option| option.code.0 == code);
                        option.map(|option| u64::from_ne_bytes(option.value[..8].try_into().unwrap()))
                    };
                    found.push((option(4).unwrap(), option(5)));
                }
                reader.consume(len);
            }
            Err(PcapError::Eof) => return found,
            Err(PcapError::Incomplete(_)) => reader.refill().unwrap(),
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[test]
fn a_capture_tells_its_interface_its_snap_length_and_what_was_dropped() {
    for known in [false, true] {
        let mut bench = Bench::new();
        let to = TempPath::new();
        let params = PcapWriteParams { interface: "eth7".into(), snap: Some(50), ..PcapWriteParams::default() };
        let counted = move || known.then_some(Counted { received: 1000, dropped: 7 });
        let mut writer = params.create(&to.0).unwrap().counted(counted);
        let frames = [40, 50, 60].map(|len| bench.frame(&vec![1; len])).into();
        assert_eq!(bench.send(&mut writer, frames).bytes, 40 + 50 + 50);
        bench.finish_with(writer, |writer| assert_eq!(writer.unsent(), waterwheel_xdp::Traffic::default()));
        let lengths = parse(&to.0).into_iter().map(|(_, original, data)| (original, data.len())).collect::<Vec<_>>();
        assert_eq!(lengths, [(40, 40), (50, 50), (60, 50)]);
        assert_eq!(statistics(&to.0), [if known { (1000, Some(7)) } else { (3, None) }]);
        let output =
            Command::new("capinfos").arg(&to.0).output().expect("this test needs tshark: apt-get install tshark");
        let text = String::from_utf8_lossy(&output.stdout);
        for word in ["Name = eth7", "Capture length = 50", "Number of stat entries = 1", "Number of packets = 3"] {
            assert!(text.contains(word), "{word}: {text}");
        }
    }
}

#[test]
fn a_capture_has_enough_when_it_has_what_it_was_to_have() {
    for (params, fits) in [
        (PcapWriteParams { packets: Some(3), ..PcapWriteParams::default() }, 3_u32),
        (PcapWriteParams { bytes: Some(130), ..PcapWriteParams::default() }, 3),
        (PcapWriteParams { bytes: Some(120), snap: Some(30), ..PcapWriteParams::default() }, 4),
    ] {
        let mut bench = Bench::new();
        let to = TempPath::new();
        let calls = std::sync::Arc::new(AtomicU32::new(0));
        let called = calls.clone();
        let writer = params.create(&to.0).unwrap().filtered(|data| data[0] == 1);
        let mut writer = writer.at_limit(move || _ = called.fetch_add(1, Ordering::Relaxed));
        for round in 0..5 {
            assert_eq!(calls.load(Ordering::Relaxed), u32::from(round >= fits), "as soon as it has enough");
            let frames = vec![bench.frame(&[1; 60]), bench.frame(&[2; 60])];
            bench.send(&mut writer, frames);
        }
        let mut counters = Vec::new();
        writer.counters(&mut |key, value| counters.push((key, value)));
        let unwanted = 10 - u64::from(fits);
        assert_eq!((counters, bench.drops(DropReason::Program)), (vec![("unwanted", unwanted)], unwanted));
        bench.finish(writer);
        let written = parse(&to.0);
        assert!(written.len() == fits as usize && written.iter().all(|(.., data)| data[0] == 1), "{params:?}");
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }
}

#[test]
fn one_file_follows_the_other_and_the_newest_are_kept() {
    let mut bench = Bench::new();
    let to = TempPath::new();
    let template = to.0.with_extension("%n.pcapng");
    let file = |n: u32| to.0.with_extension(format!("{n}.pcapng"));
    let mut params = PcapWriteParams { files: Some(2), ..PcapWriteParams::default() };
    let error = params.create(&template).unwrap_err();
    assert!(error.message().contains("only one file"), "{error}");
    params.set("file-size", "400").unwrap();
    let error = params.create(&to.0).unwrap_err();
    assert!(error.message().contains("put %n"), "{error}");
    let mut writer = params.create(&template).unwrap();
    // Two fit into a file, beside its header and its end; what is longer than a file has one of its own.
    let lengths = [60_usize, 60, 60, 60, 60, 2000, 60];
    for (n, len) in lengths.into_iter().enumerate() {
        let frame = bench.frame(&vec![n as u8; len]);
        bench.send(&mut writer, vec![frame]);
    }
    bench.finish_with(writer, |writer| {
        assert_eq!((writer.health(), writer.unsent()), (Health::Up, waterwheel_xdp::Traffic::default()));
    });
    let there = (1..9).map(|n| file(n).exists()).collect::<Vec<_>>();
    assert_eq!(there, [false, false, false, true, true, false, false, false]);
    for (n, expected) in [(4, 2000), (5, 60)] {
        let _goes = TempPath(file(n));
        let packets = parse(&file(n));
        assert_eq!(packets.iter().map(|(.., data)| data.len()).collect::<Vec<_>>(), [expected], "{n}");
        assert_eq!(statistics(&file(n)), [(u64::from(n) + 2, None)], "what came until then");
    }

    // By time, with the first packet that comes then; one a second at most.
    let template = to.0.with_extension("%s.pcapng");
    let mut params = PcapWriteParams::default();
    params.set("file-time", "10ms").unwrap();
    let mut writer = params.create(&template).unwrap();
    let mut of = |bench: &mut Bench, wait: u64| {
        std::thread::sleep(Duration::from_millis(wait));
        let frame = bench.frame(&[1; 60]);
        bench.send(&mut writer, vec![frame]);
    };
    of(&mut bench, 0);
    of(&mut bench, 1100);
    bench.finish(writer);
    let prefix = to.0.file_name().unwrap().to_str().unwrap().trim_end_matches("pcap").to_owned();
    let files = std::fs::read_dir(std::env::temp_dir()).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&prefix));
    let files: Vec<_> = files.map(TempPath).collect();
    assert_eq!(files.len(), 2);
    assert_eq!(files.iter().map(|file| parse(&file.0).len()).collect::<Vec<_>>(), [1, 1]);
}

/// A folder that goes away in the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = TempPath::new().0.with_extension("d");
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, n: u32) -> PathBuf {
        self.0.join(format!("{n}.pcapng"))
    }

    /// Puts something that is no file where file `n` is, or is to be.
    fn block(&self, n: u32) {
        _ = std::fs::remove_file(self.file(n));
        std::fs::create_dir(self.file(n)).unwrap();
    }

    fn writer(&self, params: &PcapWriteParams) -> PcapWriter {
        params.create(self.0.join("%n.pcapng")).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn no_file_is_longer_than_was_said_and_each_tells_what_came_until_its_end() {
    let counted = || Some(Counted { received: 50_000, dropped: 7 });
    for (most, known) in [(300, false), (1000, true), (4096, false), (4096, true), (20_000, true)] {
        let mut bench = Bench::new();
        let folder = Folder::new();
        let params = PcapWriteParams { file_size: Some(most), ..PcapWriteParams::default() };
        let mut writer = folder.writer(&params);
        if known {
            writer = writer.counted(counted);
        }
        for len in 0..500 {
            let frame = bench.frame(&vec![1; 14 + len % 60]);
            bench.send(&mut writer, vec![frame]);
            bench.complete(&mut writer);
        }
        bench.finish(writer);
        let (mut came, mut n) = (0, 0);
        while folder.file(n + 1).exists() {
            n += 1;
            let len = std::fs::metadata(folder.file(n)).unwrap().len();
            assert!(len <= most, "{n}: {len} of {most}");
            came += parse(&folder.file(n)).len() as u64;
            assert_eq!(statistics(&folder.file(n)), [if known { (50_000, Some(7)) } else { (came, None) }], "{n}");
        }
        assert_eq!(came, 500);
        assert!(n > 1);
    }
}

#[test]
fn what_fails_while_files_follow_each_other_is_told_of_the_right_one() {
    let params = PcapWriteParams { file_size: Some(1), files: Some(2), ..PcapWriteParams::default() };
    let not_removed = |writer: &PcapWriter| {
        let mut found = None;
        writer.counters(&mut |key, n| found = found.or((key == "files_not_removed").then_some(n)));
        found.unwrap()
    };
    // What cannot be removed is left, and the capture goes on.
    let mut bench = Bench::new();
    let folder = Folder::new();
    let mut writer = folder.writer(&params);
    let one = |bench: &mut Bench, writer: &mut PcapWriter| {
        let frame = bench.frame(&[1; 60]);
        bench.send(writer, vec![frame]).packets
    };
    assert_eq!(one(&mut bench, &mut writer), 1);
    folder.block(1);
    for n in 2..5 {
        assert_eq!((one(&mut bench, &mut writer), not_removed(&writer)), (1, u64::from(n > 2)));
    }
    std::fs::remove_dir(folder.file(1)).unwrap();
    std::fs::write(folder.file(1), b"it can be removed").unwrap();
    assert_eq!((one(&mut bench, &mut writer), not_removed(&writer)), (1, 0));
    assert_eq!(writer.health(), Health::Up);
    let there: Vec<_> = (1..7).filter(|n| folder.file(*n).exists()).collect();
    assert_eq!(there, [4, 5]);

    // What cannot be made ends it, and is named.
    folder.block(6);
    assert_eq!(one(&mut bench, &mut writer), 0);
    let health = writer.health();
    assert!(matches!(&health, Health::Failed(why) if why.contains("6.pcapng: cannot write")), "{health:?}");
    bench.finish(writer);
}

#[test]
fn a_terminal_is_given_no_packets() {
    let ours = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY).unwrap();
    let error = PcapWriter::given(ours, "-").unwrap_err();
    assert!(error.class() == ErrorClass::Config && error.message().contains("terminal"), "{error}");
}

#[test]
fn a_file_that_is_read_takes_nothing() {
    let mut bench = Bench::new();
    let from = TempPath::with(&pcapng(&packets(1)));
    let mut reader = open(&from, "");
    let frame = bench.frame(&[0; 60]);
    assert_eq!(bench.send(&mut reader, vec![frame]).packets, 0);
    assert_eq!(bench.drops(DropReason::NotSupported), 1);
    bench.finish(reader);
}
