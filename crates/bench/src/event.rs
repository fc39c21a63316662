//! What a run gives out, one event at a time: the text, the JSON lines, the report and the comparison are made of these.

use serde::{Deserialize, Serialize};

/// One line of `--json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// The machine; the first event of a run.
    Machine(Machine),
    /// A timing.
    Row(Row),
    /// Ours against a peer, of one case.
    Ratio(Ratio),
    /// A figure that is no time: a count, a share, bytes.
    Count(Count),
    /// A row that could not be measured, and why.
    Absent(Absent),
    /// Something that a reader of the rows has to know.
    Note(Note),
    /// A figure held against what is to be reached; the last events of a run.
    Target(Target),
}

impl Event {
    /// The program that it is of.
    pub(crate) fn bench(&self) -> Option<&str> {
        match self {
            Self::Machine(_) => None,
            Self::Row(row) => Some(&row.bench),
            Self::Ratio(ratio) => Some(&ratio.bench),
            Self::Count(count) => Some(&count.bench),
            Self::Absent(absent) => Some(&absent.bench),
            Self::Note(note) => Some(&note.bench),
            Self::Target(target) => Some(&target.bench),
        }
    }

    pub(crate) fn machine(&self) -> Option<&Machine> {
        if let Self::Machine(machine) = self { Some(machine) } else { None }
    }
}

/// Whose code a row measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Waterwheel's.
    Ours,
    /// Somebody else's, doing the same work.
    Peer,
    /// Neither: the empty loop, a locked instruction, a scheme rebuilt from the talk's slides.
    Baseline,
}

/// The time of one contender in one case. All times are per element, the empty loop subtracted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Program, such as `page_bench02`.
    pub bench: String,
    /// Case, such as `N=64`.
    pub case: String,
    /// The contender, such as `pool, put`.
    #[serde(rename = "impl")]
    pub implementation: String,
    /// Whose it is.
    pub side: Side,
    /// Which curve of the report the row is a point of.
    pub series: String,
    /// Where on the curve's x axis.
    pub x: f64,
    /// What exactly is done per element.
    pub work: String,
    /// Median, nanoseconds per element; the same as `median_ns`.
    pub ns: f64,
    /// Median in TSC cycles, where the TSC can be trusted.
    pub cycles: Option<f64>,
    /// Median in LOCKed increments of this run.
    pub locked: f64,
    /// Fastest run.
    pub min_ns: f64,
    /// Median of the runs.
    pub median_ns: f64,
    /// Slowest run.
    pub max_ns: f64,
    /// A quarter of the runs took less.
    pub q1_ns: f64,
    /// A quarter of the runs took more.
    pub q3_ns: f64,
    /// How many runs.
    pub runs: usize,
    /// Elements per run.
    pub elements: u64,
    /// What was subtracted for the loop itself, nanoseconds per element.
    pub empty_ns: f64,
    /// The middle half of the runs is wider than a tenth of the median: do not quote it.
    pub noisy: bool,
}

/// Ours / peer in time per element: below 1 is faster. Of pairs of neighbouring samples, so that a change of the machine's speed meets both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// Program.
    pub bench: String,
    /// Case.
    pub case: String,
    /// Ours.
    #[serde(rename = "impl")]
    pub implementation: String,
    /// The peer.
    pub peer: String,
    /// Median of the runs' ratios.
    pub ratio_median: f64,
    /// Least of them.
    pub ratio_min: f64,
    /// Greatest of them.
    pub ratio_max: f64,
    /// A quarter of them are less.
    pub ratio_q1: f64,
    /// A quarter of them are greater.
    pub ratio_q3: f64,
}

/// A figure that is no time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Count {
    /// Program.
    pub bench: String,
    /// Case.
    pub case: String,
    /// The contender.
    #[serde(rename = "impl")]
    pub implementation: String,
    /// Which curve of the report it is a point of.
    pub series: String,
    /// Where on the curve's x axis.
    pub x: f64,
    /// What was counted, such as `contended rmw/page`.
    pub what: String,
    /// The figure.
    pub value: f64,
}

/// A contender that could not be measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absent {
    /// Program.
    pub bench: String,
    /// Case.
    pub case: String,
    /// The contender.
    #[serde(rename = "impl")]
    pub implementation: String,
    /// Why.
    pub why: String,
}

/// A remark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Program; empty for the whole run.
    pub bench: String,
    /// Case; empty for the whole program.
    pub case: String,
    /// One or more sentences.
    pub text: String,
}

/// A figure held against what is to be reached; lower is better.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// What is done.
    pub work: String,
    /// Beside what: a peer of the same run, or somebody else's figure from elsewhere.
    pub beside: String,
    /// Unit of the figures: `x` (ours / the other's), `LOCKed` increments of the run, or what was counted.
    pub unit: String,
    /// Program.
    pub bench: String,
    /// Case; empty where the worst of all is meant.
    pub case: String,
    /// Our contender.
    #[serde(rename = "impl")]
    pub implementation: String,
    /// The median; none where it was not measured.
    pub value: Option<f64>,
    /// Where its spread begins: a quarter of the rounds are below (of several processes: the least of their medians).
    pub low: Option<f64>,
    /// Where it ends.
    pub high: Option<f64>,
    /// To be reached.
    pub reach: f64,
    /// To be aimed at, if there is more to be had.
    pub aim: Option<f64>,
    /// Whether it is.
    pub verdict: Verdict,
    /// What has to be read with it: what was counted.
    pub remarks: Vec<String>,
}

/// What a figure says of its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// What was aimed at, also at the end of the spread.
    Aim,
    /// What was to be reached, also at the end of the spread.
    Reached,
    /// Not reached, nor at the beginning of the spread.
    Missed,
    /// The spread lies on both sides of what was to be reached.
    Unresolved,
    /// Not measured.
    Absent,
}

impl Verdict {
    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aim => "aim",
            Self::Reached => "reached",
            Self::Missed => "missed",
            Self::Unresolved => "not resolvable above the noise",
            Self::Absent => "not measured",
        }
    }
}

/// What the figures were taken on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// CPU model.
    pub cpu: String,
    /// CPUs that the run may use.
    pub cpus: Vec<usize>,
    /// TSC ticks per nanosecond, where the TSC is invariant.
    pub tsc_ghz: Option<f64>,
    /// Kernel release.
    pub kernel: String,
    /// Huge pages reserved, and the mode of transparent ones for shared memory.
    pub huge_pages: String,
    /// The kernel's answers to the CPU's vulnerabilities, those that are not "Not affected".
    pub mitigations: Vec<String>,
    /// Frequency governor, or that there is none to see.
    pub governor: String,
    /// Instruction set that this program was compiled for.
    pub target: String,
    /// Version of Waterwheel.
    pub version: String,
    /// Cost of one iteration of an empty loop, ns: it is subtracted from every row.
    pub empty_ns: f64,
    /// Cost of one LOCKed increment, ns: the unit of `locked`.
    pub locked_ns: f64,
}

#[cfg(test)]
impl Machine {
    /// One for tests, of which nothing but the unit matters.
    pub(crate) fn sample(locked_ns: f64) -> Self {
        let text = || "x".to_owned();
        Self {
            cpu: text(),
            cpus: vec![0, 1],
            tsc_ghz: None,
            kernel: text(),
            huge_pages: text(),
            mitigations: vec![],
            governor: text(),
            target: text(),
            version: text(),
            empty_ns: 0.2,
            locked_ns,
        }
    }
}
