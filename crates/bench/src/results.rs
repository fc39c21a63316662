//! Reading what `--json` wrote.

use crate::event::{Event, Machine};
use std::io::{self, BufRead};

/// Why a file is no run's output.
#[derive(Debug, thiserror::Error)]
pub enum BadResults {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A line is no result.
    #[error("line {line}: not a result of 'bench --json': {why}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// There are no lines, or none of them says what the machine is.
    #[error("no results of 'bench --json' in it")]
    Empty,
}

/// What one process gave out, or several on one machine, one after the other.
pub(crate) fn read(input: impl BufRead) -> Result<Vec<Event>, BadResults> {
    let mut first: Option<Machine> = None;
    let mut events = Vec::new();
    for (n, line) in input.lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let bad = |why: String| BadResults::Line { line: n + 1, why };
        let event = serde_json::from_str(&line).map_err(|error| bad(error.to_string()))?;
        if let Event::Machine(new) = &event {
            let old = first.get_or_insert_with(|| new.clone());
            if (&old.cpu, &old.kernel) != (&new.cpu, &new.kernel) {
                return Err(bad("here begins a run of another machine than above".to_owned()));
            }
        }
        events.push(event);
    }
    if first.is_none() { Err(BadResults::Empty) } else { Ok(events) }
}
