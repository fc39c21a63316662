//! A device of one's own in a fabric: packets of a generator cross a pair of Unix sockets, or go to a peer such as QEMU. `docs/new-driver.md` explains the driver.
//!
//! `cargo run --example datagram` sends ten thousand packets through a pair; `-- LOCAL REMOTE` exchanges packets with the socket REMOTE, e.g. of
//! `qemu-system-x86_64 -netdev dgram,id=n0,local.type=unix,local.path=REMOTE,remote.type=unix,remote.path=LOCAL`.

mod driver;

use driver::Datagram;
use std::os::unix::net::UnixDatagram;
use waterwheel::dev::generator::{Gen, GenParams};
use waterwheel::dev::null::Null;
use waterwheel::prog::Forward;
use waterwheel::{Fabric, PagePool, PoolParams, Zone, ZoneParams};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let zone = Zone::new(&ZoneParams::pages(4096))?;
    let pool = || PagePool::new(&zone, PoolParams::default());
    let (near, far) = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [local, remote] => {
            let socket = UnixDatagram::bind(local)?;
            socket.connect(remote)?;
            (socket, None)
        }
        _ => UnixDatagram::pair().map(|(near, far)| (near, Some(far)))?,
    };
    let mut params = GenParams::default();
    params.set("count", "10k")?;
    params.set("rate", "10k")?;
    let mut fabric = Fabric::new(1);
    let source = fabric.add(0, Box::new(Gen::new(&params)?), pool()?)?;
    let out = fabric.add(0, Box::new(Datagram::new("near", near)?), pool()?)?;
    let mut program = Forward::new();
    program.wire(source, out);
    let sink = fabric.add(0, Box::new(Null::new()), pool()?)?;
    if let Some(far) = far {
        let far = fabric.add(0, Box::new(Datagram::new("far", far)?), pool()?)?;
        program.wire(far, sink);
        fabric.pace(source, out);
    } else {
        program.wire(out, sink);
    }
    let mut worker = fabric.build()?.remove(0);
    let control = worker.control();
    control.limit(20_000); // each packet is received twice: from the generator, and from the far end
    worker.run(&mut program);
    let stats = worker.close();
    for port in &stats.ports {
        println!("{:5}  rx {:6}  tx {:6}", port.name, port.rx.packets, port.tx.packets);
    }
    println!("dropped {}", stats.drops.total());
    Ok(())
}
