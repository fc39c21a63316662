//! The page: everything in one file, without scripts.

use super::charts::Section;
use super::head;
use super::reference::SOURCES;
use super::svg::Escaped;
use super::tables;
use crate::event::{Event, Machine, Note};
use crate::harness::Program;
use crate::summary;
use std::fmt::Write as _;

const STYLE: &str = include_str!("style.css");

/// The page of a run; `command` is what made it.
pub(super) fn page(command: &str, machine: &Machine, sections: &[Section], events: &[Event]) -> String {
    let mut out = String::with_capacity(1 << 18);
    let _ = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <title>waterwheel bench: what packet memory costs</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <h1>What packet memory costs</h1>\n<p>Made by <code>{}</code></p>\n",
        Escaped(command),
    );
    head::write(&mut out, machine, events);
    contents(&mut out, sections);
    how_to_read(&mut out, machine);
    whole_run_notes(&mut out, events);
    let programs = crate::programs();
    for section in sections.iter().filter(|section| !section.figures.is_empty()) {
        let program = programs.iter().find(|program| program.name == section.bench);
        write_section(&mut out, section, program, events);
    }
    tables::targets(&mut out, events);
    tables::write(&mut out, events);
    facts(&mut out, machine);
    missing(&mut out, sections);
    out.push_str("<h2 id=\"sources\">Sources of the figures that this run did not measure</h2>\n<ul>");
    for source in SOURCES {
        let _ = write!(out, "<li>{}</li>", Escaped(source));
    }
    out.push_str("</ul>\n</body>\n</html>\n");
    out
}

fn facts(out: &mut String, machine: &Machine) {
    let cpus: Vec<String> = machine.cpus.iter().map(usize::to_string).collect();
    let tsc =
        machine.tsc_ghz.map_or_else(|| "not invariant: no cycles".to_owned(), |ghz| format!("{ghz:.3} GHz, invariant"));
    let mitigations = if machine.mitigations.is_empty() { "none".into() } else { machine.mitigations.join("; ") };
    out.push_str("<h2 id=\"machine\">The machine</h2>\n<div class=\"wide\"><table class=\"facts\">");
    for (name, value) in [
        ("CPU", machine.cpu.as_str()),
        ("CPUs used", &cpus.join(", ")),
        ("TSC", &tsc),
        ("governor", &machine.governor),
        ("kernel", &format!("Linux {}", machine.kernel)),
        ("huge pages", &machine.huge_pages),
        ("mitigations", &mitigations),
        ("waterwheel", &format!("{}, compiled for {}", machine.version, machine.target)),
        ("empty loop", &format!("{:.3} ns an iteration, subtracted everywhere", machine.empty_ns)),
        ("LOCKed increment", &format!("{:.2} ns", machine.locked_ns)),
    ] {
        let _ = write!(out, "<tr><th>{name}</th><td>{}</td></tr>", Escaped(value));
    }
    out.push_str("</table></div>\n");
}

fn how_to_read(out: &mut String, machine: &Machine) {
    let _ = writeln!(
        out,
        "<h2 id=\"reading\">How to read the rest</h2>\n<p>A <b>LOCKed increment</b> is one addition to a number in memory that no other CPU can come between (on x86 the \
         prefix LOCK): the least that any counter shared by CPUs costs, {:.2} ns here. It is the unit in which figures of other machines are compared with these.</p>",
        machine.locked_ns
    );
    out.push_str(
        "<ul class=\"legend\">\n\
         <li><span class=\"key ours0\">&#9679;</span> <b>Waterwheel</b>: filled marks, blue and green</li>\n\
         <li><span class=\"key peer0\">&#9675;</span> <b>peers</b>, measured in the same run, turn by turn: hollow marks, orange and red</li>\n\
         <li><span class=\"key base0\">&#9675;</span> neither: empty loop, LOCKed instructions, schemes rebuilt from the talk</li>\n\
         <li><span class=\"key talk\">- -</span> <b>the talk</b> of 2017, and <span class=\"key kernel\">- -</span> <b>the kernel's code</b>, measured elsewhere: \
         dashed, with a grey band where it is uncertain how to carry it over; not of this run (<a href=\"#sources\">sources</a>)</li>\n</ul>\n\
         <p>A figure is the median of its runs, the thin line through it reaches from the fastest run to the slowest (cut where one run was held up). All times are per \
         element, the empty loop subtracted. &#8220;Cycles&#8221; are TSC cycles. <b>~</b> marks noise: the middle half of the runs is wider than a tenth of the median. No axis is \
         stretched for it, and it is not to be quoted.</p>\n",
    );
}

