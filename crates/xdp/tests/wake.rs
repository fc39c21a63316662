//! Every wake-up, with workers that sleep until they are woken: one that is forgotten is a worker that does not go on.

mod common;

use common::{Source, assert_counted, assert_whole, packet, pool, sum, until, zone};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, OwnedFd};
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use waterwheel_xdp::{
    Action, BorrowedFd, Context, Control, Device, Direction, DropReason, Drops, Fabric, Health, Homes, Idle, PagePool,
    PortId, Traffic, Wait, Worker, WorkerStats, XdpBuff, XdpFrame,
};

/// What a test steers of a [`Quiet`] device.
#[derive(Default)]
struct State {
    polled: AtomicU64,
    sent: AtomicU64,
    fail: AtomicBool,
}

/// A device that something may come to, and nothing does unless the test says so: it signals by a descriptor, and only so.
struct Quiet {
    state: Arc<State>,
    fd: Arc<OwnedFd>,
    /// Its shutdown takes until something comes here.
    hold: Option<Receiver<()>>,
    /// Its shutdown waits here.
    waits: Option<Arc<Gate>>,
    /// It lets through who waits here, when it is asked what to wait for: then its worker is about to sleep.
    opens: Option<Arc<Gate>>,
}

/// A thread waits here, and is let through by another, who waits for its end.
struct Gate {
    waiting: AtomicBool,
    opened: AtomicU64,
    go: (Sender<()>, Mutex<Receiver<()>>),
    over: (Sender<()>, Mutex<Receiver<()>>),
}

/// Sends when it is dropped.
struct AtEnd(Sender<()>);

impl Drop for AtEnd {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

thread_local! {
    static AT_END: RefCell<Option<AtEnd>> = const { RefCell::new(None) };
}

impl Gate {
    fn new() -> Arc<Self> {
        let line = || {
            let (to, from) = channel();
            (to, Mutex::new(from))
        };
        Arc::new(Self { waiting: AtomicBool::new(false), opened: AtomicU64::new(0), go: line(), over: line() })
    }

    fn wait(&self) {
        AT_END.set(Some(AtEnd(self.over.0.clone())));
        self.waiting.store(true, Ordering::Relaxed);
        self.go.1.lock().unwrap().recv().unwrap();
    }

    fn is_awaited(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }

