//! When packets of a capture come.

use super::*;

#[test]
fn a_file_can_be_played_again_and_again() {
    let mut bench = Bench::new();
    let from = TempPath::with(&pcapng(&packets(10)));
    let to = TempPath::new();
    let mut reader = open(&from, "loop=3");
    assert_eq!(copy(&mut bench, &mut reader, &to), 30);
    let played = parse(&to.0);
    assert!(played[..10] == packets(10) && played[..10] == played[20..]);
    bench.finish(reader);

    let mut endless = open(&from, "loop=0");
    for _ in 0..100 {
        let packets = bench.receive(&mut endless, 7);
        assert_eq!(packets.len(), 7);
        bench.recycle(packets);
    }
    assert_eq!(endless.health(), Health::Up);
    bench.finish(endless);

    let nothing = TempPath::with(&pcapng(&[]));
    let mut reader = open(&nothing, "loop=0");
    assert!(bench.receive(&mut reader, 7).is_empty());
    assert_eq!(reader.health(), Health::Finished, "for ever nothing is an end, too");
    bench.finish(reader);
}

#[test]
fn original_timing_keeps_the_gaps() {
    let mut bench = Bench::new();
    let at = |millis: u64| (1_700_000_000_000_000_000 + millis * 1_000_000, 60, vec![0; 60]);
    let from = TempPath::with(&pcapng(&[at(0), at(0), at(80), at(40), at(160)]));
    let mut reader = open(&from, "timing=original");
    assert_eq!(reader.wait(), Wait::Now);
    let start = Instant::now();
    let mut arrivals = Vec::new();
    while reader.health() == Health::Up {
        let packets = bench.receive(&mut reader, 64);
        arrivals.extend(packets.iter().map(|_| start.elapsed()));
        bench.recycle(packets);
        reader.fds(&mut |_| panic!("a file is always readable: it would end every wait at once"));
        if let Wait::Until(next) = reader.wait() {
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }
    assert_eq!(arrivals.len(), 5);
    for (arrival, millis) in arrivals.iter().zip([0, 0, 80, 80, 160]) {
        assert!(
            *arrival >= Duration::from_millis(millis) && *arrival < Duration::from_millis(millis + 2000),
            "{arrivals:?}"
        );
    }
    bench.finish(reader);
}

#[test]
fn each_time_a_file_is_played_has_the_gaps_of_the_first() {
    let mut bench = Bench::new();
    let at = |millis: u64| (1_700_000_000_000_000_000 + millis * 1_000_000, 60, vec![0; 60]);
    let from = TempPath::with(&pcapng(&[at(0), at(50)]));
    let mut reader = open(&from, "timing=original,loop=3");
    let (mut came, mut before) = (0, Instant::now());
    while reader.health() == Health::Up {
        let now = Instant::now();
        let packets = bench.receive(&mut reader, 1);
        for _ in &packets {
            came += 1;
            // The first of a round starts its clock, which no load of the machine makes faster.
            assert!(came % 2 == 1 || Instant::now() >= before + Duration::from_millis(50), "packet {came}");
            before = now;
        }
        bench.recycle(packets);
        if let Wait::Until(next) = reader.wait() {
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }
    assert_eq!((came, reader.health()), (6, Health::Finished));
    bench.finish(reader);
}

fn counter(reader: &PcapReader, name: &str) -> u64 {
    let mut found = None;
    reader.counters(&mut |key, n| found = found.or((key == name).then_some(n)));
    found.unwrap_or_else(|| panic!("no counter {name}"))
}

/// Plays it to its end, sleeping as a loop does; how many packets that were.
fn play(bench: &mut Bench, reader: &mut PcapReader) -> usize {
    let mut came = 0;
    while reader.health() == Health::Up {
        let packets = bench.receive(reader, 64);
        came += packets.len();
        bench.recycle(packets);
        if let Wait::Until(next) = reader.wait() {
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }
    came
}

#[test]
fn no_packet_comes_before_its_time() {
    let mut bench = Bench::new();
    let at = |millis: u64| (1_700_000_000_000_000_000 + millis * 1_000_000, 1000, vec![0; 1000]);
    let from = TempPath::with(&pcapng(&[at(0), at(40), at(100)]));
    // The last of each round is not too early; rounds of a rate are one sequence.
    for (text, count, least) in [
        ("speed=2", 3, 50),
        ("speed=0.5", 3, 200),
        ("speed=2,loop=2", 6, 100),
        ("rate=50", 3, 40),
        ("rate=100,loop=5", 15, 140),
        ("mbps=0.8", 3, 20),
        ("mbps=0.8,loop=5", 15, 140),
    ] {
        let mut reader = open(&from, text);
        let start = Instant::now();
        assert_eq!((play(&mut bench, &mut reader), reader.health()), (count, Health::Finished), "{text}");
        assert!(start.elapsed() >= Duration::from_millis(least), "{text}: {:?}", start.elapsed());
        bench.finish(reader);
    }
}

#[test]
fn what_was_missed_is_caught_up_on_as_far_as_was_said_and_the_rest_counted() {
    let mut bench = Bench::new();
    let at = |millis: u64| (1_700_000_000_000_000_000 + millis * 1_000_000, 100, vec![0; 100]);
    let from = TempPath::with(&pcapng(&(0..1000).map(at).collect::<Vec<_>>()));
    let small = TempPath::with(&pcapng(&[at(0)]));
    let (rate, mbps) = (("rate=1000", "rate_missed"), ("mbps=0.8", "rate_missed"));
    for (text, counts) in [rate, mbps, ("timing=original", "late_us")] {
        for (loops, from) in [(1, &from), (0, &from), (0, &small)] {
            if text == "timing=original" && loops == 0 {
                continue; // each round has a clock of its own
            }
            // In time, or made up for.
            let mut reader = open(from, &format!("{text},burst=1h,loop={loops}"));
            let first = bench.receive(&mut reader, 64);
            std::thread::sleep(Duration::from_millis(200));
            let packets = bench.receive(&mut reader, 150);
            assert_eq!((packets.len(), counter(&reader, counts)), (150, 0), "{text}");
            bench.recycle(first);
            bench.recycle(packets);
            bench.finish(reader);

            let mut reader = open(from, &format!("{text},burst=10ms,loop={loops}"));
            let first = bench.receive(&mut reader, 64);
            std::thread::sleep(Duration::from_millis(200));
            let now = Instant::now();
            let packets = bench.receive(&mut reader, 150);
            // As many as belong to the burst, and to the time that this took.
            let most = 12 + now.elapsed().as_millis() as usize;
            assert!(packets.len() <= most, "{text}: {} of {most}", packets.len());
            let scale = if counts == "late_us" { 1000 } else { 1 };
            assert!(counter(&reader, counts) >= 180 * scale, "{text}: {}", counter(&reader, counts));
            bench.recycle(first);
            bench.recycle(packets);
            bench.finish(reader);
        }
    }
}

#[test]
fn a_small_file_that_is_played_again_is_read_once() {
    let mut bench = Bench::new();
    let input: Vec<Packet> = packets(50).into_iter().chain([(5, 9000, vec![7; 9000])]).collect();
    for input in [&input[..50], &input] {
        let (from, to) = (TempPath::with(&pcapng(input)), TempPath::new());
        let mut reader = open(&from, "loop=4");
        let first = bench.receive(&mut reader, input.len());
        assert_eq!(first.len(), input.len());
        bench.recycle(first);
        std::fs::write(&from.0, b"something else").unwrap();
        assert_eq!(copy(&mut bench, &mut reader, &to), 3 * input.len() as u64);
        assert_eq!(reader.health(), Health::Finished);
        assert_eq!(parse(&to.0), [input, input, input].concat());
        bench.finish(reader);
    }
    // One that is large is read again.
    let long = vec![(5, 65535, vec![7; 65535]); 300];
    let from = TempPath::with(&pcapng(&long));
    let mut reader = open(&from, "loop=2");
    assert_eq!((play(&mut bench, &mut reader), reader.health()), (600, Health::Finished));
    bench.finish(reader);
}
