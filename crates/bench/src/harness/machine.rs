//! The facts of the machine, without which no figure means anything.

use crate::event::Machine;
use std::fs;

/// Reads them from `/proc` and `/sys`.
pub(crate) fn facts(cpus: &[usize], tsc_ghz: Option<f64>, empty_ns: f64, locked_ns: f64) -> Machine {
    Machine {
        cpu: cpu_model(),
        cpus: cpus.to_vec(),
        tsc_ghz,
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        huge_pages: huge_pages(),
        mitigations: mitigations(),
        governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
            .unwrap_or_else(|| "none visible".into()),
        target: target(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        empty_ns,
        locked_ns,
    }
}

fn read(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn cpu_model() -> String {
    let info = read("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = info.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let Some(model) = field("model name") else { return std::env::consts::ARCH.to_owned() };
    match (field("cpu family"), field("model")) {
        (Some(family), Some(number)) => format!("{model} (family {family}, model {number})"),
        _ => model,
    }
}

/// What ours can be in (reserved ones, or shared memory), and the peers (anonymous memory).
fn huge_pages() -> String {
    let reserved = read("/proc/sys/vm/nr_hugepages").unwrap_or_else(|| "?".into());
    let mode = |file| chosen(&read(&format!("/sys/kernel/mm/transparent_hugepage/{file}")).unwrap_or_default());
    format!("{reserved} reserved; transparent: shared memory {}, anonymous {}", mode("shmem_enabled"), mode("enabled"))
}

/// The word in brackets.
fn chosen(words: &str) -> String {
    let inside = words.split('[').nth(1).and_then(|rest| rest.split(']').next());
    inside.unwrap_or("?").to_owned()
}

fn mitigations() -> Vec<String> {
    let Ok(folder) = fs::read_dir("/sys/devices/system/cpu/vulnerabilities") else { return Vec::new() };
    let mut all: Vec<String> = folder
        .flatten()
        .filter_map(|entry| {
            let answer = fs::read_to_string(entry.path()).ok()?;
            let answer = answer.trim();
            (answer != "Not affected").then(|| format!("{}: {answer}", entry.file_name().to_string_lossy()))
        })
        .collect();
    all.sort();
    all
}

/// What this program was compiled for, as far as it can matter: peers must be compiled for the same.
fn target() -> String {
    let level = if cfg!(target_feature = "avx512f") {
        " with AVX-512"
    } else if cfg!(target_feature = "avx2") {
        " with AVX2"
    } else if cfg!(target_feature = "sse4.2") {
        " with SSE4.2"
    } else {
        ", baseline"
    };
    format!("{}{level}", std::env::consts::ARCH)
}

/// Why figures of this machine are to be taken with care now, if they are: others use its CPUs, or the same work takes now this long and now that.
///
/// `spread` is that of the middle half of many short runs, as a share of their median.
pub(super) fn noise(cpus: usize, spread: f64) -> Option<String> {
    let load = fs::read_to_string("/proc/loadavg").ok();
    let load = load.and_then(|text| text.split(' ').next()?.parse::<f64>().ok()).unwrap_or(0.0);
    let said = [
        (load > 0.5 * cpus as f64).then(|| format!("its load is {load:.1} on {cpus} CPUs")),
        (spread > 0.1)
            .then(|| format!("the same work takes {:.0} % more or less from one moment to the next", 100.0 * spread)),
    ];
    let said = said.into_iter().flatten().collect::<Vec<_>>().join(", and ");
    (!said.is_empty()).then_some(said)
}

#[cfg(test)]
mod tests {
    use super::chosen;

    #[test]
    fn the_chosen_mode_is_in_brackets() {
        assert_eq!(
            ["always [madvise] never", "[always] never", "", "always"].map(chosen),
            ["madvise", "always", "?", "?"]
        );
    }
}
