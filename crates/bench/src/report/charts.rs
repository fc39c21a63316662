//! Which events make which drawing.

use super::axis::Scale;
use super::bars::{self, Bar, Bars, Block, Row};
use super::curve::{Curve, Mark, Plot, Point};
use super::plan::{Form, OTHER, TOPICS, Topic};
use super::reference::{REFERENCES, Reference, Shape, Whose};
use super::series::{Column, Series, collect};
use super::svg::Style;
use crate::event::{Event, Machine, Side};

/// A bench of the run, or one that is not part of it.
pub(super) struct Section {
    pub(super) bench: String,
    pub(super) title: String,
    pub(super) caption: &'static str,
    /// None: not part of this run.
    pub(super) figures: Vec<Figure>,
}

/// One series.
pub(super) struct Figure {
    pub(super) title: String,
    pub(super) drawings: Vec<String>,
}

/// Most columns of bars side by side; more leave no room for their numbers.
const COLUMNS_MAX: usize = 3;

/// The sections of a run, in the order of the topics.
pub(super) fn sections(events: &[Event], machine: &Machine) -> Vec<Section> {
    let all = collect(events);
    let mut benches: Vec<&str> = Vec::new();
    for series in &all {
        if !benches.contains(&series.bench) {
            benches.push(series.bench);
        }
    }
    let mut sections = Vec::new();
    for topic in TOPICS {
        let (mine, others): (Vec<&str>, Vec<&str>) = benches.into_iter().partition(|bench| topic.is_about(bench));
        benches = others;
        if mine.is_empty() {
            let (bench, title) = (topic.bench.to_owned(), topic.title.to_owned());
            sections.push(Section { bench, title, caption: "", figures: vec![] });
        }
        sections.extend(mine.into_iter().map(|bench| section(topic, bench, &all, machine)));
    }
    sections.extend(benches.into_iter().map(|bench| section(&OTHER, bench, &all, machine)));
    sections
}

fn section(topic: &Topic, bench: &str, all: &[Series<'_>], machine: &Machine) -> Section {
    let mut mine: Vec<&Series<'_>> = all.iter().filter(|series| series.bench == bench).collect();
    mine.sort_by_key(|series| topic.form(series.name).0);
    let figures = mine.into_iter().map(|series| figure(topic, series, machine)).collect();
    let title = match topic.title {
        "" => bench.to_owned(),
        title if topic.bench.ends_with('*') => format!("{title}: {bench}"),
        title => title.to_owned(),
    };
    Section { bench: bench.to_owned(), title, caption: topic.caption, figures }
}

fn figure(topic: &Topic, series: &Series<'_>, machine: &Machine) -> Figure {
    let (beside, none) = (References::beside(series, machine), References::none(machine));
    let times = series.times(topic.per);
    let counts = if topic.draws_counts { series.counts() } else { vec![] };
    let drawings = match topic.form(series.name).1 {
        Form::Table(first) => {
            let mut columns: Vec<Column<'_>> = times.into_iter().chain(counts).collect();
            let place = |column: &Column<'_>| first.iter().position(|name| column.unit.starts_with(name));
            columns.sort_by_key(|column| place(column).unwrap_or(first.len()));
            columns.chunks(COLUMNS_MAX).map(|columns| bars(series, columns, &none)).collect()
        }
        Form::Bars => {
            let times = times.map(|times| bars(series, &[times], &beside));
            times.into_iter().chain(counts.chunks(COLUMNS_MAX).map(|columns| bars(series, columns, &none))).collect()
        }
        Form::Curves { x, x_scale, y_scale } => {
            let axes = (x, x_scale, y_scale);
            let times = times.map(|times| curves(axes, series, times, &beside)).unwrap_or_default();
            times.into_iter().chain(counts.into_iter().flat_map(|counts| curves(axes, series, counts, &none))).collect()
        }
    };
    Figure { title: series.name.to_owned(), drawings }
}

/// The curves of a column; bars if it has too few places. Blocks of an order are shown per page, too.
fn curves(
    axes: (&str, Scale, Scale),
    series: &Series<'_>,
    column: Column<'_>,
    references: &References<'_>,
) -> Vec<String> {
    if !column.is_curve(references.places()) {
        return vec![bars(series, &[column], references)];
    }
    let (x, x_scale, y_scale) = axes;
    let mut curves: Vec<Curve> = Vec::new();
    for value in &column.values {
        let name = column.curve_name(value);
        match curves.iter_mut().find(|curve| curve.name == name) {
            Some(curve) => curve.points.push(value.point),
            None => {
                let number = curves.iter().filter(|curve| curve.style.is_like(style_of(value.side, 0))).count();
                curves.push(Curve { style: style_of(value.side, number), name, points: vec![value.point] });
            }
        }
    }
    for curve in &mut curves {
        curve.points.sort_by(|a, b| f64::total_cmp(&a.x, &b.x));
    }
    let mut curves = merged(curves);
    curves.extend(references.curves());
    let is_time = column.unit.starts_with("ns");
    // A share is between nothing and all; and a logarithm has no place for a count of zero.
    let is_linear = column.unit.contains('%') || !is_time && column.values.iter().any(|value| value.point.y <= 0.0);
    let plot = Plot {
        title: format!("{}: {} over {x}", series.bench, column.unit),
        x: (x.to_owned(), x_scale),
        y: (column.unit, if is_linear { Scale::Linear } else { y_scale }),
        right: references.machine.tsc_ghz.filter(|_| is_time).map(|ghz| ("TSC cycles".to_owned(), ghz)),
        curves,
        marks: references.marks(),
        height: if is_time { 330.0 } else { 200.0 },
    };
    if is_time && series.name == "order" { vec![plot.draw(), per_page(plot).draw()] } else { vec![plot.draw()] }
}

/// Curves that would hide each other, as they have the same points, become one with both names.
fn merged(curves: Vec<Curve>) -> Vec<Curve> {
    let mut merged: Vec<Curve> = Vec::new();
    for curve in curves {
        match merged.iter_mut().find(|other| other.points == curve.points) {
            Some(other) => other.name = format!("{}; {}", other.name, curve.name),
            None => merged.push(curve),
        }
    }
    merged
}

/// The cost of a block divided among its pages.
fn per_page(mut plot: Plot) -> Plot {
    for point in plot.curves.iter_mut().flat_map(|curve| &mut curve.points) {
        let pages = point.x.exp2();
        point.y /= pages;
        point.range = point.range.map(|(low, high)| (low / pages, high / pages));
    }
    plot.y.0 = "ns per 4 KiB".to_owned();
    plot
}

/// A block for each case, a row for each contender.
fn bars(series: &Series<'_>, columns: &[Column<'_>], references: &References<'_>) -> String {
    let mut blocks: Vec<Block> = Vec::new();
    for (n, value) in
        columns.iter().enumerate().flat_map(|(n, column)| column.values.iter().map(move |value| (n, value)))
    {
        let block = place(
            &mut blocks,
            |block| block.name == value.case,
            || Block { name: value.case.to_owned(), rows: vec![] },
        );
        let row = place(
            &mut block.rows,
            |row| row.name == value.name,
            || Row { name: value.name.to_owned(), style: style_of(value.side, 0), bars: vec![None; columns.len()] },
        );
        row.bars[n] = Some(Bar { value: value.point.y, range: value.point.range, noisy: value.point.noisy });
    }
    let elsewhere = references.rows();
    if !elsewhere.is_empty() {
        blocks.push(Block { name: "elsewhere".to_owned(), rows: elsewhere });
    }
    let columns: Vec<String> = columns.iter().map(|column| column.unit.clone()).collect();
    Bars { title: format!("{}: {}", series.bench, columns.join(", ")), columns, blocks, width: bars::WIDTH }.draw()
}

