//! Redraws lines in place at a terminal. It only ever writes: the terminal's mode is left alone and nothing is read from it, so that a run can be
//! sent to the background.

use std::io::{self, Write};

use crossterm::cursor::{MoveTo, MoveToPreviousLine};
use crossterm::queue;
use crossterm::style::{Attribute, Color, Print, ResetColor, SetAttribute, SetForegroundColor};
use crossterm::terminal::{self, BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate};
use rustix::fd::AsFd;

use super::fit::fit;
use super::table::TableLine;

/// The lines at the bottom of the terminal that are ours.
#[derive(Debug, Default)]
pub(super) struct Screen {
    lines: Vec<TableLine>,
    height: u16,
    /// Columns and rows when they were drawn.
    size: (u16, u16),
}

impl Screen {
    /// Replaces the lines drawn before.
    pub(super) fn draw(&mut self, out: &mut (impl Write + AsFd), lines: Vec<TableLine>) -> io::Result<()> {
        self.lines = lines;
        self.redraw(out)
    }

    /// Draws the same lines again. Nothing is drawn while another process has the terminal, as a shell has that sent us to the background.
    pub(super) fn redraw(&mut self, out: &mut (impl Write + AsFd)) -> io::Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        if !in_foreground(out) {
            self.forget();
            return Ok(());
        }
        // Without a size (a terminal of 0 by 0 exists: serial consoles) as on the smallest common one.
        let size = terminal::size().ok().filter(|size| size.0 > 0 && size.1 > 1).unwrap_or((80, 24));
        self.draw_within(out, size)
    }

    /// Lines are wiped one by one, and what stands below only from the row after the last: some terminals keep a copy of what is wiped from their first row on.
    fn draw_within(&mut self, out: &mut impl Write, size: (u16, u16)) -> io::Result<()> {
        let (columns, rows) = size;
        let mut frame = Vec::new();
        queue!(frame, BeginSynchronizedUpdate)?;
        if self.height > 0 && self.size != size {
            // Where our lines are now, and how often each is broken, is the terminal's secret.
            queue!(frame, MoveTo(0, 0))?;
        } else if self.height > 0 {
            queue!(frame, MoveToPreviousLine(self.height))?;
        }
        self.height = 0;
        // A line that wraps, or that scrolls the first one away, would spoil the way back up.
        for row in fit(&self.lines, columns.into(), usize::from(rows - 1)) {
            let text = Print(row.text);
            queue!(frame, Clear(ClearType::UntilNewLine))?;
            match (row.title, row.alarming) {
                (true, _) => queue!(frame, SetAttribute(Attribute::Bold), text, SetAttribute(Attribute::Reset))?,
                (_, true) => queue!(frame, SetForegroundColor(Color::Red), text, ResetColor)?,
                (_, false) => queue!(frame, text)?,
            }
            queue!(frame, Print("\n"))?;
            self.height += 1;
        }
        self.size = size;
        queue!(frame, Clear(ClearType::FromCursorDown), EndSynchronizedUpdate)?;
        out.write_all(&frame)?;
        out.flush()
    }

    /// Takes the lines away; what is printed next stands in their place.
    pub(super) fn clear(&mut self, out: &mut (impl Write + AsFd)) -> io::Result<()> {
        if self.height > 0 && !in_foreground(out) {
            self.forget();
        }
        self.wipe(out)
    }

    fn wipe(&mut self, out: &mut impl Write) -> io::Result<()> {
        if self.height > 0 {
            let mut frame = Vec::new();
            queue!(frame, MoveToPreviousLine(self.height))?;
            for _ in 0..self.height {
                queue!(frame, Clear(ClearType::UntilNewLine), Print("\n"))?;
            }
            queue!(frame, Clear(ClearType::FromCursorDown), MoveToPreviousLine(self.height))?;
            self.height = 0;
            out.write_all(&frame)?;
        }
        out.flush()
    }

    /// Others have written below our lines: they stay where they are.
    pub(super) fn forget(&mut self) {
        self.height = 0;
    }

    /// No more lines are drawn.
    pub(super) fn end(&mut self) {
        self.lines.clear();
    }
}

/// Whether this process may draw: its terminal is not another's at the moment. What is not its own terminal (or none at all) is nobody else's.
pub(super) fn in_foreground(out: &impl AsFd) -> bool {
    rustix::termios::tcgetpgrp(out).map_or(true, |group| group == rustix::process::getpgrp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(screen: &mut Screen, lines: &[&str], size: (u16, u16)) -> String {
        let mut out = Vec::new();
        screen.lines = lines.iter().map(|line| TableLine::from((*line).to_owned())).collect();
        screen.draw_within(&mut out, size).expect("writing to memory");
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn lines_replace_the_lines_before_and_never_wrap() {
        let mut screen = Screen::default();
        let first = drawn(&mut screen, &["title", "a line too long"], (5, 8));
        assert!(first.contains("\x1b[K  lin\n") || first.contains("lin\n"), "{first:?}");
        let second = drawn(&mut screen, &["1", "2", "3", "4", "5"], (5, 4));
        assert!(second.contains("\x1b[1;1H") && !second.contains("\x1b[2J"), "another size: {second:?}");
        assert!(second.contains("3\n") && !second.contains("2\n"), "one row less than the terminal has: {second:?}");
        let third = drawn(&mut screen, &["1"], (5, 4));
        assert!(third.contains("\x1b[3F\x1b[K") && third.contains("1\u{1b}[0m\n\x1b[J"), "three up: {third:?}");
        let mut out = Vec::new();
        screen.wipe(&mut out).expect("writing to memory");
        assert_eq!(out, b"\x1b[1F\x1b[K\n\x1b[J\x1b[1F");
        out.clear();
        screen.wipe(&mut out).expect("writing to memory");
        assert_eq!(out, b"", "nothing to clear twice");
    }

    #[test]
    fn what_alarms_is_red() {
        let lines = vec!["title".to_owned().into(), TableLine::from("lost 1".to_owned()).alarming(true)];
        let mut screen = Screen { lines, ..Screen::default() };
        let mut out = Vec::new();
        screen.draw_within(&mut out, (80, 24)).expect("writing to memory");
        let text = String::from_utf8(out).expect("UTF-8");
        assert!(text.contains("\x1b[38;5;9mlost 1\x1b[0m"), "{text:?}");
    }
}
