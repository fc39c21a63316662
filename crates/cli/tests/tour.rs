//! The first day of a stranger, as a script: every command of the README and of the help works, and prints what it should.

use std::path::Path;
use std::process::Command;

#[test]
fn what_the_readme_and_the_help_say_works() {
    if !rustix::process::geteuid().is_root() {
        assert!(
            std::env::var("WATERWHEEL_SKIP_ROOT").is_ok_and(|value| value == "1"),
            "this test needs root (or set WATERWHEEL_SKIP_ROOT=1 to leave it out)"
        );
        eprintln!("left out, as it needs root: what_the_readme_and_the_help_say_works");
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/tour.sh");
    let mut tour = Command::new(script);
    tour.arg("--no-bench").env("WATERWHEEL", env!("CARGO_BIN_EXE_waterwheel"));
    let output = tour.output().expect("the script is there");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    println!("{text}");
    assert!(output.status.success(), "{}", output.status);
}
