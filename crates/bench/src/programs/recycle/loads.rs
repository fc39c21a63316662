//! The loads: how long real receivers hold what they are given.

use super::plan::{Hold, Plan};
use waterwheel_dev::generator::SplitMix64;

/// A load.
pub(super) struct Load {
    /// Such as `tcp 8k`.
    pub(super) name: &'static str,
    /// Who holds packets, and for how long.
    pub(super) about: &'static str,
    /// Works it out; the same plan each time.
    pub(super) plan: fn() -> Plan,
}

/// All of them.
pub(super) const LOADS: [Load; 8] = [
    Load { name: "drop at once", about: "each packet is dropped before the next arrives", plan: drop_at_once },
    Load {
        name: "tcp 64",
        about: "64 connections; packets are kept until acknowledged, a round trip of 64 packets' time",
        plan: || tcp(64),
    },
    Load {
        name: "tcp 1k",
        about: "64 connections; packets are kept until acknowledged, a round trip of 1024 packets' time",
        plan: || tcp(1024),
    },
    Load {
        name: "tcp 8k",
        about: "64 connections; packets are kept until acknowledged, a round trip of 8192 packets' time",
        plan: || tcp(8192),
    },
    Load {
        name: "sockets",
        about: "258 sockets with queues of 1 to 1024 packets, drained at different rates",
        plan: sockets,
    },
    Load {
        name: "bursts",
        about: "4096 packets pile up and are let go all at once, then 4096 are dropped as they come",
        plan: bursts,
    },
    Load {
        name: "slow reader",
        about: "one of 16 sockets keeps a full queue of 512 packets, the others let go after 16 packets' time",
        plan: slow_reader,
    },
    Load {
        name: "second holder",
        about: "packets are let go after 16 packets' time, but of each fourth page a sniffer holds a reference for 64, and lets go by put_page",
        plan: second_holder,
    },
];

fn hold(steps: usize) -> Hold {
    Hold { steps: steps as u32, second: None }
}

fn drop_at_once() -> Plan {
    Plan::new(vec![hold(0); 1024])
}

/// A sender's retransmit queue: cumulative acknowledgements, so that what follows a lost packet waits with it.
fn tcp(round_trip: usize) -> Plan {
    const CONNECTIONS: usize = 64;
    const LOST_PER_CENT: usize = 1;
    let period = (4 * round_trip).max(4096);
    let mut random = SplitMix64::new(0x7c90 + round_trip as u64);
    // Of each packet its connection, and how long its own acknowledgement takes: up to an eighth longer than the round trip, and one more when it has to be sent again.
    let packets: Vec<(usize, usize)> = (0..period)
        .map(|_| {
            let lost = random.below(100) < LOST_PER_CENT;
            let trips = if lost { 2 } else { 1 };
            (random.below(CONNECTIONS), trips * round_trip + random.below(round_trip / 8))
        })
        .collect();
    let mut acknowledged = [0; CONNECTIONS];
    let mut holds = vec![Hold::default(); period];
    // Twice, as the first packets of a period may wait for the last of the one before.
    for step in 0..2 * period {
        let (connection, wait) = packets[step % period];
        let until = acknowledged[connection].max(step + wait);
        acknowledged[connection] = until;
        holds[step % period] = hold(until - step);
    }
    Plan::new(holds)
}

/// Many sockets with short queues, few with long ones. Of depth 1, 2, 4 ... 128 there are 128, 64, 32 ... 1, and one each of 256, 512 and 1024.
fn sockets() -> Plan {
    const PERIOD: usize = 1 << 15;
    let depths: Vec<usize> = (0..=10).flat_map(|k| std::iter::repeat_n(1 << k, (128 >> k).max(1))).collect();
    // The deeper its queue, the more a socket gets: the root of the depth, in sixteenths.
    let weights: Vec<usize> = depths.iter().map(|depth| (depth * 256).isqrt()).collect();
    let mut lottery: Vec<usize> = Vec::new();
    for (socket, &weight) in weights.iter().enumerate() {
        lottery.extend(std::iter::repeat_n(socket, weight));
    }
    let mut random = SplitMix64::new(0x50c7);
    let mut arrivals = vec![Vec::new(); depths.len()];
    (0..PERIOD).for_each(|step| arrivals[lottery[random.below(lottery.len())]].push(step));

    let mut holds = vec![Hold::default(); PERIOD];
    for (socket, steps) in arrivals.iter().enumerate() {
        let depth = depths[socket].min(steps.len().saturating_sub(1));
        for (i, &step) in steps.iter().enumerate() {
            holds[step] = hold(if socket % 2 == 0 {
                // The queue is always full: who comes pushes the oldest out.
                (steps[(i + depth) % steps.len()] + PERIOD - step) % PERIOD
            } else {
                // The reader sleeps until the queue is full, then reads all of it.
                let last = (i - i % depth.max(1) + depth.max(1) - 1).min(steps.len() - 1);
                steps[last] - step
            });
        }
    }
    Plan::new(holds)
}

fn bursts() -> Plan {
    const BURST: usize = 4096;
    let of = |step: usize| if step < BURST { hold(BURST - 1 - step) } else { hold(0) };
    Plan::new((0..2 * BURST).map(of).collect())
}

fn slow_reader() -> Plan {
    const SOCKETS: usize = 16;
    const QUEUE: usize = 512;
    let of = |step: usize| if step.is_multiple_of(SOCKETS) { hold(SOCKETS * QUEUE) } else { hold(16) };
    Plan::new((0..2 * SOCKETS * QUEUE).map(of).collect())
}

fn second_holder() -> Plan {
    let of = |step: usize| Hold { steps: 16, second: step.is_multiple_of(4).then_some(64) };
    Plan::new((0..1024).map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn most_held(name: &str) -> usize {
        let load = LOADS.iter().find(|load| load.name == name).expect("a load");
        assert_eq!((load.plan)(), (load.plan)(), "{name} is the same each time");
        (load.plan)().most_held()
    }

    #[test]
    fn each_load_holds_what_it_says() {
        assert_eq!(most_held("drop at once"), 0);
        assert_eq!(most_held("bursts"), 4095);
        assert_eq!(most_held("second holder"), 16 + 12);
        assert_eq!(most_held("slow reader"), 512 + 15);
        for (name, round_trip) in [("tcp 64", 64), ("tcp 1k", 1024), ("tcp 8k", 8192)] {
            // Never less than a round trip's packets, and losses at most double it and its jitter.
            let most = most_held(name);
            assert!((round_trip..3 * round_trip).contains(&most), "{name}: {most}");
        }
        let most = most_held("sockets");
        assert!((1024..2816).contains(&most), "{most} of 2816 places");
    }
}
