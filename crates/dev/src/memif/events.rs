//! What happens to an interface, in words.

use std::sync::{Arc, Mutex};

use super::listener::lock;

/// Lines that are kept for who looks: a stranger who comes again and again fills no memory.
const MOST: usize = 16;

/// What is to be told.
#[derive(Debug, Default)]
pub(super) struct News {
    lines: Vec<String>,
    /// The last one, told or not: what goes on and on is told once.
    last: String,
    /// What had no room.
    more: u64,
}

impl News {
    pub(super) fn tell(&mut self, name: &str, what: String) {
        if what == self.last {
            return;
        }
        match self.lines.len() {
            MOST.. => self.more += 1,
            _ => self.lines.push(format!("{name}: {what}")),
        }
        self.last = what;
    }
}

/// What happens to an interface, a line for each: peers that connect, disconnect, and are turned away. It keeps no socket and no memory of the interface.
#[derive(Debug, Clone)]
pub struct Events(pub(super) Arc<Mutex<News>>);

impl Events {
    /// What has happened since the last look: the first few, and how many more. What repeats itself is told once.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        let mut news = lock(&self.0);
        let mut lines = std::mem::take(&mut news.lines);
        match std::mem::take(&mut news.more) {
            0 => {}
            more => lines.push(format!("(and {more} more of this)")),
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_is_told_once_and_a_flood_ends() {
        let events = Events(Arc::default());
        let tell = |what: &str| lock(&events.0).tell("m", what.to_owned());
        assert!(events.take().is_empty());
        for _ in 0..3 {
            tell("no");
        }
        assert_eq!(events.take(), ["m: no"]);
        tell("no");
        assert!(events.take().is_empty(), "it was told");
        for number in 0..20 {
            tell(&number.to_string());
        }
        let told = events.take();
        assert_eq!((told.len(), told[16].as_str()), (17, "(and 4 more of this)"));
        tell("again");
        assert_eq!(events.take(), ["m: again"]);
    }
}
