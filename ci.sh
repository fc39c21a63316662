#!/usr/bin/env bash
# Everything that has to hold beside the tests, for people and for CI alike. Needs Rust only; cargo-deny, cargo-public-api, a nightly toolchain and a C++ compiler
# are installed if they are missing.
set -euo pipefail
cd "$(dirname "$0")"
say() { printf '\n== %s\n' "$*"; }

say "format"
cargo fmt --all --check

say "clippy, all features and without any"
cargo clippy --workspace --all-targets --all-features --locked -- -D warnings
cargo clippy -p waterwheel-dev --no-default-features --locked -- -D warnings
for feature in af_xdp gen memif null pcap tap uring; do
  cargo clippy -p waterwheel-dev --no-default-features --features "$feature" --locked -- -D warnings
done

say "debug_pages: the tests, with freed pages filled, checked and kept out of use"
[ "$(id -u)" = 0 ] || { export WATERWHEEL_SKIP_ROOT=1; echo "NOTE: the tests that need root are left out, as you are not"; }
cargo test --workspace --locked --features debug_pages

say "AddressSanitizer: the tests, with every page poisoned that nobody holds"
rustup run nightly rustc --version >/dev/null 2>&1 || rustup toolchain install nightly --profile minimal
# The target is named so that build scripts and procedural macros are not instrumented. Leaks: every test counts its pages, and some put memory away for ever on purpose. What the
# compiler refuses has no sanitizer to report it.
sanitize="-Zsanitizer=address --cfg asan"
RUSTFLAGS=$sanitize RUSTDOCFLAGS=$sanitize ASAN_OPTIONS=detect_leaks=0 CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/asan" \
  rustup run nightly cargo test --workspace --locked --target "$(rustup run nightly rustc -vV | sed -n 's/^host: //p')" \
  -- --skip the_compiler_refuses_what_the_types_forbid

say "loom: every interleaving of reference counts, rings, lanes and the end of owners"
RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/loom" cargo test --release --locked -p waterwheel-mm --lib --test loom
RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/loom" cargo test --release --locked -p waterwheel-xdp --lib

say "shuttle: whole pools and whole workers, in orders that dice choose"
RUSTFLAGS="--cfg shuttle" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/shuttle" WATERWHEEL_SHUTTLE_SECONDS=20 cargo test --locked -p waterwheel-xdp --test shuttle

say "mutants: what is broken on purpose is caught, by the check that is there for it"
mutants/run.sh

say "fuzzing: each target for 30 seconds, and two canaries that must be found"
cargo fmt --manifest-path fuzz/Cargo.toml --check
RUSTFLAGS="--cfg fuzzing" cargo clippy --manifest-path fuzz/Cargo.toml --target-dir "${CARGO_TARGET_DIR:-target}/fuzz-clippy" --all-targets --locked -- -D warnings
fuzz/run.sh 30

say "public surface: every item as it was reviewed"
docs/public-api.sh

say "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

say "dependencies: licences, sources, advisories"
command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
cargo deny --locked check licenses bans sources
# The advisory database comes from the network; where it cannot be fetched this is said, not failed.
if ! advisories=$(cargo deny --locked check advisories 2>&1); then
  case "$advisories" in
    *"failed to fetch advisory database"*) echo "NOTE: the advisory database could not be fetched here: advisories were not checked" ;;
    *) printf '%s\n' "$advisories"; exit 1 ;;
  esac
fi

say "every crate can be packaged"
# cargo keeps what it unpacked and built the last time under the same version, and would build against that.
packages="${CARGO_TARGET_DIR:-target}/packages"
rm -rf "${CARGO_HOME:-$HOME/.cargo}"/registry/{src,cache}/-*/waterwheel* "$packages"
cargo package --workspace --locked --allow-dirty --target-dir "$packages"

say "ci.sh: all well"
