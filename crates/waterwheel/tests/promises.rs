//! What the types promise is refused by the compiler.
//!
//! Each file of `promises/` is a program with one line too many, marked with the error that it must cause. It is compiled as it is, which must fail in that line with
//! that error and no other; and without the line, which must succeed: so it is this line that is refused, and not a slip elsewhere.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

#[test]
fn the_compiler_refuses_what_the_types_forbid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/promises");
    let programs: Vec<PathBuf> =
        fs::read_dir(folder).expect("the programs").map(|entry| entry.expect("one").path()).collect();
    assert!(programs.len() >= 15, "the programs were not found");
    let compiler = Compiler::new();
    for program in programs {
        let text = fs::read_to_string(&program).expect("UTF-8");
        let name = program.file_stem().expect("a name").to_string_lossy();
        let (line, code) = text
            .lines()
            .zip(1..)
            .find_map(|(line, number)| Some((number, line.split_once("//~ ")?.1)))
            .unwrap_or_else(|| panic!("{name} marks no line"));

        let refused = compiler.check(&name, &text);
        let said = String::from_utf8_lossy(&refused.stderr);
        let mut codes: Vec<&str> =
            said.lines().filter_map(|line| line.strip_prefix("error[")?.split(']').next()).collect();
        codes.dedup(); // one line may break the same rule for several reasons
        assert!(!refused.status.success() && codes == [code], "{name}: expected {code} alone\n{said}");
        assert!(said.contains(&format!("{name}.rs:{line}:")), "{name}: expected the error in line {line}\n{said}");

        let rest: String = text.lines().filter(|line| !line.contains("//~ ")).map(|line| format!("{line}\n")).collect();
        let allowed = compiler.check(&name, &rest);
        assert!(
            allowed.status.success(),
            "{name}, without its marked line\n{}",
            String::from_utf8_lossy(&allowed.stderr)
        );
    }
}

/// rustc, with the library as this test was built with it.
struct Compiler {
    /// Where cargo has put the compiled libraries.
    libraries: PathBuf,
    library: PathBuf,
    scratch: PathBuf,
}

impl Compiler {
    fn new() -> Self {
        let libraries = env::current_exe().expect("this test").parent().expect("its folder").to_owned();
        let built = |path: &PathBuf| fs::metadata(path).and_then(|data| data.modified()).ok();
        let library = fs::read_dir(&libraries)
            .expect("the libraries")
            .map(|entry| entry.expect("one").path())
            .filter(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                name.starts_with("libwaterwheel-") && name.ends_with(".rlib")
            })
            .max_by_key(built)
            .expect("the library was built for this test");
        Self { libraries, library, scratch: PathBuf::from(env!("CARGO_TARGET_TMPDIR")) }
    }

    fn check(&self, name: &str, text: &str) -> Output {
        let source = self.scratch.join(format!("{name}.rs"));
        fs::write(&source, text).expect("the scratch folder");
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        Command::new(rustc)
            .args([
                "--edition",
                "2024",
                "--emit",
                "metadata",
                "--crate-type",
                "bin",
                "--cap-lints",
                "allow",
                "--extern",
            ])
            .arg(format!("waterwheel={}", self.library.display()))
            .arg("-L")
            .arg(format!("dependency={}", self.libraries.display()))
            .arg("--out-dir")
            .arg(&self.scratch)
            .arg(&source)
            .output()
            .expect("rustc runs")
    }
}
