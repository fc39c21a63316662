//! Devices that are lost while a run goes on, and those that come back.

use waterwheel_xdp::{Health, PortId, PortStats, WorkerStats};

/// What was said of each device, so that nothing is said twice.
#[derive(Debug, Default)]
pub(super) struct Losses(Vec<Known>);

#[derive(Debug)]
struct Known {
    port: PortId,
    down: bool,
    revivals: u64,
}

impl Losses {
    /// What there is to say since the last time.
    pub(super) fn news(&mut self, workers: &[WorkerStats]) -> Vec<String> {
        let mut news = Vec::new();
        for port in ports(workers) {
            let place = self.0.iter().position(|known| known.port == port.port).unwrap_or_else(|| {
                self.0.push(Known { port: port.port, down: false, revivals: 0 });
                self.0.len() - 1
            });
            let known = &mut self.0[place];
            if port.revivals > known.revivals {
                let mode = if port.mode.is_empty() { String::new() } else { format!(" ({})", port.mode) };
                let times = if port.revivals - known.revivals > 1 || !known.down { "was lost, and " } else { "" };
                news.push(format!("{}: {times}is back{mode}", port.name));
                (known.revivals, known.down) = (port.revivals, false);
            }
            if let Some(reason) = failure(port)
                && !std::mem::replace(&mut known.down, true)
            {
                let waiting = if port.reviving { " (waiting until it is back)" } else { "" };
                news.push(format!("{reason}{waiting}"));
            }
        }
        news
    }
}

/// Devices that are gone for good.
pub(super) fn gone(workers: &[WorkerStats]) -> Vec<PortId> {
    ports(workers).filter(|port| failure(port).is_some() && !port.reviving).map(|port| port.port).collect()
}

/// Why devices are down, whether they are waited for or not.
pub(super) fn failed(workers: &[WorkerStats]) -> Vec<String> {
    ports(workers).filter_map(failure).collect()
}

fn ports(workers: &[WorkerStats]) -> impl Iterator<Item = &PortStats> {
    workers.iter().flat_map(|worker| &worker.ports)
}

/// Why a device is down: the reason names the device, or is given its name.
fn failure(port: &PortStats) -> Option<String> {
    match &port.health {
        Health::Failed(reason) if reason.starts_with(&port.name) => Some(reason.clone()),
        Health::Failed(reason) => Some(format!("{}: {reason}", port.name)),
        Health::Up | Health::Finished => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use waterwheel_xdp::Traffic;

    fn port(number: u16, health: Health, reviving: bool, revivals: u64) -> WorkerStats {
        let port = PortStats {
            port: PortId(number),
            name: format!("tap:{number}"),
            mode: if number == 0 { String::new() } else { "copy".to_owned() },
            health,
            reviving,
            revivals,
            rx: Traffic::default(),
            lost: Vec::new(),
            tx: Traffic::default(),
            in_flight: 0,
            counters: Vec::new(),
            pool: waterwheel_xdp::page_pool::PoolStats::default(),
        };
        WorkerStats { ports: vec![port], ..WorkerStats::default() }
    }

    fn failed(why: &str) -> Health {
        Health::Failed(why.to_owned())
    }

    #[test]
    fn every_loss_and_every_return_is_told_once() {
        let mut losses = Losses::default();
        let mut told = Vec::new();
        for time in 0..3 {
            let up = [port(0, Health::Up, false, time), port(1, Health::Up, false, 0)];
            let down = [port(0, failed("deleted"), true, time), port(1, Health::Up, false, 0)];
            for _ in 0..2 {
                told.extend(losses.news(&up));
            }
            for _ in 0..2 {
                told.extend(losses.news(&down));
                assert!(gone(&down).is_empty(), "it is waited for");
            }
        }
        let (lost, back) = ("tap:0: deleted (waiting until it is back)", "tap:0: is back");
        assert_eq!(told, [lost, back, lost, back, lost]);
    }

    #[test]
    fn what_happened_between_two_looks_is_told_too() {
        let mut losses = Losses::default();
        assert!(losses.news(&[port(1, Health::Up, false, 0)]).is_empty());
        assert_eq!(losses.news(&[port(1, Health::Up, false, 1)]), ["tap:1: was lost, and is back (copy)"]);
        assert_eq!(losses.news(&[port(1, Health::Up, false, 3)]), ["tap:1: was lost, and is back (copy)"]);
        // It came back, and was lost again.
        let again = [port(1, failed("tap:1: gone"), false, 4)];
        assert_eq!(losses.news(&again), ["tap:1: was lost, and is back (copy)", "tap:1: gone"]);
        assert!(losses.news(&again).is_empty());
        assert_eq!((gone(&again), super::failed(&again)), (vec![PortId(1)], vec!["tap:1: gone".to_owned()]));
    }

    #[test]
    fn a_source_that_has_ended_is_no_loss() {
        let ended = [port(0, Health::Finished, false, 0)];
        assert!(Losses::default().news(&ended).is_empty() && gone(&ended).is_empty());
    }
}
