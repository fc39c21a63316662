//! Options that stand for keys of a device. They are looked at as they were typed: nobody knows what is wrong with a spec that he has not written.

use std::fmt::Display;

use waterwheel_dev::af_xdp::Rules;
use waterwheel_dev::generator::GenParams;
use waterwheel_dev::pcap::PcapWriteParams;
use waterwheel_dev::spec::{Kind, Problem, Spec, SpecError};

use crate::args::{Capture, Traffic};
use crate::engine::capture::FILTER_KEYS;
use crate::failure::{Class, Failure};

/// The generator of `generate`.
///
/// # Errors
/// A key that the generator has not, a value that it does not take, or one that is given twice.
pub(crate) fn traffic(options: &Traffic) -> Result<Spec, Failure> {
    let (mut source, mut params) = (Spec::new(Kind::Gen, ""), GenParams::default());
    for text in &options.r#gen {
        let mut keys = listed("--gen", text)?;
        check("--gen", text, &keys, GenParams::KEYS, |key, value| params.set(key, value))?;
        source.options.append(&mut keys);
    }
    for (key, value) in options.keys() {
        refuse_twice(key, &source, "--gen")?;
        one(key, value, GenParams::KEYS, |key, value| params.set(key, value))?;
        source.options.push((key.to_owned(), value.to_owned()));
    }
    Ok(source)
}

/// The file that `capture` writes, with what is captured and how.
///
/// # Errors
/// The name of another device, or of a key; a value that it does not take.
pub(crate) fn capture_file(args: &Capture) -> Result<Spec, Failure> {
    let mut file = match kind_of(&args.file) {
        Some(Kind::Pcap) => Spec::parse(&args.file)?,
        Some(_) => {
            let name = &args.file;
            let message = format!(
                "'{name}' is a device, and a capture is written to a file: 'waterwheel capture DEVICE FILE --to {name}' also sends what is captured there; for a file that is called so, write './{name}'"
            );
            return Err(Failure::new(Class::Usage, message));
        }
        None => Spec::new(Kind::Pcap, args.file.clone()),
    };
    if let Some(text) = &args.captured.filter {
        let (mut keys, mut rules) = (listed("--filter", text)?, Rules::default());
        check("--filter", text, &keys, FILTER_KEYS, |key, value| rules.add(format!("{key}={value}").parse()?))?;
        file.options.append(&mut keys);
    }
    let mut params = PcapWriteParams::default();
    for (key, value) in args.captured.keys() {
        refuse_twice(key, &file, "pcap:")?;
        one(key, value, PcapWriteParams::KEYS, |key, value| params.set(key, value))?;
        file.options.push((key.to_owned(), value.to_owned()));
    }
    Ok(file)
}

/// The kind of device that `name` begins with the name of.
fn kind_of(name: &str) -> Option<Kind> {
    let (kind, _) = name.split_once(':')?;
    Kind::ALL.into_iter().find(|known| known.as_str() == kind)
}

/// Whether only some packets are written to this file.
pub(crate) fn chooses(file: &Spec) -> bool {
    FILTER_KEYS.iter().any(|(key, _)| file.option(key).is_some())
}

pub(crate) fn refuse_twice(key: &str, spec: &Spec, elsewhere: &str) -> Result<(), Failure> {
    if spec.option(key).is_none() {
        return Ok(());
    }
    let message = format!("'{key}' is given twice, as --{key} and in {elsewhere}: leave one of them out");
    Err(Failure::new(Class::Usage, message))
}

/// The keys of an option whose value is a list of them; at least one.
fn listed(option: &str, text: &str) -> Result<Vec<(String, String)>, SpecError> {
    let typed = |problem| SpecError { spec: format!("{option} {text}"), problem };
    let keys = Spec::parse(&format!("gen:{text}")).map_err(|error| typed(error.problem))?.options;
    if keys.is_empty() { Err(typed(Problem::EmptyKey)) } else { Ok(keys) }
}

/// Whether the keys of an option, which was typed as `text`, have values that they can have.
fn check<E: Display>(
    option: &str,
    text: &str,
    keys: &[(String, String)],
    known: &[(&'static str, &str)],
    set: impl FnMut(&str, &str) -> Result<(), E>,
) -> Result<(), SpecError> {
    let spec = Spec { options: keys.to_vec(), ..Spec::new(Kind::Gen, "") };
    spec.apply(known, set).map_err(|error| SpecError { spec: format!("{option} {text}"), ..error })
}

/// The same of an option that is called as its key: the reason need not name the key again.
fn one<E: Display>(
    key: &str,
    value: &str,
    known: &[(&'static str, &str)],
    mut set: impl FnMut(&str, &str) -> Result<(), E>,
) -> Result<(), SpecError> {
    let named = format!("{key}={value}: ");
    let without = |error: E| {
        let reason = error.to_string();
        reason.strip_prefix(&named).map_or_else(|| reason.clone(), str::to_owned)
    };
    let keys = [(key.to_owned(), value.to_owned())];
    check(&format!("--{key}"), value, &keys, known, |key, value| set(key, value).map_err(without))
}
