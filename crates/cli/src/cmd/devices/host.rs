//! The machine: kernel, capabilities, limits, huge pages.

use std::fs;
use std::path::Path;

use rustix::process::{Resource, getrlimit};
use serde::Serialize;
use waterwheel_dev::af_xdp::setcap;

use super::{Answer, Verdict};

/// One thing about the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Fact {
    pub(super) what: &'static str,
    pub(super) value: String,
    pub(super) answer: Answer,
}

/// What AF_XDP needs, with the bit of each in the kernel's capability sets (`include/uapi/linux/capability.h`).
const NEEDED: [(&str, u32); 3] = [("CAP_NET_RAW", 13), ("CAP_NET_ADMIN", 12), ("CAP_BPF", 39)];
const CAP_IPC_LOCK: u32 = 14;
/// Stands for CAP_BPF as well, and is what kernels before 5.8 ask for.
const CAP_SYS_ADMIN: u32 = 21;

/// Everything there is to say, in the order shown.
pub(super) fn facts(root: &Path) -> Vec<Fact> {
    let mut facts = vec![kernel(), cpus(), capabilities(root), locked_memory(root)];
    facts.extend(huge_pages(root));
    facts.extend(transparent_huge_pages(root));
    facts
}

/// The capabilities that an `afxdp:` device needs and this process lacks.
pub(crate) fn missing_capabilities(root: &Path) -> Vec<&'static str> {
    let status = fs::read_to_string(root.join("proc/self/status")).unwrap_or_default();
    // Without /proc nothing is known, and the kernel will have the say.
    effective(&status).map(missing).unwrap_or_default()
}

fn missing(set: u64) -> Vec<&'static str> {
    let has = |bit: u32| set >> bit & 1 == 1;
    let granted = |(name, bit): &(&str, u32)| has(*bit) || (*name == "CAP_BPF" && has(CAP_SYS_ADMIN));
    NEEDED.iter().filter(|needed| !granted(needed)).map(|(name, _)| *name).collect()
}

fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn kernel() -> Fact {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let answer = match version(&release) {
        // XDP links, which end with the process that holds them, came with 5.9; preferred busy polling with 5.11.
        Some(version) if version < (5, 9) => {
            Answer::new(Verdict::No, "afxdp: needs Linux 5.9 or newer (XDP links); the other devices work")
        }
        Some(version) if version < (5, 11) => Answer::new(Verdict::Ready, "without busy polling, which needs 5.11"),
        _ => Answer::new(Verdict::Ready, ""),
    };
    Fact { what: "kernel", value: format!("Linux {release}"), answer }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn cpus() -> Fact {
    let n = std::thread::available_parallelism().map_or(1, usize::from);
    let answer = if n == 1 {
        Answer::new(Verdict::Careful, "one worker shares it with everything else: --idle adaptive or sleep")
    } else {
        Answer::new(Verdict::Ready, "")
    };
    Fact { what: "CPUs", value: n.to_string(), answer }
}

fn capabilities(root: &Path) -> Fact {
    let missing = missing_capabilities(root);
    let has = NEEDED.iter().map(|(name, _)| *name).filter(|name| !missing.contains(name)).collect::<Vec<_>>();
    let value = if has.is_empty() { "none of those needed".to_owned() } else { has.join(" ") };
    let answer = if missing.is_empty() {
        Answer::new(Verdict::Ready, "")
    } else {
        let text = format!("afxdp: needs {} too: run as root, or once {}", missing.join(" and "), setcap());
        Answer::new(Verdict::No, text)
    };
    Fact { what: "capabilities", value, answer }
}

fn locked_memory(root: &Path) -> Fact {
    let status = fs::read_to_string(root.join("proc/self/status")).unwrap_or_default();
    let unlimited = effective(&status).is_some_and(|set| set >> CAP_IPC_LOCK & 1 == 1);
    let limit = getrlimit(Resource::Memlock).current;
    let value = limit.map_or_else(|| "unlimited".to_owned(), |bytes| format!("{} KiB", bytes / 1024));
    let answer = match limit {
        Some(_) if unlimited => Answer::new(Verdict::Ready, "CAP_IPC_LOCK lifts the limit"),
        // The memory of AF_XDP sockets is charged to this limit (net/xdp/xdp_umem.c); 64 MiB is a region of 16384 pages.
        Some(bytes) if bytes < 64 << 20 => Answer::new(
            Verdict::No,
            format!(
                "too little for afxdp: raise it with 'ulimit -l unlimited' or LimitMEMLOCK=, or lift it, once: {}",
                setcap()
            ),
        ),
        _ => Answer::new(Verdict::Ready, ""),
    };
    Fact { what: "locked memory", value, answer }
}

fn huge_pages(root: &Path) -> Option<Fact> {
    const POOL: &str = "sys/kernel/mm/hugepages/hugepages-2048kB";
    let number =
        |file: &str| -> Option<u64> { fs::read_to_string(root.join(POOL).join(file)).ok()?.trim().parse().ok() };
    let (total, free) = (number("nr_hugepages")?, number("free_hugepages")?);
    let answer = if free > 0 {
        Answer::new(Verdict::Ready, "")
    } else {
        Answer::new(Verdict::Optional, format!("fewer TLB misses with them: echo 64 > /{POOL}/nr_hugepages"))
    };
    Some(Fact { what: "huge pages", value: format!("{free} of {total} of 2 MiB free"), answer })
}

fn transparent_huge_pages(root: &Path) -> Option<Fact> {
    const FILE: &str = "sys/kernel/mm/transparent_hugepage/shmem_enabled";
    let text = fs::read_to_string(root.join(FILE)).ok()?;
    let chosen = text.split(['[', ']']).nth(1)?.to_owned();
    let answer = if matches!(chosen.as_str(), "always" | "within_size" | "advise" | "force") {
        Answer::new(Verdict::Ready, "")
    } else {
        Answer::new(Verdict::Optional, format!("the next best where no huge pages are reserved: echo advise > /{FILE}"))
    };
    Some(Fact { what: "transparent huge pages", value: format!("{chosen} (shared memory)"), answer })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_from_the_status_file() {
        assert_eq!(effective("Name:\tx\nCapEff:\t000001fffeffffff\nCapBnd:\t0\n"), Some(0x1ff_feff_ffff));
        assert_eq!(effective("nothing"), None);
        assert_eq!(missing(0x1ff_feff_ffff), Vec::<&str>::new());
        assert_eq!(missing(0), ["CAP_NET_RAW", "CAP_NET_ADMIN", "CAP_BPF"]);
        assert_eq!(missing(1 << 13 | 1 << 12), ["CAP_BPF"]);
        assert_eq!(missing(1 << 13 | 1 << 12 | 1 << 21), Vec::<&str>::new(), "CAP_SYS_ADMIN stands for CAP_BPF");
    }

    #[test]
    fn versions_compare() {
        assert_eq!(version("6.18.44-fc-v595"), Some((6, 18)));
        assert_eq!(version("5.4"), Some((5, 4)));
        assert_eq!(version("odd"), None);
        assert!(version("5.15.0") > version("5.9.1"));
    }
}
