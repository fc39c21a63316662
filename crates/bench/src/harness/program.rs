//! Programs, their cases, and choosing among them by name.

use super::session::{Interrupted, Session};
use crate::harness::Group;
use std::time::Instant;

/// A program: cases of one kind, named after the original that they answer.
pub struct Program {
    /// Such as `page_bench02`.
    pub name: &'static str,
    /// What it measures.
    pub about: &'static str,
    /// Which slide or program it answers.
    pub answers: &'static str,
    /// Remarks without which the figures would be misread; given out before the first case.
    pub notes: Vec<&'static str>,
    /// In the order in which they run.
    pub cases: Vec<Case>,
}

/// One case: a point on some of the report's curves.
pub struct Case {
    /// Such as `N=64`.
    pub name: String,
    /// Which curve it is a point of, such as `outstanding`.
    pub series: &'static str,
    /// Where on the x axis.
    pub x: f64,
    /// Sets the contenders up and measures them.
    body: CaseBody,
}

type CaseBody = Box<dyn Fn(&mut Group<'_, '_>) -> Result<(), Interrupted>>;

impl Case {
    /// A case whose `body` gives contenders to the group and then has them measured.
    pub fn new(
        name: impl Into<String>,
        series: &'static str,
        x: impl Into<f64>,
        body: impl Fn(&mut Group<'_, '_>) -> Result<(), Interrupted> + 'static,
    ) -> Self {
        Self { name: name.into(), series, x: x.into(), body: Box::new(body) }
    }
}

impl Program {
    /// Tells whether all cases were run before `deadline`.
    pub(crate) fn run(&self, session: &mut Session<'_>, deadline: Option<Instant>) -> Result<bool, Interrupted> {
        let is_late = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if !is_late() {
            self.notes.iter().for_each(|text| session.note(self.name, "", text));
        }
        for case in &self.cases {
            if is_late() {
                return Ok(false);
            }
            (case.body)(&mut Group::new(session, self.name, case))?;
        }
        Ok(true)
    }
}

/// A name given that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownName {
    /// No such program.
    #[error("there is no bench `{name}`; there are: {}", known.join(", "))]
    Bench {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The program has no such case.
    #[error("`{bench}` has no case `{name}`; it has: {}", known.join(", "))]
    Case {
        /// The program.
        bench: String,
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
}

/// The programs and cases that `names` asks for: `BENCH` or `BENCH/CASE`; everything when there are none.
pub(crate) fn select(programs: Vec<Program>, names: &[String]) -> Result<Vec<Program>, UnknownName> {
    if names.is_empty() {
        return Ok(programs);
    }
    let mut wanted: Vec<(usize, Option<&str>)> = Vec::new();
    for name in names {
        let (bench, case) = name.split_once('/').map_or((name.as_str(), None), |(bench, case)| (bench, Some(case)));
        let Some(found) = programs.iter().position(|program| program.name == bench) else {
            let known = programs.iter().map(|program| program.name.to_owned()).collect();
            return Err(UnknownName::Bench { name: bench.to_owned(), known });
        };
        let cases = &programs[found].cases;
        if let Some(name) = case.filter(|name| cases.iter().all(|case| case.name != *name)) {
            let known = cases.iter().map(|case| case.name.clone()).collect();
            return Err(UnknownName::Case { bench: bench.to_owned(), name: name.to_owned(), known });
        }
        wanted.push((found, case));
    }
    let mut selected = Vec::new();
    for (i, mut program) in programs.into_iter().enumerate() {
        let asked: Vec<Option<&str>> = wanted.iter().filter(|(found, _)| *found == i).map(|(_, case)| *case).collect();
        program.cases.retain(|case| asked.iter().any(|name| name.is_none_or(|name| name == case.name)));
        if !asked.is_empty() {
            selected.push(program);
        }
    }
    Ok(selected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Vec<Program> {
        let case = |name: &str| Case::new(name, "s", 0, |_| Ok(()));
        let program = |name| Program { name, about: "", answers: "", notes: vec![], cases: vec![case("a"), case("b")] };
        vec![program("one"), program("two")]
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_program_or_one_of_its_cases_can_be_asked_for() {
        let chosen = select(some(), &names(&["two/b"])).expect("known");
        assert_eq!((chosen.len(), chosen[0].name, chosen[0].cases.len()), (1, "two", 1));
        assert_eq!(select(some(), &names(&["two", "two/b"])).expect("known")[0].cases.len(), 2);
        assert_eq!(select(some(), &[]).expect("all").len(), 2);
    }

    #[test]
    fn an_unknown_name_gets_the_list_of_names() {
        let error = |name| select(some(), &names(&[name])).err().expect("unknown").to_string();
        assert_eq!(error("three"), "there is no bench `three`; there are: one, two");
        assert_eq!(error("one/c"), "`one` has no case `c`; it has: a, b");
    }
}
