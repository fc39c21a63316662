//! `waterwheel devices`: what this machine has, and a plain answer for each: ready, or what to do.

mod host;
mod interface;

use std::io;
use std::path::Path;

use serde::Serialize;

use crate::args::Devices;
use crate::failure::Failure;
use crate::report::json;
use crate::report::printable::{padded, printable, width};

pub(crate) use host::missing_capabilities;
pub(crate) use interface::{Interface, interfaces};

/// What one may expect of a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// It can be used as it is.
    Ready,
    /// It can be used, and there is something to know before.
    Careful,
    /// It works without; with it, it would work better.
    Optional,
    /// It cannot be used before something is done.
    No,
}

/// The plain answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Answer {
    verdict: Verdict,
    /// What to know or to do; empty when there is nothing to say.
    text: String,
}

impl Answer {
    fn new(verdict: Verdict, text: impl Into<String>) -> Self {
        Self { verdict, text: text.into() }
    }

    fn line(&self) -> String {
        let word = match self.verdict {
            Verdict::Ready => "ready",
            Verdict::Careful => "careful",
            Verdict::Optional => "optional",
            Verdict::No => "no",
        };
        if self.text.is_empty() { word.to_owned() } else { format!("{word}: {}", self.text) }
    }
}

#[derive(Serialize)]
struct Machine {
    event: &'static str,
    host: Vec<host::Fact>,
    interfaces: Vec<Described>,
}

#[derive(Serialize)]
struct Described {
    #[serde(flatten)]
    interface: Interface,
    answer: Answer,
}

/// Prints it all.
pub(crate) fn show(args: &Devices) -> Result<(), Failure> {
    let root = Path::new("/");
    let missing = missing_capabilities(root);
    let interfaces = interfaces()?
        .into_iter()
        .map(|interface| Described { answer: interface.answer(&missing), interface })
        .collect();
    let machine = Machine { event: "devices", host: host::facts(root), interfaces };
    let mut out = io::stdout();
    let shown = if args.json {
        json::line(&mut out, 0.0, &machine)
    } else {
        io::Write::write_all(&mut out, text(&machine).as_bytes())
    };
    shown.map_err(|error| Failure::output(&error))
}

fn text(machine: &Machine) -> String {
    let facts = machine.host.iter().map(|fact| [fact.what.to_owned(), fact.value.clone(), fact.answer.line()]);
    let mut text = format!("Machine\n{}\nInterfaces\n", aligned(facts.collect()));
    let heads = ["name", "driver", "state", "mtu", "queues", "XDP", ""].map(str::to_owned);
    let rows = machine.interfaces.iter().map(|Described { interface, answer }| {
        [
            interface.name.clone(),
            interface.driver.clone(),
            interface.state().to_owned(),
            interface.mtu.to_string(),
            interface.queues.to_string(),
            interface.mode().to_owned(),
            answer.line(),
        ]
    });
    text.push_str(&aligned(std::iter::once(heads).chain(rows).collect()));
    text.push_str("\nHow to name them: waterwheel help devices\n");
    text
}

/// Columns as wide as their widest cell; the last is left as it is.
fn aligned<const N: usize>(rows: Vec<[String; N]>) -> String {
    let rows = rows.into_iter().map(|row| row.map(|cell| printable(&cell).into_owned())).collect::<Vec<_>>();
    let widths: [usize; N] =
        std::array::from_fn(|column| rows.iter().map(|row| width(&row[column])).max().unwrap_or(0));
    let line = |row: &[String; N]| {
        let cells =
            row.iter().zip(widths).map(|(cell, width)| format!("  {}", padded(cell, width))).collect::<String>();
        format!("{}\n", cells.trim_end())
    };
    rows.iter().map(line).collect()
}
