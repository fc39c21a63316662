//! A terminal's screen, as far as the live table needs one.

use std::fmt;

/// What stands on the rows, and what became of them.
#[derive(Default)]
pub(crate) struct Screen {
    rows: Vec<Vec<char>>,
    columns: usize,
    at: (usize, usize),
    /// Lines that were longer than a row.
    pub(crate) wrapped: usize,
    /// Times that all was wiped from the first row on: tmux keeps a copy then.
    pub(crate) saved: usize,
    /// Frames drawn.
    pub(crate) frames: usize,
}

impl Screen {
    /// After this was written to an empty one.
    pub(crate) fn after(text: &str, columns: usize, rows: usize) -> Self {
        let mut screen = Self { rows: vec![Vec::new(); rows], columns, ..Self::default() };
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            match c {
                '\x1b' => {
                    let end = rest.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(rest.len());
                    let (order, more) = rest.split_at((end + 1).min(rest.len()));
                    screen.obey(order.trim_start_matches('['));
                    rest = more;
                }
                '\r' => screen.at.1 = 0,
                '\n' => screen.down(),
                c => screen.put(c),
            }
        }
        screen
    }

    fn obey(&mut self, order: &str) {
        let (number, letter) = order.split_at(order.len().saturating_sub(1));
        let n = number.parse::<usize>().unwrap_or(0);
        let (row, column) = self.at;
        match letter {
            "F" => self.at = (row.saturating_sub(n.max(1)), 0),
            "H" => self.at = (0, 0),
            "K" => self.rows[row].truncate(column),
            "J" => {
                self.saved += usize::from(n == 2 || row == 0);
                let from = if n == 2 { 0 } else { row };
                self.rows[from].truncate(if n == 2 { 0 } else { column });
                self.rows[from + 1..].iter_mut().for_each(Vec::clear);
            }
            "l" if number == "?2026" => self.frames += 1,
            _ => {}
        }
    }

    fn down(&mut self) {
        if self.at.0 + 1 == self.rows.len() {
            self.rows.remove(0);
            self.rows.push(Vec::new());
        } else {
            self.at.0 += 1;
        }
    }

    fn put(&mut self, c: char) {
        // Wide characters, as far as the tests have any.
        let width = if c >= '\u{1100}' { 2 } else { 1 };
        if self.at.1 + width > self.columns {
            self.wrapped += 1;
            self.down();
            self.at.1 = 0;
        }
        let (row, column) = self.at;
        let cells = &mut self.rows[row];
        cells.resize(cells.len().max(column + width), ' ');
        cells[column] = c;
        self.at.1 += width;
    }

    pub(crate) fn row(&self, row: usize) -> String {
        self.rows[row].iter().collect()
    }

    /// Whether a row has this in it.
    pub(crate) fn has(&self, text: &str) -> bool {
        (0..self.rows.len()).any(|row| self.row(row).contains(text))
    }

    /// Its words, one space between any two.
    pub(crate) fn text(&self) -> String {
        self.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Display for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (0..self.rows.len()).try_for_each(|row| writeln!(f, "{}", self.row(row)))
    }
}
