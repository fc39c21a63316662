//! Which events make which drawing.

use super::axis::Scale;
use super::bars::{Bar, Bars, Block, Row};
use super::curve::{Curve, Mark, Plot, Point};
use super::plan::{Form, OTHER, PLANS, Plan};
use super::reference::{REFERENCES, Reference, Shape, Whose};
use super::series::{Column, Series, collect};
use super::svg::Style;
use crate::event::{Event, Machine, Side};
use std::collections::BTreeMap;

/// A heading, drawings, and what to say about them.
pub(super) struct Figure {
    pub(super) bench: String,
    pub(super) title: String,
    pub(super) caption: &'static str,
    /// None: not part of this run.
    pub(super) drawings: Vec<String>,
}

/// Most columns of bars side by side; more leave no room for their numbers.
const COLUMNS_MAX: usize = 3;

/// The figures of a run, in the order of the plan.
pub(super) fn figures(events: &[Event], machine: &Machine) -> Vec<Figure> {
    let mut left = collect(events);
    let mut figures = Vec::new();
    for plan in PLANS {
        let (mine, others) = left.into_iter().partition(|series| plan.is_of(series.bench, series.name));
        let mine: Vec<Series<'_>> = mine;
        left = others;
        if mine.is_empty() {
            figures.push(Figure { bench: plan.bench.into(), title: plan.title.into(), caption: "", drawings: vec![] });
        }
        figures.extend(mine.iter().map(|series| figure(plan, series, machine)));
    }
    figures.extend(left.iter().map(|series| figure(&OTHER, series, machine)));
    figures
}

fn figure(plan: &Plan, series: &Series<'_>, machine: &Machine) -> Figure {
    let title = if plan.title.is_empty() { series.name } else { plan.title };
    let references = References::beside(series, machine);
    let (times, counts) = (series.times(plan.per), series.counts());
    let drawings = match plan.form {
        Form::Table => {
            let columns: Vec<Column<'_>> = times.into_iter().chain(counts).collect();
            columns.chunks(COLUMNS_MAX).map(|columns| bars(series, columns, &References::none(machine))).collect()
        }
        Form::Bars => {
            let times = times.map(|times| bars(series, &[times], &references));
            let counts = counts.chunks(COLUMNS_MAX).map(|columns| bars(series, columns, &References::none(machine)));
            times.into_iter().chain(counts).collect()
        }
        Form::Curves { x, x_scale, y_scale } => {
            let axes = (x, x_scale, y_scale);
            let times = times.map(|times| curves(axes, series, times, &references)).unwrap_or_default();
            let none = References::none(machine);
            times.into_iter().chain(counts.into_iter().flat_map(|counts| curves(axes, series, counts, &none))).collect()
        }
    };
    Figure { bench: series.bench.to_owned(), title: title.to_owned(), caption: plan.caption, drawings }
}

/// The curves of a column; bars if all of it is at one place. Blocks of an order are shown per page, too.
fn curves(
    axes: (&str, Scale, Scale),
    series: &Series<'_>,
    column: Column<'_>,
    references: &References<'_>,
) -> Vec<String> {
    if !column.is_curve() {
        return vec![bars(series, &[column], references)];
    }
    let (x, x_scale, y_scale) = axes;
    let mut styles = Styles::default();
    let mut curves: Vec<Curve> = Vec::new();
    for value in &column.values {
        let name = column.curve_name(value);
        match curves.iter_mut().find(|curve| curve.name == name) {
            Some(curve) => curve.points.push(value.point),
            None => curves.push(Curve { style: styles.of(value.side, &name), name, points: vec![value.point] }),
        }
    }
    for curve in &mut curves {
        curve.points.sort_by(|a, b| f64::total_cmp(&a.x, &b.x));
    }
    curves.extend(references.curves());
    let is_time = column.unit.starts_with("ns");
    let plot = Plot {
        title: format!("{}: {} over {x}", series.bench, column.unit),
        x: (x.to_owned(), x_scale),
        y: (column.unit, y_scale),
        right: references.machine.tsc_ghz.filter(|_| is_time).map(|ghz| ("TSC cycles".to_owned(), ghz)),
        curves,
        marks: references.marks(),
    };
    if is_time && series.name == "order" { vec![plot.draw(), per_page(plot).draw()] } else { vec![plot.draw()] }
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
    let mut styles = Styles::default();
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
            || Row {
                name: value.name.to_owned(),
                style: styles.of(value.side, value.name),
                bars: vec![None; columns.len()],
            },
        );
        row.bars[n] = Some(Bar { value: value.point.y, range: value.point.range });
    }
    let elsewhere = references.rows();
    if !elsewhere.is_empty() {
        blocks.push(Block { name: "elsewhere".to_owned(), rows: elsewhere });
    }
    let columns: Vec<String> = columns.iter().map(|column| column.unit.clone()).collect();
    Bars { title: format!("{}: {}", series.bench, columns.join(", ")), columns, blocks }.draw()
}

