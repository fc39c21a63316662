//! A file per verb that does more than run a plan.

mod bench;
pub(crate) mod devices;
mod help;
mod relay;
mod run;
mod soak;

use crate::args::Verb;
use crate::config::Plan;
use crate::failure::Failure;

pub(crate) use help::kinds;

/// Does what the verb says.
pub(crate) fn run(verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Forward(args) => run::run(&Plan::forward(&args)?),
        Verb::Drop(args) => run::run(&Plan::drop(&args)?),
        Verb::Tx(args) => run::run(&Plan::tx(&args)?),
        Verb::Generate(args) => run::run(&Plan::generate(&args)?),
        Verb::Bench(args) => bench::run(&args),
        Verb::Relay(args) => relay::run(&args),
        Verb::Soak(args) => soak::run(&args),
        Verb::Capture(args) => run::run(&Plan::capture(&args)?),
        Verb::Devices(args) => devices::show(&args),
        Verb::Help(args) => help::show(args.topic.as_deref()),
    }
}
