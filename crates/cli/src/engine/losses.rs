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
