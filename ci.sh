#!/usr/bin/env bash
# Everything that has to hold, for people and for CI alike. Needs Rust only; cargo-deny, cargo-public-api, a nightly toolchain and a
# C++ compiler are installed if they are missing.
#
#   ./ci.sh                  all steps but the plain tests, which you have run already (cargo test --workspace)
#   ./ci.sh --with-tests     with the plain tests
#   ./ci.sh --step NAME...   these steps only, one after the other; the functions below are the steps
#
# Steps run in two lanes side by side: while one builds, the other may be waiting in its tests. At the end stands what each of them took.
set -euo pipefail
cd "$(dirname "$0")"

# What is built here is thrown away, or built again as a whole: no increments, and of debugging information what backtraces need. Releases are built without optimization across crates,
# which takes minutes and finds nothing.
export CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=line-tables-only
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_DEBUG=0
target=${CARGO_TARGET_DIR:-$PWD/target}
[[ $target = /* ]] || target=$PWD/$target
[ "$(id -u)" = 0 ] || { export WATERWHEEL_SKIP_ROOT=1; echo "NOTE: the tests that need root are left out, as you are not"; }

format() {
  cargo fmt --all --check
  cargo fmt --manifest-path fuzz/Cargo.toml --check
}

tests() { # those of the README
  cargo test --workspace --locked
}

# With all features and without any, and with each alone.
clippy() {
  cargo clippy --workspace --all-targets --all-features --locked -- -D warnings
  cargo clippy -p waterwheel-dev --no-default-features --locked -- -D warnings
  local feature
  for feature in af_xdp gen memif null pcap tap uring; do
    cargo clippy -p waterwheel-dev --no-default-features --features "$feature" --locked -- -D warnings
  done
}

# What the feature debug_pages reports of faults that are planted. All other tests have the feature below, together with AddressSanitizer, which would be the one to report these.
debug_pages() {
  cargo test -p waterwheel-page-pool --locked --features debug_pages --test plants
}

# The tests of memory where there are huge pages, and where little of it may be locked: most machines have neither, and some both.
memory() {
  local all=(--lib --test region --test account --test memif --test ring --test socket --test relay --test af_xdp --test conformance --test run) uring=(--test ring --test socket --test relay)
  if [ "$(id -u)" = 0 ]; then
    huge_pages cargo test --workspace --locked "${all[@]}"
    # Root may lock what it likes, whatever the limit says, unless it gives that up: then zero-copy sends are refused under load.
    prlimit --memlock=65536:65536 cargo test --workspace --locked "${all[@]}"
    setpriv --bounding-set -ipc_lock prlimit --memlock=8388608:8388608 cargo test --workspace --locked "${uring[@]}"
    # The least that is common: rings are small, and most such sends are refused. One after the other, as it is the user's limit: two relays at a time are too many.
    setpriv --bounding-set -ipc_lock prlimit --memlock=65536:65536 cargo test --workspace --locked "${uring[@]}" -- --test-threads=1
  else
    echo "NOTE: huge pages are not reserved, as you are not root"
    prlimit --memlock=8388608:8388608 cargo test --workspace --locked "${uring[@]}"
  fi
}

# Runs a command while 256 MiB of huge pages are reserved.
huge_pages() ( # COMMAND...
  local setting=/proc/sys/vm/nr_hugepages before
  before=$(<$setting)
  trap 'echo $before >$setting' EXIT
  echo $((before + 128)) >$setting
  # Memory may be in pieces: what is there now is what there is.
  [ "$(<$setting)" -gt "$before" ] || echo "NOTE: no huge page could be reserved: that these tests hold with them is not shown"
  "$@"
)

# The tests, with every page poisoned that nobody holds, and with freed pages filled, checked and kept out of use: one finds who touches such a page here, the other also what the kernel and
# other processes write there. `plants` is what the binary says when something is wrong with it. The target is named so that build scripts and procedural macros are not instrumented. Leaks:
# every test counts its pages, and some put memory away for ever on purpose. What the compiler refuses has no sanitizer to report it.
address_sanitizer() {
  nightly
  local sanitize="-Zsanitizer=address --cfg asan"
  RUSTFLAGS=$sanitize RUSTDOCFLAGS=$sanitize ASAN_OPTIONS=detect_leaks=0 CARGO_TARGET_DIR=$target/asan \
    rustup run nightly cargo test --workspace --locked --features debug_pages,waterwheel-cli/plants --target "$(rustup run nightly rustc -vV | sed -n 's/^host: //p')" \
    -- --skip the_compiler_refuses_what_the_types_forbid
}

nightly() {
  rustup run nightly rustc --version >/dev/null 2>&1 || rustup toolchain install nightly --profile minimal
}

# Every interleaving of reference counts, rings, lanes and the end of owners.
loom() {
  RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=$target/loom cargo test --release --locked -p waterwheel-mm --lib --test loom
  RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=$target/loom cargo test --release --locked -p waterwheel-xdp --lib
}

# Whole pools and whole workers, in orders that dice choose.
shuttle() {
  RUSTFLAGS="--cfg shuttle" CARGO_TARGET_DIR=$target/shuttle WATERWHEEL_SHUTTLE_SECONDS=20 cargo test --locked -p waterwheel-xdp --test shuttle
}

# What is broken on purpose is caught, by the check that is there for it.
mutants() {
  mutants/run.sh
}

# Each target for 30 seconds, and two canaries that must be found.
fuzz() {
  nightly
  RUSTFLAGS="--cfg fuzzing" cargo clippy --manifest-path fuzz/Cargo.toml --target-dir "$target/fuzz-clippy" --all-targets --locked -- -D warnings
  fuzz/run.sh 30
}

# The public surface: every item as it was reviewed.
public_surface() {
  docs/public-api.sh
}

documentation() {
  RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
}

# Licences, sources, advisories.
dependencies() {
  command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
  cargo deny --locked check licenses bans sources
  # The advisory database comes from the network; where it cannot be fetched this is said, not failed.
  local advisories
  if ! advisories=$(cargo deny --locked check advisories 2>&1); then
    case "$advisories" in
      *"failed to fetch advisory database"*) echo "NOTE: the advisory database could not be fetched here: advisories were not checked" ;;
      *) printf '%s\n' "$advisories"; return 1 ;;
    esac
  fi
}

# Every crate can be packaged, and what is in the package builds. How well it is optimized does not matter.
packages() {
  # cargo keeps what it unpacked and built the last time under the same version, and would build against that.
  rm -rf "${CARGO_HOME:-$HOME/.cargo}"/registry/{src,cache}/-*/waterwheel* "$target/packages"
  CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_PROFILE_DEV_DEBUG=0 cargo package --workspace --locked --allow-dirty --target-dir "$target/packages"
}

# Runs steps one after the other, and notes what each takes. Not to be called in a condition, where a command that fails would not end its step.
lane() { # STEP...
  local step
  TIMEFORMAT='%R %U %S'
  for step; do
    [ ! -e "$notes/failed" ] || exit 1 # in the other lane: nothing can make this well
    printf '\n== %s\n' "$step"
    { time "$step" 2>&3; } 3>&2 2>"$notes/took.$step"
    touch "$notes/done.$step"
    echo "== $step: done"
  done
}

took() {
  local file step real user sys
  printf '\n%-20s %10s %10s\n' step seconds "of CPU"
  for file in "$notes"/took.*; do
    step=${file##*/took.}
    # Whoever is ended from outside tells nothing.
    read -r real user sys < <(grep '^[0-9.]* [0-9.]* [0-9.]*$' "$file" || echo 0 0 0)
    printf '%-20s %10.0f %10.0f %s\n' "$step" "$real" "$(awk "BEGIN { print $user + $sys }")" "$([ -e "$notes/done.$step" ] || echo FAILED)"
  done
}

if [ "${1-}" = --step ]; then
  own=""
  [ -n "${notes-}" ] || { own=1 notes=$(mktemp -d); }
  trap '[ -z "$own" ] || { took; rm -rf "$notes"; }' EXIT
  lane "${@:2}"
  exit
fi

notes=$(mktemp -d)
export notes
trap 'rm -rf "$notes"' EXIT
plain=()
case ${1-} in
  --with-tests) plain=(tests) ;;
  "") ;;
  *) sed -n '2,/^set/{/^set/d;s/^# \?//p}' "$0"; exit 2 ;;
esac
side_by_side() { # NAME STEP...
  { ./ci.sh --step "${@:2}" 2>&1 || touch "$notes/failed"; } | sed -u "s/^/[$1] /" &
}
side_by_side 1 format "${plain[@]}" debug_pages memory documentation public_surface dependencies packages fuzz
side_by_side 2 clippy address_sanitizer loom shuttle mutants
wait
took
[ ! -e "$notes/failed" ] || { echo "ci.sh: FAILED" >&2; exit 1; }
echo "ci.sh: all well"
