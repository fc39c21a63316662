//! How a figure comes about.
//!
//! The contenders of one case are measured turn by turn (ours, peer, ours, peer ...), so that whatever else the machine does meets all of them. For each:
//!
//! 1. the number of iterations is found for which a run takes the wanted time (which warms up, too);
//! 2. before each run a tenth of it goes unmeasured, as the others have used the caches meanwhile;
//! 3. the empty loop is subtracted;
//! 4. minimum, median and maximum of the runs are given out, and the ratios of neighbouring runs.
//!
//! What a loop works on must be opaque to the compiler, the state of the pool as well as the page: bodies pass both through [`std::hint::black_box`] by mutable
//! reference in every iteration, after which the compiler has to take every field for changed. A loop that takes no time however long it is made is
//! reported as optimised away.

use super::clock::Clock;
use super::program::Case;
use super::session::{Interrupted, Session};
use super::summary::Summary;
use crate::event::{Absent, Count, Event, Ratio, Row, Side};

/// A stretch of time, and what was done in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lap {
    /// Ticks of the session's clock.
    pub(crate) ticks: u64,
    /// Elements that were worked on.
    pub(crate) elements: u64,
}

/// Runs a number of iterations and tells how long they took, or why that cannot be told.
type Body = Box<dyn FnMut(u64) -> Result<Lap, String>>;

struct Contender {
    implementation: String,
    side: Side,
    work: String,
    /// The body is a plain loop, whose own cost is subtracted.
    is_loop: bool,
    body: Body,
    /// Iterations of a run.
    loops: u64,
    /// Elements of a run.
    elements: u64,
    /// Nanoseconds per element, run by run.
    samples: Vec<f64>,
    /// Why it is measured no further.
    failure: Option<String>,
}

impl Contender {
    /// Runs a number of iterations, unless it has failed.
    fn run(&mut self, loops: u64) -> Option<Lap> {
        if self.failure.is_some() {
            return None;
        }
        (self.body)(loops).map_err(|why| self.failure = Some(why)).ok()
    }
}

/// The contenders of one case.
pub struct Group<'g, 'a> {
    session: &'g mut Session<'a>,
    bench: &'static str,
    case: &'g Case,
    contenders: Vec<Contender>,
    /// Of the contenders measured last: name, and nanoseconds per element run by run.
    measured: Vec<(String, Vec<f64>)>,
}

/// A loop that is this long and still takes no time does nothing.
const LONGEST_LOOP: u64 = 1 << 36;

impl<'g, 'a> Group<'g, 'a> {
    pub(crate) fn new(session: &'g mut Session<'a>, bench: &'static str, case: &'g Case) -> Self {
        Self { session, bench, case, contenders: Vec::new(), measured: Vec::new() }
    }

