//! Received packets in asynchronous code: a thread polls the device, and each packet goes to a task of a tokio runtime as `Bytes`, without being copied. Whoever drops the last of them, on
//! whatever thread, sends the page home.
//!
//! `cargo run --example tokio`

use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;
use waterwheel::dev::generator::{Gen, GenParams};
use waterwheel::mm::Users;
use waterwheel::xdp::{Account, PacketBytes};
use waterwheel::{Action, Context, Fabric, PagePool, PoolParams, PortId, XdpBuff, XdpFrame, Zone, ZoneParams};

/// Packets that wait for a task; more are dropped, as a network card does.
const QUEUE: usize = 256;

static BYTES: AtomicU64 = AtomicU64::new(0);

/// What an application does with a packet: ordinary asynchronous code that knows nothing of pages.
async fn handle(packet: PacketBytes) {
    for part in packet {
        tokio::task::yield_now().await; // any thread of the runtime may go on here
        BYTES.fetch_add(part.len() as u64, Ordering::Relaxed);
    }
}

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut params = GenParams::default();
    params.set("count", "10000")?;
    params.set("size", "600")?;
    let zone = Zone::new(&ZoneParams::pages(1024))?;
    let mut fabric = Fabric::new(1);
    fabric.add(0, Box::new(Gen::new(&params)?), PagePool::new(&zone, PoolParams::default())?)?;
    let (send, mut receive) = mpsc::channel::<PacketBytes>(QUEUE);
    // The loop never waits for the application: what finds no room is dropped, and its page is home at once.
    fabric.host(0, Box::new(move |_: PortId, frame: XdpFrame| drop(send.try_send(frame.into_bytes()))));
    let mut worker = fabric.build()?.remove(0);

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
    let application = runtime.spawn(async move {
        let mut packets = 0u64;
        let mut tasks = Vec::new();
        while let Some(packet) = receive.recv().await {
            packets += 1;
            tasks.push(tokio::spawn(handle(packet)));
        }
        for task in tasks {
            task.await.expect("a task does not panic");
        }
        packets
    });
    let network = std::thread::spawn(move || {
        worker.run(&mut |_: &Context, _: &mut XdpBuff| Action::Pass);
        worker.close() // with it goes the host, and so the channel; pages that tasks still have go to the zone later
    });
    let received = network.join().expect("the loop does not panic").ports[0].rx.packets;
    let handled = runtime.block_on(application)?;
    drop(runtime);

    let account = Account::open(&zone).close(Users::Gone);
    println!(
        "{received} packets received, {handled} handled, {} bytes; pages: {account:?}",
        BYTES.load(Ordering::Relaxed)
    );
    assert_eq!(BYTES.load(Ordering::Relaxed), 600 * handled);
    assert!(account.is_whole(), "every page is home");
    Ok(())
}