/// The item that `is` it, made by `new` and put last if there is none.
fn place<T>(items: &mut Vec<T>, is: impl Fn(&T) -> bool, new: impl FnOnce() -> T) -> &mut T {
    let at = items.iter().position(is).unwrap_or_else(|| {
        items.push(new());
        items.len() - 1
    });
    &mut items[at]
}

pub(super) fn style_of(side: Side, number: usize) -> Style {
    match side {
        Side::Ours => Style::Ours(number),
        Side::Peer => Style::Peer(number),
        Side::Baseline => Style::Baseline(number),
    }
}

fn style_of_reference(reference: &Reference, number: usize) -> Style {
    match reference.whose {
        Whose::Talk => Style::Talk(number),
        Whose::Kernel => Style::Kernel(number),
    }
}

/// What stands beside a series, in units of this machine.
struct References<'m> {
    machine: &'m Machine,
    all: Vec<&'static Reference>,
}

impl<'m> References<'m> {
    fn none(machine: &'m Machine) -> Self {
        Self { machine, all: vec![] }
    }

    fn beside(series: &Series<'_>, machine: &'m Machine) -> Self {
        let is_beside =
            |reference: &&Reference| reference.bench == series.bench && series.name.starts_with(reference.series);
        Self { machine, all: REFERENCES.iter().filter(is_beside).collect() }
    }

    /// Each reference with its style: those of one origin differ by their dashes.
    fn styled(&self) -> impl Iterator<Item = (&'static Reference, Style)> {
        self.all.iter().enumerate().map(|(n, reference)| {
            let before = self.all[..n].iter().filter(|other| other.whose == reference.whose).count();
            (*reference, style_of_reference(reference, before))
        })
    }

    fn curves(&self) -> Vec<Curve> {
        let curve = |(reference, style): (&Reference, Style)| {
            let Shape::Points(points) = reference.shape else { return None };
            let points = points.iter().map(|&(x, amount)| {
                let (y, range) = amount.ns_on(self.machine);
                Point { x, y, range, noisy: false }
            });
            Some(Curve { name: reference.name.to_owned(), style, points: points.collect() })
        };
        self.styled().filter_map(curve).collect()
    }

    /// Places of the x axis for which there are figures of others.
    fn places(&self) -> impl Iterator<Item = f64> {
        let points = self.all.iter().filter_map(|reference| match reference.shape {
            Shape::Points(points) => Some(points),
            Shape::Level(_) | Shape::At(_) => None,
        });
        points.flatten().map(|(x, _)| *x)
    }

    fn marks(&self) -> Vec<Mark> {
        let mark = |(reference, style): (&Reference, Style)| {
            let name = reference.name.to_owned();
            match reference.shape {
                Shape::At(x) => Some(Mark::At { name, x }),
                Shape::Level(amount) => Some(Mark::Level { name, style, y: amount.ns_on(self.machine).0 }),
                Shape::Points(_) => None,
            }
        };
        self.styled().filter_map(mark).collect()
    }

    /// Single figures as bars.
    fn rows(&self) -> Vec<Row> {
        let row = |reference: &&Reference| {
            let (Shape::Points(&[(_, amount)]) | Shape::Level(amount)) = reference.shape else { return None };
            let (value, range) = amount.ns_on(self.machine);
            let bar = Bar { value, range, noisy: false };
            Some(Row {
                name: reference.name.to_owned(),
                style: style_of_reference(reference, 0),
                bars: vec![Some(bar)],
            })
        };
        self.all.iter().filter_map(row).collect()
    }
}
