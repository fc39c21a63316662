//! The events of a run, sorted into series.

use super::curve::Point;
use crate::event::{Count, Event, Row, Side};

/// The rows and counts of one series of one bench, in the order in which they came.
pub(super) struct Series<'e> {
    pub(super) bench: &'e str,
    pub(super) name: &'e str,
    rows: Vec<&'e Row>,
    counts: Vec<&'e Count>,
}

/// A value of a contender in a case: of a row or of a count.
#[derive(Clone, Copy)]
pub(super) struct Value<'e> {
    pub(super) case: &'e str,
    pub(super) name: &'e str,
    pub(super) side: Side,
    pub(super) point: Point,
}

/// Values of one unit.
pub(super) struct Column<'e> {
    pub(super) unit: String,
    pub(super) values: Vec<Value<'e>>,
}

/// All series, as they first appear.
pub(super) fn collect(events: &[Event]) -> Vec<Series<'_>> {
    let mut all: Vec<Series<'_>> = Vec::new();
    for event in events {
        let (bench, name) = match event {
            Event::Row(row) => (row.bench.as_str(), row.series.as_str()),
            Event::Count(count) => (count.bench.as_str(), count.series.as_str()),
            _ => continue,
        };
        let place = all.iter().position(|series| (series.bench, series.name) == (bench, name)).unwrap_or_else(|| {
            all.push(Series { bench, name, rows: vec![], counts: vec![] });
            all.len() - 1
        });
        match event {
            Event::Row(row) => all[place].rows.push(row),
            Event::Count(count) => all[place].counts.push(count),
            _ => {}
        }
    }
    all
}

impl<'e> Series<'e> {
    /// The times, if there are any, in nanoseconds `per` what one element is.
    pub(super) fn times(&self, per: &str) -> Option<Column<'e>> {
        let value = |row: &&'e Row| {
            let point = Point { x: row.x, y: row.median_ns, range: Some((row.min_ns, row.max_ns)), noisy: row.noisy };
            Value { case: &row.case, name: &row.implementation, side: row.side, point }
        };
        let values: Vec<Value<'e>> = self.rows.iter().map(value).collect();
        (!values.is_empty()).then(|| Column { unit: format!("ns {per}").trim().to_owned(), values })
    }

    /// The counts, a column for each that was counted.
    pub(super) fn counts(&self) -> Vec<Column<'e>> {
        let mut columns: Vec<Column<'e>> = Vec::new();
        for count in &self.counts {
            let point = Point { x: count.x, y: count.value, range: None, noisy: false };
            let value = Value { case: &count.case, name: &count.implementation, side: self.side_of(count), point };
            match columns.iter_mut().find(|column| column.unit == count.what) {
                Some(column) => column.values.push(value),
                None => columns.push(Column { unit: count.what.clone(), values: vec![value] }),
            }
        }
        columns
    }

    /// A count does not say whose it is; the row of the same name does.
    fn side_of(&self, count: &Count) -> Side {
        self.rows.iter().find(|row| row.implementation == count.implementation).map_or(Side::Ours, |row| row.side)
    }
}

impl Column<'_> {
    /// One place of the x axis makes no curve, nor do two; but those of `others` count, too.
    pub(super) fn is_curve(&self, others: impl Iterator<Item = f64>) -> bool {
        let mut places: Vec<f64> = self.values.iter().map(|value| value.point.x).chain(others).collect();
        places.sort_by(f64::total_cmp);
        places.dedup();
        places.len() > 2
    }

    /// The contender; and what sets its cases apart, where it has several at one place of the x axis (such as two programs with one batch size).
    pub(super) fn curve_name(&self, value: &Value<'_>) -> String {
        let mine = || self.values.iter().filter(|other| other.name == value.name);
        let has_several = mine().any(|one| mine().filter(|other| other.point.x == one.point.x).count() > 1);
        if !has_several {
            return value.name.to_owned();
        }
        let case = value.case.replace(|c: char| c.is_ascii_digit() || c == '=', "");
        format!("{}, {}", value.name, case.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}
