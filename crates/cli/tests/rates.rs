//! Rates on a machine that has other things to do: what is missed is caught up on, or given up and told.

mod common;

use std::io::Read as _;
use std::time::Duration;

use common::{Running, Scratch, events, next, parsed, until, waterwheel};
use rustix::process::Signal;

fn missed(interval: &serde_json::Value) -> u64 {
    interval["devices"][0]["counters"]["rate_missed"].as_u64().unwrap_or_else(|| panic!("{interval}"))
}

/// The sources with a rate of ten packets a millisecond: of packets, and of bits.
fn sources() -> ([String; 4], Scratch) {
    let file = Scratch::new("small.pcapng");
    events(&format!("generate pcap:{} --count 7 --size 125", file.display()));
    let pcap = format!("pcap:{}", file.display());
    let of = |device: &str, comma: &str, rate: &str| format!("{device}{comma}{rate}");
    let sources = [
        of("gen:", "", "rate=10k"),
        of("gen:", "", "size=125,mbps=10"),
        of(&pcap, ",", "loop=0,rate=10k"),
        of(&pcap, ",", "loop=0,mbps=10"),
    ];
    (sources, file)
}

#[test]
fn a_rate_is_made_up_for_after_a_pause() {
    let (sources, _file) = sources();
    for source in sources {
        let mut running = Running::start(&mut waterwheel(&format!("drop {source},burst=1h --json --interval 50ms")));
        let mut lines = running.lines();
        next(&mut lines);
        running.signal(Signal::STOP);
        std::thread::sleep(Duration::from_millis(500));
        running.signal(Signal::CONT);
        // As many as belong to the whole time, but for half of the pause at most: between two looks at a busy machine others come.
        let interval = until(&mut lines, "it is caught up on", |interval| {
            let (packets, seconds) = (interval["rx_packets"].as_f64(), interval["seconds"].as_f64());
            seconds.expect("a number") > 0.6
                && packets.expect("a number") + 2_500.0 >= 10_000.0 * seconds.expect("a number")
        });
        assert_eq!(missed(&interval), 0, "{source}");
        running.signal(Signal::INT);
        let total = parsed(lines.rest().as_bytes()).pop().expect("a total");
        assert_eq!(missed(&total), 0, "{source}");
        // Packets come until the worker hears of the end, which on a busy machine is later than the time of the total; half a pause, as above, and not a whole one.
        let most = 10_000.0 * total["seconds"].as_f64().expect("a number") + 2_500.0;
        assert!(total["rx_packets"].as_f64() <= Some(most), "no faster than it was told: {total}");
    }
}

#[test]
fn what_is_given_up_is_counted_and_told() {
    let (sources, _file) = sources();
    for source in sources {
        let mut running = Running::start(&mut waterwheel(&format!("drop {source},burst=1ms --json --interval 50ms")));
        let mut lines = running.lines();
        next(&mut lines);
        running.signal(Signal::STOP);
        std::thread::sleep(Duration::from_millis(500));
        running.signal(Signal::CONT);
        until(&mut lines, "it is counted", |interval| missed(interval) > 4000);
        running.signal(Signal::INT);
        let total = parsed(lines.rest().as_bytes()).pop().expect("a total");
        let mut errors = String::new();
        running.0.stderr.take().expect("piped").read_to_string(&mut errors).expect("UTF-8");
        assert_eq!(running.wait().code(), Some(0), "{errors}");
        let told = format!("the rate was not kept: {} packets were given up", missed(&total));
        assert!(errors.contains(&told), "{source}: {errors}");
    }
}
