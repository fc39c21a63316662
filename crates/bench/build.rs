//! Compiles the loops around DPDK's inline functions (`src/peers/dpdk/*.c`), where the feature `peers` asks for them and libdpdk is installed.
//!
//! Sets the cfg `dpdk` if that worked. Nothing here fails the build: without DPDK its rows say why they are absent, in the words of `WATERWHEEL_DPDK`.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(dpdk)");
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "peers")]
    dpdk::build();
}

#[cfg(feature = "peers")]
mod dpdk {
    use std::env;
    use std::path::Path;
    use std::process::Command;

    /// What the loops need of DPDK's fifty libraries; the driver of the pools behind `rte_mempool` is a plugin, which DPDK loads itself.
    const LIBRARIES: [&str; 4] = ["rte_eal", "rte_mempool", "rte_mbuf", "rte_ring"];
    const LOOPS: [&str; 3] = ["src/peers/dpdk/dpdk.c", "src/peers/dpdk/pool.c", "src/peers/dpdk/ring.c"];
    const HEADER: &str = "src/peers/dpdk/dpdk.h";

    pub(super) fn build() {
        for path in LOOPS.iter().chain([&HEADER]) {
            println!("cargo::rerun-if-changed={path}");
        }
        for variable in ["PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR", "CC", "CFLAGS"] {
            println!("cargo::rerun-if-env-changed={variable}");
        }
        match compile() {
            Ok(what) => {
                println!("cargo::rustc-cfg=dpdk");
                println!("cargo::rustc-env=WATERWHEEL_DPDK={what}");
            }
            Err(why) => {
                println!("cargo::warning=DPDK's rows will be absent: {why}");
                println!("cargo::rustc-env=WATERWHEEL_DPDK={why}");
                watch_for_it();
            }
        }
    }

    /// Has this run again when a library is installed.
    fn watch_for_it() {
        let output = Command::new("pkg-config").args(["--variable", "pc_path", "pkg-config"]).output();
        let folders =
            output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
        for folder in folders.split(':').filter(|folder| Path::new(folder).is_dir()) {
            println!("cargo::rerun-if-changed={folder}");
        }
    }

    /// Tells version and instruction set, or on one line why there is no DPDK.
    fn compile() -> Result<String, String> {
        if env::var("HOST") != env::var("TARGET") {
            return Err("a build for another machine does not look for libdpdk".into());
        }
        let version = pkg_config("--modversion")?;
        let mut flags: Vec<String> = pkg_config("--cflags")?.split_whitespace().map(str::to_owned).collect();
        if rust_is_native() {
            flags.push("-march=native".into());
        }
        let target = flags.iter().rev().find_map(|flag| flag.strip_prefix("-march=")).unwrap_or("baseline").to_owned();
        let mut build = cc::Build::new();
        build.files(LOOPS);
        build.opt_level(3).debug(false).warnings(false).cargo_warnings(false);
        for flag in &flags {
            build.flag(flag);
        }
        build
            .try_compile("waterwheel_dpdk")
            .map_err(|error| one_line(&format!("its headers did not compile: {error}")))?;
        for folder in pkg_config("--libs-only-L")?.split_whitespace().filter_map(|flag| flag.strip_prefix("-L")) {
            println!("cargo::rustc-link-search=native={folder}");
        }
        LIBRARIES.iter().for_each(|library| println!("cargo::rustc-link-lib={library}"));
        Ok(format!("DPDK {version}, loops in C, -O3 -march={target}"))
    }

    fn pkg_config(question: &str) -> Result<String, String> {
        let output = Command::new("pkg-config").args([question, "libdpdk"]).output().map_err(|error| {
            format!("pkg-config does not run ({error}), so that libdpdk was not found when this was built")
        })?;
        if !output.status.success() {
            return Err("libdpdk was not found when this was built (Debian: apt install libdpdk-dev pkg-config)".into());
        }
        Ok(one_line(&String::from_utf8_lossy(&output.stdout)))
    }

    /// Both sides are compiled for the same CPU: if ours is for the CPU at hand, so is the peer.
    fn rust_is_native() -> bool {
        env::var("CARGO_ENCODED_RUSTFLAGS")
            .is_ok_and(|flags| flags.split('\x1f').any(|flag| flag.ends_with("target-cpu=native")))
    }

    fn one_line(text: &str) -> String {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}