    /// When this returns that thread has ended, and has woken whom it had to wake.
    fn open(&self) {
        if self.is_awaited() {
            self.go.0.send(()).unwrap();
            self.over.1.lock().unwrap().recv().unwrap();
            self.waiting.store(false, Ordering::Relaxed);
            self.opened.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Quiet {
    fn new(state: &Arc<State>) -> Box<Self> {
        let fd = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap());
        Box::new(Self { state: state.clone(), fd, hold: None, waits: None, opens: None })
    }
}

/// A packet comes in for the device.
fn signal(fd: &OwnedFd) {
    rustix::io::write(fd, &1u64.to_ne_bytes()).unwrap();
}

impl Device for Quiet {
    fn name(&self) -> &str {
        "quiet"
    }
    fn complete(&mut self, _: &mut Homes<'_>) -> usize {
        self.state.polled.fetch_add(1, Ordering::Relaxed);
        0
    }
    fn rx(&mut self, pool: &mut PagePool, batch: &mut Vec<XdpBuff>, budget: usize) -> usize {
        if budget == 0 || rustix::io::read(&*self.fd, &mut [0; 8]).is_err() {
            return 0;
        }
        batch.extend(pool.alloc(Direction::Rx).map(|page| packet(page, 0, 60)));
        batch.len()
    }
    fn tx(&mut self, pool: &mut PagePool, frames: &mut Vec<XdpFrame>, _: &mut Drops) -> Traffic {
        let mut sent = Traffic::default();
        for frame in frames.drain(..) {
            sent.add(frame.len());
            pool.put(frame.into_page());
        }
        self.state.sent.fetch_add(sent.packets, Ordering::Relaxed);
        sent
    }
    fn wait(&self) -> Wait {
        self.opens.iter().for_each(|gate| gate.open());
        Wait::Readable
    }
    fn fds<'a>(&'a self, add: &mut dyn FnMut(BorrowedFd<'a>)) {
        add(self.fd.as_fd());
    }
    fn health(&mut self) -> Health {
        if self.state.fail.load(Ordering::Relaxed) { Health::Failed("unplugged".to_owned()) } else { Health::Up }
    }
    fn shutdown(&mut self, _: &mut Homes<'_>) {
        if let Some(hold) = self.hold.take() {
            let _ = hold.recv();
        }
        self.waits.iter().for_each(|gate| gate.wait());
    }
}

/// A fabric whose workers sleep after every idle round until they are woken.
fn fabric(workers: usize) -> Fabric {
    let mut fabric = Fabric::new(workers);
    fabric.nap(None);
    fabric.idle(Idle::Sleep);
    fabric
}

/// Runs it on a thread that is left alone if the test fails: it would sleep for ever.
fn run(mut worker: Worker, action: Action) -> JoinHandle<WorkerStats> {
    thread::spawn(move || {
        worker.run(&mut move |_: &Context, _: &mut XdpBuff| action);
        worker.close()
    })
}

/// Until the worker of this device has found nothing to do and, most probably, sleeps.
fn asleep(state: &State) {
    until(|| state.polled.load(Ordering::Relaxed) > 0);
    let mut before = u64::MAX;
    until(|| {
        thread::sleep(Duration::from_millis(10));
        let now = state.polled.load(Ordering::Relaxed);
        std::mem::replace(&mut before, now) == now
    });
}

fn end(threads: Vec<JoinHandle<WorkerStats>>) -> Vec<WorkerStats> {
    until(|| threads.iter().all(JoinHandle::is_finished));
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

const DROP: Action = Action::Drop(DropReason::Program);

#[test]
fn a_stop_wakes_all() {
    for stop in [Control::stop, Control::force] {
        let zone = zone(64);
        let mut fabric = fabric(2);
        let states = [Arc::default(), Arc::default()];
        for (worker, state) in states.iter().enumerate() {
            fabric.add(worker, Quiet::new(state), pool(&zone)).unwrap();
        }
        let workers = fabric.build().unwrap();
        let control = workers[0].control();
        let threads = workers.into_iter().map(|worker| run(worker, DROP)).collect();
        states.iter().for_each(|state| asleep(state));
        stop(&control);
        end(threads);
        assert_whole(&zone);
    }
}

#[test]
fn who_receives_the_last_packet_of_a_limit_wakes_all() {
    let zone = zone(256);
    let mut fabric = fabric(2);
    let states = [Arc::default(), Arc::default()];
    let [first, second] = states.each_ref().map(Quiet::new);
    let fd = second.fd.clone();
    fabric.add(0, first, pool(&zone)).unwrap();
    fabric.add(1, second, pool(&zone)).unwrap();
    let workers = fabric.build().unwrap();
    workers[0].control().limit(3);
    let threads = workers.into_iter().map(|worker| run(worker, DROP)).collect();
    for _ in 0..3 {
        states.iter().for_each(|state| asleep(state));
        signal(&fd);
    }
    let end = sum(end(threads));
    assert_eq!(end.rx().packets, 3);
    assert_counted(&end);
    assert_whole(&zone);
}

#[test]
fn who_has_the_last_source_wakes_all() {
    let zone = zone(256);
    let mut fabric = fabric(2);
    let state = Arc::default();
    let mut quiet = Quiet::new(&state);
    let fd = quiet.fd.clone();
    quiet.hold = None;
    // The first worker's only device sends; the second one's source fails.
    let sink = Arc::default();
    fabric.add(0, Box::new(SendsOnly(*Quiet::new(&sink))), pool(&zone)).unwrap();
    fabric.add(1, quiet, pool(&zone)).unwrap();
    let threads = fabric.build().unwrap().into_iter().map(|worker| run(worker, DROP)).collect();
    asleep(&sink);
    asleep(&state);
    state.fail.store(true, Ordering::Relaxed);
    signal(&fd);
    end(threads);
    assert_whole(&zone);
}

/// It is no source.
struct SendsOnly(Quiet);

impl Device for SendsOnly {
    fn name(&self) -> &str {
        self.0.name()
    }
    fn capabilities(&self) -> waterwheel_xdp::Capabilities {
        waterwheel_xdp::Capabilities { rx: false, ..self.0.capabilities() }
    }
    fn complete(&mut self, homes: &mut Homes<'_>) -> usize {
        self.0.complete(homes)
    }
    fn rx(&mut self, _: &mut PagePool, _: &mut Vec<XdpBuff>, _: usize) -> usize {
        0
    }
    fn tx(&mut self, pool: &mut PagePool, frames: &mut Vec<XdpFrame>, drops: &mut Drops) -> Traffic {
        self.0.tx(pool, frames, drops)
    }
    fn wait(&self) -> Wait {
        Wait::Never
    }
}

#[test]
fn a_hand_over_wakes_whom_it_is_for() {
    let zone = zone(1024);
    let mut fabric = fabric(2);
    let (from, to) = (Arc::default(), Arc::default());
    let source = Quiet::new(&from);
    let fd = source.fd.clone();
    fabric.add(0, source, pool(&zone)).unwrap();
    let out = fabric.add(1, Quiet::new(&to), pool(&zone)).unwrap();
    let workers = fabric.build().unwrap();
    let control = workers[0].control();
    let threads = workers.into_iter().map(|worker| run(worker, Action::Redirect(out))).collect();
    for n in 1..=10 {
        asleep(&to);
        signal(&fd);
        until(|| to.sent.load(Ordering::Relaxed) == n);
    }
    control.stop();
    let end = sum(end(threads));
    assert_eq!((end.tx().packets, end.workers[0].handed_over, end.workers[1].taken_over), (10, 10, 10));
    assert_counted(&end);
    assert_whole(&zone);
}

#[test]
fn who_asks_for_statistics_wakes_all() {
    let zone = zone(64);
    let mut fabric = fabric(1);
    let state = Arc::default();
    fabric.add(0, Quiet::new(&state), pool(&zone)).unwrap();
    let worker = fabric.build().unwrap().remove(0);
    let control = worker.control();
    let threads = vec![run(worker, DROP)];
    for _ in 0..10 {
        asleep(&state);
        let before = state.polled.load(Ordering::Relaxed);
        let rounds = control.snapshot().workers[0].rounds;
        assert!(rounds >= before, "the answer is of now: {rounds} rounds, of {before}");
        until(|| state.polled.load(Ordering::Relaxed) > before);
    }
    // Nobody who was woken stays awake: it would go round some hundred thousand times.
    asleep(&state);
    let before = state.polled.load(Ordering::Relaxed);
    thread::sleep(Duration::from_millis(300));
    assert!(state.polled.load(Ordering::Relaxed) - before < 1000);
    control.stop();
    end(threads);
    assert_whole(&zone);
}

/// A port whose device fails, is shut down as long as the test likes, and is made anew as slowly.
fn revived() -> (Fabric, waterwheel_xdp::Zone, Arc<State>, Arc<OwnedFd>, Sender<()>, Sender<()>) {
    let zone = zone(64);
    let mut fabric = fabric(1);
    let state = Arc::<State>::default();
    let mut quiet = Quiet::new(&state);
    let fd = quiet.fd.clone();
    let (release, hold) = channel();
    quiet.hold = Some(hold);
    let port: PortId = fabric.add(0, quiet, pool(&zone)).unwrap();
    let (go, wait) = channel::<()>();
    let again = state.clone();
    fabric.revive(
        port,
        Box::new(move || {
            let _ = wait.recv();
            again.fail.store(false, Ordering::Relaxed);
            Ok(Quiet::new(&again) as Box<dyn Device>)
        }),
    );
    (fabric, zone, state, fd, release, go)
}

#[test]
fn a_device_that_was_shut_down_and_one_that_is_there_again_wake_their_worker() {
    let (fabric, zone, state, fd, release, go) = revived();
    let worker = fabric.build().unwrap().remove(0);
    let control = worker.control();
    let threads = vec![run(worker, DROP)];
    asleep(&state);
    state.fail.store(true, Ordering::Relaxed);
    signal(&fd);
    until(|| control.snapshot().workers[0].ports[0].reviving);
    thread::sleep(Duration::from_millis(50)); // it sleeps again, and nobody asks it for anything from now on
    release.send(()).unwrap();
    thread::sleep(Duration::from_millis(50)); // as before, while another device is being opened
    let before = state.polled.load(Ordering::Relaxed);
    go.send(()).unwrap();
    until(|| state.polled.load(Ordering::Relaxed) > before);
    assert_eq!(control.snapshot().workers[0].ports[0].revivals, 1);
    control.stop();
    end(threads);
    assert_whole(&zone);
}

#[test]
fn what_ends_elsewhere_as_its_worker_goes_to_sleep_is_seen() {
    let (zone, mut fabric, gate) = (zone(64), fabric(1), Gate::new());
    let [state, other, next] = [(); 3].map(|()| Arc::<State>::default());
    let quiet = Box::new(Quiet { waits: Some(gate.clone()), ..*Quiet::new(&state) });
    let fd = quiet.fd.clone();
    let port = fabric.add(0, quiet, pool(&zone)).unwrap();
    let (again, there) = (next.clone(), gate.clone());
    let attempt = move || {
        there.wait();
        Ok(Quiet::new(&again) as Box<dyn Device>)
    };
    fabric.revive(port, Box::new(attempt));
    let last = Box::new(Quiet { opens: Some(gate.clone()), ..*Quiet::new(&other) });
    let other_fd = last.fd.clone();
    fabric.add(0, last, pool(&zone)).unwrap();
    let worker = fabric.build().unwrap().remove(0);
    let control = worker.control();
    let threads = vec![run(worker, DROP)];
    asleep(&state);
    state.fail.store(true, Ordering::Relaxed);
    signal(&fd);
    // First the shutdown, then the attempt: each of them ends when the worker has looked after its devices, and before it sleeps.
    for n in 1..=2 {
        let opened = || gate.opened.load(Ordering::Relaxed) >= n;
        until(|| gate.is_awaited() || opened());
        asleep(&other);
        if gate.is_awaited() {
            signal(&other_fd);
        }
        until(opened);
    }
    until(|| next.polled.load(Ordering::Relaxed) > 0);
    control.stop();
    end(threads);
    assert_whole(&zone);
}

#[test]
fn a_device_that_is_being_shut_down_does_not_hold_up_the_others() {
    let zone = zone(1024);
    let mut fabric = fabric(1);
    let state = Arc::<State>::default();
    let mut quiet = Quiet::new(&state);
    let fd = quiet.fd.clone();
    let (release, hold) = channel();
    quiet.hold = Some(hold);
    fabric.add(0, quiet, pool(&zone)).unwrap();
    let source = Arc::<State>::default();
    let other = Quiet::new(&source);
    let other_fd = other.fd.clone();
    let out = fabric.add(0, other, pool(&zone)).unwrap();
    let worker = fabric.build().unwrap().remove(0);
    let control = worker.control();
    let threads = vec![run(worker, Action::Redirect(out))];
    asleep(&state);
    state.fail.store(true, Ordering::Relaxed);
    signal(&fd);
    until(|| control.snapshot().workers[0].ports[0].health != Health::Up);
    for n in 2..10 {
        signal(&other_fd);
        until(|| source.sent.load(Ordering::Relaxed) == n); // the first one came with the failure
    }
    release.send(()).unwrap();
    control.stop();
    let end = sum(end(threads));
    assert_counted(&end);
    assert_whole(&zone);
}

#[test]
fn the_end_waits_for_a_device_that_is_being_shut_down() {
    let (fabric, zone, state, fd, release, go) = revived();
    let worker = fabric.build().unwrap().remove(0);
    let control = worker.control();
    let threads = vec![run(worker, DROP)];
    asleep(&state);
    state.fail.store(true, Ordering::Relaxed);
    signal(&fd);
    until(|| control.snapshot().workers[0].ports[0].reviving);
    control.stop();
    thread::sleep(Duration::from_millis(50));
    assert!(!threads[0].is_finished(), "its pages are not home yet");
    release.send(()).unwrap();
    drop(go);
    end(threads);
    assert_whole(&zone);
}

#[test]
fn source_and_limit_are_of_one_worker_or_of_another() {
    // A worker that sleeps while others receive what the limit allows, and one whose source is at its end.
    let zone = zone(1024);
    let mut fabric = fabric(3);
    let states = [Arc::default(), Arc::default()];
    fabric.add(0, Quiet::new(&states[0]), pool(&zone)).unwrap();
    fabric.add(1, Quiet::new(&states[1]), pool(&zone)).unwrap();
    fabric.add(2, Source::new(u64::MAX), pool(&zone)).unwrap();
    let mut workers = fabric.build().unwrap();
    let source = workers.pop().unwrap();
    source.control().limit(1000);
    let mut threads: Vec<_> = workers.into_iter().map(|worker| run(worker, DROP)).collect();
    states.iter().for_each(|state| asleep(state));
    threads.push(run(source, DROP));
    let end = sum(end(threads));
    assert_eq!(end.rx().packets, 1000);
    assert_counted(&end);
    assert_whole(&zone);
}
