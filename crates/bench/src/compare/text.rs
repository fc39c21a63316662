//! A comparison as text.

use super::{Change, Comparison, FEWEST_RUNS, Key, LEAST_CHANGE};
use crate::event::{Machine, Row, Side};
use crate::harness::Summary;
use crate::output::figure;
use std::io::{self, Write};

impl Comparison<'_> {
    /// Writes what changed: ours, then the others' rows, then the counts.
    ///
    /// # Errors
    /// Of `out`.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        self.write_machines(out)?;
        for (change, title) in [(Change::Slower, "slower"), (Change::Faster, "faster")] {
            self.write_changed(out, change, title)?;
        }
        self.write_missing(out)?;
        self.write_counts(out)?;
        self.write_summary(out)
    }

    fn write_machines(&self, out: &mut dyn Write) -> io::Result<()> {
        let (old, new) = (&self.old.machine, &self.new.machine);
        let cpus = |machine: &Machine| machine.cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        for (what, old, new) in [
            ("CPU", old.cpu.clone(), new.cpu.clone()),
            ("CPUs used", cpus(old), cpus(new)),
            ("kernel", old.kernel.clone(), new.kernel.clone()),
            ("mitigations", old.mitigations.join("; "), new.mitigations.join("; ")),
            ("governor", old.governor.clone(), new.governor.clone()),
            ("huge pages", old.huge_pages.clone(), new.huge_pages.clone()),
            ("compiled for", old.target.clone(), new.target.clone()),
        ] {
            if old != new {
                writeln!(out, "warning: the machines differ: {what}: {old} before, {new} now")?;
            }
        }
        let (old, new) = (old.locked_ns, new.locked_ns);
        writeln!(out, "a LOCKed increment took {old:.2} ns before, {new:.2} ns now ({})", percent(old, new))
    }

    fn write_changed(&self, out: &mut dyn Write, wanted: Change, title: &str) -> io::Result<()> {
        let mut pairs: Vec<_> = self.pairs().filter(|(old, new)| self.change(old, new) == wanted).collect();
        if pairs.is_empty() {
            return Ok(());
        }
        pairs.sort_by_key(|(_, new)| new.side as u8);
        writeln!(out, "\n{title}, ns per element (fastest .. slowest run), before -> now:")?;
        for (old, new) in pairs {
            let whose = match new.side {
                Side::Ours => "",
                Side::Peer => " (peer: not ours, does not count)",
                Side::Baseline => " (neither side's, does not count)",
            };
            let (by, times) = (percent(old.median_ns, new.median_ns), format!("{} -> {}", range(old), range(new)));
            writeln!(out, "  {by:>8}  {}/{}: {}  {times}{whose}", new.bench, new.case, new.implementation)?;
        }
        Ok(())
    }

    fn write_missing(&self, out: &mut dyn Write) -> io::Result<()> {
        for (title, these, those) in [("gone", &self.old.rows, &self.new.rows), ("new", &self.new.rows, &self.old.rows)]
        {
            let only: Vec<&Key> = these.keys().filter(|key| !those.contains_key(*key)).collect();
            if !only.is_empty() {
                writeln!(out, "\n{title}:")?;
            }
            for (bench, case, contender, _) in only {
                writeln!(out, "  {bench}/{case}: {contender}")?;
            }
        }
        Ok(())
    }

    /// Whether more is better, a count does not say: it is shown and decides nothing.
    fn write_counts(&self, out: &mut dyn Write) -> io::Result<()> {
        let both = self.new.counts.iter().filter_map(|(key, new)| Some((self.old.counts.get(key)?, new)));
        let changed = |old: f64, new: f64| (new - old).abs() > LEAST_CHANGE * old.abs().max(new.abs());
        let changed: Vec<_> = both.filter(|(old, new)| changed(old.value, new.value)).collect();
        if !changed.is_empty() {
            writeln!(out, "\ncounts that changed (for better or worse: they decide nothing):")?;
        }
        for (old, new) in changed {
            let names = format!("{}/{}: {}", new.bench, new.case, new.implementation);
            let by = percent(old.value, new.value);
            writeln!(out, "  {by:>8}  {names}: {}: {} -> {}", new.what, figure(old.value), figure(new.value))?;
        }
        Ok(())
    }

    fn write_summary(&self, out: &mut dyn Write) -> io::Result<()> {
        let ours = || self.pairs().filter(|(_, new)| new.side == Side::Ours);
        let count = |change| ours().filter(|(old, new)| self.change(old, new) == change).count();
        let (slower, faster, unclear) = (count(Change::Slower), count(Change::Faster), count(Change::Unclear));
        let few = ours().filter(|(old, new)| old.runs.min(new.runs) < FEWEST_RUNS).count();
        writeln!(out, "\n{} of our rows compared: {slower} slower, {faster} faster", ours().count())?;
        if unclear > 0 {
            writeln!(
                out,
                "{unclear} more have another median, but their runs overlap: noise, for all that can be said"
            )?;
        }
        if few > 0 {
            writeln!(out, "{few} have fewer than {FEWEST_RUNS} runs and were not judged")?;
        }
        if self.old.processes.min(self.new.processes) == 1 {
            writeln!(
                out,
                "of one process each: where memory happens to lie can change rows as much; files with several runs know better"
            )?;
        }
        let others = self.pairs().filter(|(_, new)| new.side != Side::Ours);
        let drift: Vec<f64> =
            others.map(|(old, new)| new.median_ns / old.median_ns).filter(|r| r.is_finite()).collect();
        if !drift.is_empty() {
            let drift = Summary::of(&drift).median;
            writeln!(out, "what is not ours (peers, baselines) changed by {} in the median", percent(1.0, drift))?;
        }
        Ok(())
    }
}

fn percent(old: f64, new: f64) -> String {
    if old == 0.0 {
        return "from 0".to_owned();
    }
    format!("{:+.1}%", 100.0 * (new / old - 1.0))
}

fn range(row: &Row) -> String {
    format!("{} ({} .. {})", figure(row.median_ns), figure(row.min_ns), figure(row.max_ns))
}
