//! What happens to an interface, in words.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::listener::lock;

/// Lines that are kept for who looks: a stranger who comes again and again fills no memory.
const MOST: usize = 16;

/// What is to be told.
#[derive(Debug, Default)]
pub(super) struct News {
    lines: Vec<String>,
    /// Who was turned away since something else happened: several may try again and again, and each is told of once.
    refusals: VecDeque<String>,
    /// What had no room.
    more: u64,
}

impl News {
    /// Something has happened.
    pub(super) fn tell(&mut self, name: &str, what: &str) {
        self.refusals.clear();
        self.add(name, what);
    }

    /// Somebody was turned away, or turned us away; will come again, and hear the same.
    pub(super) fn tell_refusal(&mut self, name: &str, what: String) {
        if self.refusals.contains(&what) {
            return;
        }
        self.add(name, &what);
        if self.refusals.len() == MOST {
            self.refusals.pop_front();
        }
        self.refusals.push_back(what);
    }

    fn add(&mut self, name: &str, what: &str) {
        match self.lines.len() {
            MOST.. => self.more += 1,
            _ => self.lines.push(format!("{name}: {what}")),
        }
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
        let refuse = |what: &str| lock(&events.0).tell_refusal("m", what.to_owned());
        assert!(events.take().is_empty());
        for _ in 0..3 {
            ["no", "nor you", "nor you there"].into_iter().for_each(refuse);
        }
        assert_eq!(events.take(), ["m: no", "m: nor you", "m: nor you there"], "three who try in turn");
        refuse("no");
        assert!(events.take().is_empty(), "it was told");
        for number in 0..20 {
            refuse(&number.to_string());
        }
        let told = events.take();
        assert_eq!((told.len(), told[16].as_str()), (17, "(and 4 more of this)"));
        assert!(lock(&events.0).refusals.len() <= MOST);
        refuse("again");
        assert_eq!(events.take(), ["m: again"]);
    }

    #[test]
    fn what_happens_is_told_each_time() {
        let events = Events(Arc::default());
        for _ in 0..2 {
            lock(&events.0).tell("m", "connected");
            lock(&events.0).tell_refusal("m", "another".to_owned());
            lock(&events.0).tell("m", "disconnected");
            assert_eq!(events.take(), ["m: connected", "m: another", "m: disconnected"]);
        }
    }
}
