//! A TCP relay in a few lines: `cargo run --release -p waterwheel-dev --example relay -- 127.0.0.1:9000 127.0.0.1:9001 [SECONDS]`.

use std::time::Duration;

use waterwheel_dev::relay::{Relay, RelayParams};
use waterwheel_xdp::mm::{Users, ZoneParams};
use waterwheel_xdp::{Account, Zone};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = std::env::args().skip(1).collect::<Vec<_>>();
    let [listen, connect, rest @ ..] = args.as_slice() else {
        return Err("usage: relay LISTEN CONNECT [SECONDS]".into());
    };
    let params = RelayParams::new(listen.parse()?, connect.parse()?);
    let zone = Zone::new(&ZoneParams::pages(params.pages_needed()))?;
    let relay = Relay::start(&zone, &params)?;
    println!("from {} to {connect}: {}", relay.listen_address(), relay.features());
    std::thread::sleep(Duration::from_secs(rest.first().map_or(Ok(10), |seconds| seconds.parse())?));
    let (stats, quarantined) = relay.finish()?;
    stats.each(|name, count| print!("{name} {count}  "));
    println!("\nquarantined {quarantined}, {:?}", Account::open(&zone).close(Users::Gone));
    Ok(())
}
