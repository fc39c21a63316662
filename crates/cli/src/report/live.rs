//! Redraws lines in place at a terminal. It only ever writes: the terminal's mode is left alone and nothing is read from it, so that a run can be
//! sent to the background.

use std::io::{self, Write};

use crossterm::cursor::MoveToPreviousLine;
use crossterm::queue;
use crossterm::style::{Attribute, Print, SetAttribute};
use crossterm::terminal::{self, BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate};

/// The lines at the bottom of the terminal that are ours.
#[derive(Debug, Default)]
pub(super) struct Screen {
    height: u16,
}

impl Screen {
    /// Replaces the lines drawn before.
    pub(super) fn draw(&mut self, out: &mut impl Write, lines: &[String]) -> io::Result<()> {
        // Without a size (a terminal of 0 by 0 exists: serial consoles) as on the smallest common one.
        let (columns, rows) = terminal::size().ok().filter(|size| size.0 > 0 && size.1 > 1).unwrap_or((80, 24));
        self.draw_within(out, lines, columns, rows)
    }

    fn draw_within(&mut self, out: &mut impl Write, lines: &[String], columns: u16, rows: u16) -> io::Result<()> {
        let mut frame = Vec::new();
        queue!(frame, BeginSynchronizedUpdate)?;
        self.clear(&mut frame)?;
        // A line that wraps, or that scrolls the first one away, would spoil the way back up.
        for (n, line) in lines.iter().take(usize::from(rows - 1)).enumerate() {
            let line = line.chars().take(usize::from(columns)).collect::<String>();
            if n == 0 {
                queue!(frame, SetAttribute(Attribute::Bold), Print(line), SetAttribute(Attribute::Reset))?;
            } else {
                queue!(frame, Print(line))?;
            }
            queue!(frame, Print("\n"))?;
            self.height += 1;
        }
        queue!(frame, EndSynchronizedUpdate)?;
        out.write_all(&frame)?;
        out.flush()
    }

    /// Takes the lines away; what is printed next stands in their place.
    pub(super) fn clear(&mut self, out: &mut impl Write) -> io::Result<()> {
        if self.height > 0 {
            queue!(out, MoveToPreviousLine(self.height), Clear(ClearType::FromCursorDown))?;
            self.height = 0;
        }
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(screen: &mut Screen, lines: &[&str]) -> String {
        let mut out = Vec::new();
        let lines = lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        screen.draw_within(&mut out, &lines, 5, 4).expect("writing to memory");
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn lines_replace_the_lines_before_and_never_wrap() {
        let mut screen = Screen::default();
        let first = drawn(&mut screen, &["title", "a line too long"]);
        assert!(first.contains("a lin\n") && !first.contains("too"), "{first:?}");
        let second = drawn(&mut screen, &["1", "2", "3", "4", "5"]);
        assert!(second.contains("\x1b[2F\x1b[J"), "two lines up, then clear: {second:?}");
        assert!(second.contains("3\n") && !second.contains('4'), "one row less than the terminal has: {second:?}");
        let mut out = Vec::new();
        screen.clear(&mut out).expect("writing to memory");
        assert_eq!(out, b"\x1b[3F\x1b[J");
        out.clear();
        screen.clear(&mut out).expect("writing to memory");
        assert_eq!(out, b"", "nothing to clear twice");
    }
}