fn whole_run_notes(out: &mut String, events: &[Event]) {
    // What warns stands at the top.
    let is_general = |note: &&Note| note.bench.is_empty() && !summary::is_warning(&note.text);
    for note in notes(events).filter(is_general) {
        let _ = writeln!(out, "<p class=\"note\">{}</p>", Escaped(&note.text));
    }
}

fn notes(events: &[Event]) -> impl Iterator<Item = &Note> {
    events.iter().filter_map(|event| match event {
        Event::Note(note) => Some(note),
        _ => None,
    })
}

/// Links to what is there.
fn contents(out: &mut String, sections: &[Section]) {
    out.push_str("<nav>");
    for Section { bench, title, .. } in sections.iter().filter(|section| !section.figures.is_empty()) {
        let _ = write!(out, "<a href=\"#{}\">{}</a> ", Escaped(bench), Escaped(title));
    }
    out.push_str(
        "<a href=\"#targets\">Targets</a> <a href=\"#ratios\">Ratios</a> <a href=\"#rows\">All rows</a> <a href=\"#machine\">The machine</a></nav>\n",
    );
}

/// What is not part of this run is said once, in a line.
fn missing(out: &mut String, sections: &[Section]) {
    let missing = sections.iter().filter(|section| section.figures.is_empty());
    let names: Vec<String> = missing.map(|section| format!("{} ({})", section.title, section.bench)).collect();
    if !names.is_empty() {
        let _ = writeln!(out, "<p class=\"note\">Not part of this run: {}.</p>", Escaped(&names.join("; ")));
    }
}

fn write_section(out: &mut String, section: &Section, program: Option<&Program>, events: &[Event]) {
    let (title, bench) = (Escaped(&section.title), Escaped(&section.bench));
    let _ = writeln!(out, "<section>\n<h2 id=\"{bench}\">{title} <small>{bench}</small></h2>");
    if let Some(program) = program {
        let answers = program.answers;
        let stop = if answers.ends_with('?') { "" } else { "." };
        let _ = writeln!(out, "<p>{}. Answers: {}{stop}</p>", Escaped(&capital(program.about)), Escaped(answers));
    }
    for figure in &section.figures {
        if section.figures.len() > 1 {
            let _ = writeln!(out, "<h3>{}</h3>", Escaped(&capital(&figure.title)));
        }
        for drawing in &figure.drawings {
            let _ = writeln!(out, "<figure>{drawing}</figure>");
        }
    }
    if !section.caption.is_empty() {
        let _ = writeln!(out, "<p>{}</p>", Escaped(section.caption));
    }
    for note in notes(events).filter(|note| note.bench == section.bench) {
        let case = if note.case.is_empty() { String::new() } else { format!("{}: ", note.case) };
        let _ = writeln!(out, "<p class=\"note\">{}</p>", Escaped(&format!("{case}{}", note.text)));
    }
    out.push_str("</section>\n");
}

/// Begins with a capital, as a sentence does; but `page_bench01` and `pcp HIGH` are names.
fn capital(text: &str) -> String {
    let word = text.split(' ').next().unwrap_or_default();
    match text.chars().next() {
        Some(first) if word.chars().all(|c| c.is_ascii_lowercase()) && word != "pcp" => {
            first.to_uppercase().chain(text.chars().skip(1)).collect()
        }
        _ => text.to_owned(),
    }
}