    /// The run as a whole.
    pub fn session(&self) -> &Session<'a> {
        self.session
    }

    pub(crate) fn clock(&self) -> Clock {
        self.session.clock()
    }

    /// A contender: `body` is a loop of as many iterations as it is told, each working on `step` elements; `work` says what is done with one.
    pub fn ours(
        &mut self,
        name: impl Into<String>,
        work: impl Into<String>,
        step: u64,
        body: impl FnMut(u64) + 'static,
    ) {
        self.looped(Side::Ours, name.into(), work.into(), step, body);
    }

    /// The same, of somebody else's.
    pub fn peer(
        &mut self,
        name: impl Into<String>,
        work: impl Into<String>,
        step: u64,
        body: impl FnMut(u64) + 'static,
    ) {
        self.looped(Side::Peer, name.into(), work.into(), step, body);
    }

    /// The same, of neither side.
    pub fn baseline(
        &mut self,
        name: impl Into<String>,
        work: impl Into<String>,
        step: u64,
        body: impl FnMut(u64) + 'static,
    ) {
        self.looped(Side::Baseline, name.into(), work.into(), step, body);
    }

    /// The same, of the given side.
    pub(crate) fn looped(
        &mut self,
        side: Side,
        implementation: String,
        work: String,
        step: u64,
        mut body: impl FnMut(u64) + 'static,
    ) {
        let clock = self.clock();
        let body = Box::new(move |loops| {
            let begin = clock.now();
            body(loops);
            Ok(Lap { ticks: clock.now() - begin, elements: loops * step })
        });
        self.add(side, implementation, work, true, body);
    }

    /// A contender that takes the time itself, as it has threads or processes to start; nothing is subtracted. It is told about how many elements to work on. If it fails (a process that
    /// dies), it is absent, and the others go on.
    pub(crate) fn fallible(
        &mut self,
        side: Side,
        name: impl Into<String>,
        work: impl Into<String>,
        body: impl FnMut(u64) -> Result<Lap, String> + 'static,
    ) {
        self.add(side, name.into(), work.into(), false, Box::new(body));
    }

    fn add(&mut self, side: Side, implementation: String, work: String, is_loop: bool, body: Body) {
        self.contenders.push(Contender {
            implementation,
            side,
            work,
            is_loop,
            body,
            loops: 0,
            elements: 0,
            samples: Vec::new(),
            failure: None,
        });
    }

    /// Says that a contender cannot be measured.
    pub fn absent(&mut self, name: impl Into<String>, why: impl Into<String>) {
        self.session.emit(&Event::Absent(Absent {
            bench: self.bench.to_owned(),
            case: self.case.name.clone(),
            implementation: name.into(),
            why: why.into(),
        }));
    }

    /// Gives out a figure that is no time.
    pub fn count(&mut self, name: impl Into<String>, what: impl Into<String>, value: f64) {
        self.session.emit(&Event::Count(Count {
            bench: self.bench.to_owned(),
            case: self.case.name.clone(),
            implementation: name.into(),
            series: self.case.series.to_owned(),
            x: self.case.x,
            what: what.into(),
            value,
        }));
    }

    /// Gives out a remark on this case.
    pub fn note(&mut self, text: &str) {
        self.session.note(self.bench, &self.case.name, text);
    }

    /// Median nanoseconds per element of a contender that was measured by the last [`measure`](Self::measure).
    pub(crate) fn median_ns(&self, name: &str) -> Option<f64> {
        self.samples(name).map(|samples| Summary::of(samples).median)
    }

    fn samples(&self, name: &str) -> Option<&[f64]> {
        self.measured.iter().find(|(measured, _)| measured == name).map(|(_, samples)| samples.as_slice())
    }

    /// Gives out the ratio of two contenders that were measured by the last [`measure`](Self::measure), under the given names: for two of ours, which are not compared else.
    pub(crate) fn compare(&mut self, [ours, other]: [&str; 2], [name, other_name]: [&str; 2]) {
        if let (Some(ours), Some(other)) = (self.samples(ours), self.samples(other)) {
            let ratio = self.ratio([name, other_name], ours, other);
            self.session.emit(&Event::Ratio(ratio));
        }
    }

    /// Measures the contenders, gives out their rows and ratios, and lets them go.
    ///
    /// # Errors
    /// Interrupted: this case gives nothing out.
    pub fn measure(&mut self) -> Result<(), Interrupted> {
        let mut contenders = std::mem::take(&mut self.contenders);
        for contender in &mut contenders {
            self.calibrate(contender)?;
        }
        for run in 0..self.session.runs() {
            // A B, B A, A B ...: nobody is always the one who comes after the other.
            let forth = contenders.len() * usize::from(run % 2 == 0);
            for i in (0..forth).chain((forth..contenders.len()).rev()) {
                self.sample(&mut contenders[i])?;
            }
        }
        for contender in contenders.extract_if(.., |contender| contender.failure.is_some()) {
            self.absent(contender.implementation, contender.failure.unwrap_or_default());
        }
        for contender in &contenders {
            let row = self.row(contender);
            self.session.emit(&Event::Row(row));
        }
        let of = |side| contenders.iter().filter(move |contender| contender.side == side);
        for ours in of(Side::Ours) {
            for peer in of(Side::Peer) {
                let names = [ours, peer].map(|contender| contender.implementation.as_str());
                let ratio = self.ratio(names, &ours.samples, &peer.samples);
                self.session.emit(&Event::Ratio(ratio));
            }
        }
        self.measured = contenders.into_iter().map(|contender| (contender.implementation, contender.samples)).collect();
        Ok(())
    }

    /// Finds how many iterations take the wanted time.
    fn calibrate(&self, contender: &mut Contender) -> Result<(), Interrupted> {
        let (clock, wanted) = (self.clock(), self.session.sample().as_nanos() as f64);
        let mut loops = 1;
        loop {
            self.session.check()?;
            let Some(lap) = contender.run(loops) else { return Ok(()) };
            let mut took = clock.ns(lap.ticks);
            if took >= wanted / 4.0 {
                // Once more: if it was interrupted for a millisecond, a single iteration would look like enough.
                let Some(lap) = contender.run(loops) else { return Ok(()) };
                took = took.min(clock.ns(lap.ticks));
            }
            if took >= wanted / 4.0 {
                contender.loops = ((loops as f64 * wanted / took) as u64).max(1);
                return Ok(());
            }
            if loops >= LONGEST_LOOP {
                contender.failure = Some("the loop takes no time: it was optimised away".to_owned());
                return Ok(());
            }
            // From what is known now, but not too far at once: the first runs pay for cold caches and first touches.
            let factor = if took > 0.0 { (wanted / 2.0 / took).clamp(2.0, 10.0) } else { 10.0 };
            loops = (loops as f64 * factor) as u64;
        }
    }

    /// One run of one contender.
    fn sample(&self, contender: &mut Contender) -> Result<(), Interrupted> {
        self.session.check()?;
        contender.run(contender.loops / 10 + 1);
        if let Some(lap) = contender.run(contender.loops) {
            contender.elements = lap.elements;
            let sample = self.per_element(contender, lap);
            contender.samples.push(sample);
        }
        Ok(())
    }

    fn per_element(&self, contender: &Contender, lap: Lap) -> f64 {
        let empty = if contender.is_loop { self.session.baseline_ns().0 * contender.loops as f64 } else { 0.0 };
        ((self.clock().ns(lap.ticks) - empty) / lap.elements.max(1) as f64).max(0.0)
    }

    fn row(&self, contender: &Contender) -> Row {
        let summary = Summary::of(&contender.samples);
        let (empty_ns, locked_ns) = self.session.baseline_ns();
        Row {
            bench: self.bench.to_owned(),
            case: self.case.name.clone(),
            implementation: contender.implementation.clone(),
            side: contender.side,
            series: self.case.series.to_owned(),
            x: self.case.x,
            work: contender.work.clone(),
            ns: summary.median,
            cycles: self.clock().ghz().map(|ghz| summary.median * ghz),
            locked: summary.median / locked_ns,
            min_ns: summary.min,
            median_ns: summary.median,
            max_ns: summary.max,
            q1_ns: summary.q1,
            q3_ns: summary.q3,
            runs: contender.samples.len(),
            elements: contender.elements,
            empty_ns: if contender.is_loop {
                empty_ns * contender.loops as f64 / contender.elements.max(1) as f64
            } else {
                0.0
            },
            noisy: summary.is_noisy(),
        }
    }

    fn ratio(&self, [ours, peer]: [&str; 2], samples: &[f64], peers: &[f64]) -> Ratio {
        let ratios: Vec<f64> = std::iter::zip(samples, peers).map(|(ours, peer)| ours / peer).collect();
        let summary = Summary::of(&ratios);
        Ratio {
            bench: self.bench.to_owned(),
            case: self.case.name.clone(),
            implementation: ours.to_owned(),
            peer: peer.to_owned(),
            ratio_median: summary.median,
            ratio_min: summary.min,
            ratio_max: summary.max,
            ratio_q1: summary.q1,
            ratio_q3: summary.q3,
        }
    }
}

#[cfg(test)]
mod tests;
