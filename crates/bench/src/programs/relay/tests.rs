//! The rig with relays of others. Needs root, `ip` of iproute2, socat, HAProxy, and setpriv and taskset of util-linux.

use super::*;
use waterwheel_mm::cpu;

#[test]
fn bytes_come_through_and_cost_something() {
    if !rustix::process::geteuid().is_root() {
        assert!(
            std::env::var("WATERWHEEL_SKIP_ROOT").is_ok_and(|value| value == "1"),
            "the test `bytes_come_through_and_cost_something` needs root (or set WATERWHEEL_SKIP_ROOT=1 to leave it out)"
        );
        eprintln!("left out, as it needs root: bytes_come_through_and_cost_something");
        return;
    }
    let cpu = cpu::allowed_cpus()[0];
    let road = Road::lay().expect("two namespaces");
    for contender in [Contender::Socat, Contender::HaProxy, Contender::HaProxySplice] {
        let process = contender
            .start(cpu, road.relays(), Road::LISTEN, Road::CONNECT)
            .unwrap_or_else(|why| panic!("{}: {why}", contender.name()));
        let (nanos, reading) =
            measure(&road, &process, contender, cpu, 3).unwrap_or_else(|why| panic!("{}: {why}", contender.name()));
        assert!(reading.bytes > 0 && nanos > 0.0, "{}", contender.name());
    }
    let absent = Contender::Ours.start(cpu, road.relays(), Road::LISTEN, Road::CONNECT);
    assert!(absent.is_err(), "this program has no relay: it is a test");
}
