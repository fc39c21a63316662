//! The binary `waterwheel`: packets between devices, over one page pool.
//!
//! Read from here: `args` is what was typed, `config` and `typed` are what it means, `cmd` has a file per verb, `engine` is the door to the packet loop, and
//! `report` says what happens. Only this file ends the process, with a code of [`failure::Class`].

mod args;
mod cmd;
mod config;
mod engine;
mod failure;
mod preflight;
mod report;
mod signals;
mod typed;
mod units;

use std::process::ExitCode;

fn main() -> ExitCode {
    let verb = match args::parse(std::env::args_os()) {
        Ok(verb) => verb,
        Err(early) => return early.print(),
    };
    match cmd::run(verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            report::notice(&failure.message);
            ExitCode::from(failure.class.exit_code())
        }
    }
}
