//! Crosses two interfaces: what one receives the other sends, from the page that it was received in.
//!
//! `afxdp_cross IFACE IFACE [SECONDS]`, as root. The program that steers packets to us ends with us.

use std::error::Error;
use std::time::Duration;

use waterwheel_dev::af_xdp::{AfXdp, AfXdpParams};
use waterwheel_xdp::mm::{Account, Users, ZoneParams};
use waterwheel_xdp::{Action, Context, Fabric, PagePool, PoolParams, PortId, XdpBuff, Zone};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(left), Some(right)) = (args.next(), args.next()) else {
        return Err("two interfaces are needed".into());
    };
    let seconds = args.next().map_or(Ok(10), |seconds| seconds.parse())?;

    let zone = Zone::new(&ZoneParams::pages(4 * 8192))?;
    let mut fabric = Fabric::new(1);
    for iface in [left, right] {
        let device = AfXdp::open(&zone, &AfXdpParams::new(iface, 0))?;
        let pool = PagePool::new(&zone, PoolParams { limit: 8192, ..PoolParams::default() })?;
        fabric.add(0, Box::new(device), pool)?;
    }
    let mut worker = fabric.build()?.remove(0);
    let control = worker.control();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(seconds));
        control.stop();
    });
    worker.run(&mut |cx: &Context, _: &mut XdpBuff| Action::Redirect(PortId(1 - cx.port.0)));

    let stats = worker.close();
    for port in &stats.ports {
        println!("{} ({}): received {:?}, sent {:?}, {:?}", port.name, port.mode, port.rx, port.tx, port.counters);
    }
    println!("dropped {:?}", stats.drops.iter().filter(|(_, count)| *count > 0).collect::<Vec<_>>());
    println!("whole: {}", Account::open(&zone).close(Users::Gone).is_whole());
    Ok(())
}
