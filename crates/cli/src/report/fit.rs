//! Makes the live table fit the terminal: lines are broken where they are too long, and left out where there are too many.

use std::collections::BTreeSet;

use super::printable::width;
use super::table::{TableLine, Weight};

/// Where a line goes on that is too long.
const INDENT: usize = 4;

/// A row of the terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) text: String,
    /// It belongs to the first line.
    pub(super) title: bool,
    pub(super) alarming: bool,
}

/// `lines` on so many rows of so many columns; what is left out is told.
pub(super) fn fit(lines: &[TableLine], columns: usize, rows: usize) -> Vec<Row> {
    let broken = lines.iter().map(|line| (line.weight, broken(&line.cells, columns.max(1)))).collect::<Vec<_>>();
    let all = broken.iter().map(|(_, rows)| rows.len()).sum::<usize>();
    let mut gone = BTreeSet::new();
    if all > rows {
        let mut left = all + 1; // with the row that tells
        for weight in broken.iter().map(|(weight, _)| *weight).collect::<BTreeSet<_>>() {
            if left <= rows || weight == Weight::Summary {
                break;
            }
            left -= broken.iter().filter(|(of, _)| *of == weight).map(|(_, rows)| rows.len()).sum::<usize>();
            gone.insert(weight);
        }
    }
    let missing = broken.iter().filter(|(weight, _)| gone.contains(weight)).count();
    let (mut fitted, mut told) = (Vec::new(), false);
    for (n, ((weight, texts), line)) in broken.into_iter().zip(lines).enumerate() {
        if !gone.contains(&weight) {
            fitted.extend(texts.into_iter().map(|text| Row { text, title: n == 0, alarming: line.alarming }));
        } else if !std::mem::replace(&mut told, true) {
            let lines = if missing == 1 { "line" } else { "lines" };
            let text = format!("  ... {missing} more {lines}").chars().take(columns).collect();
            fitted.push(Row { text, title: false, alarming: false });
        }
    }
    // What counts most stands last.
    fitted.drain(..fitted.len().saturating_sub(rows));
    fitted
}

/// A line broken between its cells; a cell that is longer than a row, between words; a word, anywhere.
fn broken(cells: &[String], columns: usize) -> Vec<String> {
    let indent = INDENT.min(columns / 2);
    let mut rows = vec![String::new()];
    for cell in cells {
        if add(&mut rows, "  ", cell, columns) {
            continue;
        }
        let mut between = "  ";
        if width(cell) + indent <= columns {
            rows.push(" ".repeat(indent));
            between = "";
        } else if rows.last().is_some_and(String::is_empty) {
            let margin = cell.len() - cell.trim_start().len();
            rows.push(" ".repeat(margin.min(indent)));
            rows.remove(0);
            between = "";
        }
        for word in cell.split_whitespace() {
            if !add(&mut rows, between, word, columns) {
                if !between.is_empty() {
                    rows.push(" ".repeat(indent));
                }
                cut(&mut rows, word, columns, indent);
            }
            between = " ";
        }
    }
    rows.iter_mut().for_each(|row| row.truncate(row.trim_end().len()));
    rows
}

/// Puts `text` to the last row, if it fits.
fn add(rows: &mut [String], between: &str, text: &str, columns: usize) -> bool {
    let Some(row) = rows.last_mut() else { return false };
    let between = if row.is_empty() { "" } else { between };
    let fits = width(row) + width(between) + width(text.trim_end()) <= columns;
    if fits {
        row.push_str(between);
        row.push_str(text);
    }
    fits
}

/// Puts a word to the last row, which may be longer than that.
fn cut(rows: &mut Vec<String>, word: &str, columns: usize, indent: usize) {
    for c in word.chars() {
        let c = c.to_string();
        if !add(rows, "", &c, columns) {
            rows.push(" ".repeat(indent) + &c);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cmp::Reverse;

    fn texts(lines: &[TableLine], columns: usize, rows: usize) -> Vec<String> {
        let rows = fit(lines, columns, rows);
        assert!(rows.iter().all(|row| width(&row.text) <= columns.max(2)), "{rows:?}");
        rows.into_iter().map(|row| row.text).collect()
    }

    fn line(text: &str, weight: Weight) -> TableLine {
        TableLine::from(text.to_owned()).weighing(weight)
    }

    #[test]
    fn a_long_line_is_broken_between_cells_then_words_then_anywhere() {
        let cells = ["  name  ", "received", "  1.000 kpps", "not connected: nobody is there"];
        let lines = [TableLine::of(cells.map(str::to_owned).to_vec())];
        assert_eq!(texts(&lines, 80, 9), ["  name    received    1.000 kpps  not connected: nobody is there"]);
        assert_eq!(
            texts(&lines, 32, 9),
            ["  name    received    1.000 kpps", "    not connected: nobody is", "    there"],
            "what is longer than a row begins where the line is full"
        );
        assert_eq!(texts(&lines, 20, 9)[..2], ["  name    received", "    1.000 kpps  not"]);
        let wide = [TableLine::of(vec!["  日本日本日本".to_owned(), "x".to_owned()])];
        assert_eq!(texts(&wide, 10, 9), ["  日本日本", "    日本", "    x"].map(str::to_owned));
        for columns in 0..40 {
            let shown = texts(&lines, columns, 200).concat();
            let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            assert_eq!(letters(&shown), letters(&cells.concat()), "{columns}");
        }
    }

    #[test]
    fn what_counts_least_is_left_out_and_told() {
        let mut lines = vec![line("title", Weight::Frame)];
        for (n, packets) in [5, 0, 7, 0].into_iter().enumerate() {
            lines.push(line(&format!("d{n} in"), Weight::Device(packets, Reverse(n))));
            lines.push(line(&format!("d{n} out"), Weight::Device(packets, Reverse(n))));
        }
        lines.push(line("lost", Weight::Summary));
        lines.push(line("d2 counters", Weight::Counters(7, Reverse(2))));
        lines.push(line("pool", Weight::Pool));
        assert_eq!(texts(&lines, 80, 12).len(), 12, "all of them");
        assert_eq!(
            texts(&lines, 80, 10),
            ["title", "d0 in", "d0 out", "d1 in", "d1 out", "d2 in", "d2 out", "  ... 4 more lines", "lost"]
        );
        assert_eq!(texts(&lines, 80, 5), ["title", "  ... 8 more lines", "d2 in", "d2 out", "lost"]);
        assert_eq!(texts(&lines, 80, 3), ["title", "  ... 10 more lines", "lost"]);
        assert_eq!(texts(&lines, 80, 1), ["lost"]);
    }
}