/// The item that `is` it, made by `new` and put last if there is none.
fn place<T>(items: &mut Vec<T>, is: impl Fn(&T) -> bool, new: impl FnOnce() -> T) -> &mut T {
    let at = items.iter().position(is).unwrap_or_else(|| {
        items.push(new());
        items.len() - 1
    });
    &mut items[at]
}

/// Tells the contenders of each side apart by numbers, in the order in which they are asked for.
#[derive(Default)]
struct Styles(BTreeMap<(u8, String), usize>);

impl Styles {
    fn of(&mut self, side: Side, name: &str) -> Style {
        match side {
            Side::Ours => Style::Ours(self.number(0, name)),
            Side::Peer => Style::Peer(self.number(1, name)),
            Side::Baseline => Style::Baseline(self.number(2, name)),
        }
    }

    fn of_reference(&mut self, reference: &Reference) -> Style {
        match reference.whose {
            Whose::Talk => Style::Talk(self.number(3, reference.name)),
            Whose::Kernel => Style::Kernel(self.number(4, reference.name)),
        }
    }

    fn number(&mut self, kind: u8, name: &str) -> usize {
        let next = self.0.keys().filter(|(other, _)| *other == kind).count();
        *self.0.entry((kind, name.to_owned())).or_insert(next)
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
        let is_beside = |reference: &&Reference| {
            reference.bench == series.bench && (reference.series.is_empty() || reference.series == series.name)
        };
        Self { machine, all: REFERENCES.iter().filter(is_beside).collect() }
    }

    fn curves(&self) -> Vec<Curve> {
        let mut styles = Styles::default();
        let curve = |reference: &&Reference| {
            let Shape::Points(points) = reference.shape else { return None };
            let points = points.iter().map(|&(x, amount)| {
                let (y, range) = amount.ns_on(self.machine);
                Point { x, y, range }
            });
            let style = styles.of_reference(reference);
            Some(Curve { name: reference.name.to_owned(), style, points: points.collect() })
        };
        self.all.iter().filter_map(curve).collect()
    }

    fn marks(&self) -> Vec<Mark> {
        let mark = |reference: &&Reference| {
            let name = reference.name.to_owned();
            match reference.shape {
                Shape::At(x) => Some(Mark::At { name, x }),
                Shape::Level(amount) => Some(Mark::Level { name, y: amount.ns_on(self.machine).0 }),
                Shape::Points(_) => None,
            }
        };
        self.all.iter().filter_map(mark).collect()
    }

    /// Single figures as bars.
    fn rows(&self) -> Vec<Row> {
        let mut styles = Styles::default();
        let row = |reference: &&Reference| {
            let (Shape::Points(&[(_, amount)]) | Shape::Level(amount)) = reference.shape else { return None };
            let (value, range) = amount.ns_on(self.machine);
            let bar = Bar { value, range };
            Some(Row { name: reference.name.to_owned(), style: styles.of_reference(reference), bars: vec![Some(bar)] })
        };
        self.all.iter().filter_map(row).collect()
    }
}
