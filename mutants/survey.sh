#!/usr/bin/env bash
# Surveys what the tests notice: a fixed sample of the mutants that `cargo mutants` (https://mutants.rs) makes of each folder, against the tests that ought to notice them. It takes hours, so CI
# does not do it; `mutants/run.sh` has what every change has to keep. `docs/proofs.md` tells the scores and what became of the survivors.
#
#   mutants/survey.sh [--count N] [--minutes N] [--again] [FOLDER...]
#
# Folders: mm page_pool xdp dev/memif dev/af_xdp dev/uring dev/relay dev/pcap; without a name all of them, in this order.
#   --count N     mutants of each folder (72: some 60 of them compile)
#   --minutes N   ends after so many minutes; what was found is kept, and the next run goes on there
#   --again       forgets what earlier runs found of these folders
#
# The sample is the same as long as the folder is: its mutants are put in an order by a hash of SEED and their names, and the first of them taken; lines that move do
# not change it.
# Needs root, as the tests do, and `cargo install cargo-mutants --locked`.
set -euo pipefail
cd "$(dirname "$0")/.."
SEED=waterwheel-1
count=72 minutes=0 again="" folders=()
while [ $# -gt 0 ]; do
  case $1 in
    --count) count=$2; shift ;;
    --minutes) minutes=$2; shift ;;
    --again) again=1 ;;
    -*) sed -n '2,/^set/{/^set/d;s/^# \?//p}' "$0"; exit 2 ;;
    *) folders+=("$1") ;;
  esac
  shift
done
[ ${#folders[@]} -gt 0 ] || folders=(mm page_pool xdp dev/memif dev/af_xdp dev/uring dev/relay dev/pcap)
die() { echo "survey: $*" >&2; exit 1; }
cargo mutants --version >/dev/null 2>&1 || die "there is no cargo mutants: cargo install cargo-mutants --locked"

# Builds are kept between runs, but for the crates of the workspace: those lie at another place each time. Neither debugging information nor the profile for releases; incremental, as one function changes.
base=${CARGO_TARGET_DIR:-$PWD/target}
[[ $base = /* ]] || base=$PWD/$base
base=$base/survey
unset CARGO_TARGET_DIR RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
export CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=1 RUST_BACKTRACE=0

# Which files, of which package, and which tests ought to notice: arguments of `cargo test`, without those tests that only take time.
plan() { # FOLDER
  crate=${1%%/*} files="crates/${1/dev\//dev/src/}/**/*.rs" test=()
  case $1 in
    mm) files="crates/mm/src/**/*.rs" packages=(waterwheel-mm waterwheel-page-pool) test=(--lib --tests) ;;
    page_pool) files="crates/page_pool/src/**/*.rs" packages=(waterwheel-page-pool waterwheel-xdp) test=(--lib --tests) ;;
    xdp) files="crates/xdp/src/**/*.rs" packages=(waterwheel-xdp) test=(--lib --tests) ;;
    dev/memif) packages=(waterwheel-dev) test=(--lib --test memif --test conformance) ;;
    dev/af_xdp) packages=(waterwheel-dev) test=(--lib --test af_xdp --test conformance) ;;
    dev/uring) packages=(waterwheel-dev) test=(--lib --test ring --test socket --test relay) ;;
    dev/relay) packages=(waterwheel-dev waterwheel-cli) test=(--lib --test relay -- --skip ten_thousand_connections) ;;
    dev/pcap) packages=(waterwheel-dev) test=(--lib --test pcap --test conformance) ;;
    *) die "there is no folder '$1'" ;;
  esac
  package=waterwheel-${crate/_/-}
}

# What Debug prints is for people; the rest is built in other ways than for these tests, or is itself a test of others.
leave_out=(--exclude-re 'impl (fmt::)?Debug for' --exclude 'crates/mm/src/debug*' --exclude 'crates/mm/src/debug/**' --exclude 'crates/mm/src/model*' --exclude 'crates/mm/src/model/**'
  --exclude 'crates/mm/src/sync/**' --exclude 'crates/xdp/src/conformance/**')

mutants() { # ARGUMENT...: cargo mutants, of the planned folder's files
  cargo mutants --no-config --package "$package" --file "$files" "${leave_out[@]}" --line-col=true "$@"
}

# One line for each mutant of the sample, as `cargo mutants` names it. It takes all that leave a field out, whatever it is asked for: so they are in every sample.
sample() {
  local name hash
  mutants --list | while IFS= read -r name; do
    # Without its place in the file: lines move. Of two that are then the same their order tells.
    hash=$(printf '%s %s' "$SEED" "$(sed -E 's/:[0-9]+:[0-9]+: /: /' <<<"$name")" | sha256sum)
    [[ $name != *": delete field "* ]] || hash=0
    printf '%s %s\n' "${hash:0:16}" "$name"
  done | sort -s -k1,1 | head -n "$count" | cut -d' ' -f2-
}

# What happened to the mutants of a run is added to what is known of the folder.
keep() { # FOLDER
  local out=$base/out/$1 result
  for result in caught missed timeout unviable; do
    [ ! -f "$out/mutants.out/$result.txt" ] || cat "$out/mutants.out/$result.txt" >>"$out/$result"
  done
  rm -rf "$out/mutants.out" "$out/mutants.out.old"
}

known() { # FOLDER
  (cd "$base/out/$1" && cat caught missed timeout unviable 2>/dev/null) || true
}

survey() { # FOLDER
  local out=$base/out/$1 left names=() name status=0
  plan "$1"
  [ -z "$again" ] || rm -rf "$out"
  mkdir -p "$out"
  sample >"$out/sample"
  mapfile -t names < <(grep -vxFf <(known "$1") "$out/sample" || true)
  if [ ${#names[@]} = 0 ]; then return; fi
  local which=()
  for name in "${names[@]}"; do which+=(--re "^$(sed 's/[][\.*+?(){}|^$]/\\&/g' <<<"$name")\$"); done
  local limit=()
  if [ "$minutes" != 0 ]; then
    left=$((minutes * 60 - SECONDS))
    if [ $left -le 0 ]; then return; fi
    limit=(timeout --signal INT --kill-after 30 "$left")
  fi
  echo "== $1: ${#names[@]} mutants"
  local packages_of
  packages_of=$(IFS=,; echo "${packages[*]}")
  # The tests are run once without a mutant: they tell how long they may take, and that they pass here.
  "${limit[@]}" cargo mutants --no-config --package "$package" --file "$files" "${leave_out[@]}" --line-col=true --output "$out" "${which[@]}" \
    --test-package "$packages_of" --no-shuffle --jobs 1 --timeout-multiplier 3 --minimum-test-timeout 60 --build-timeout 300 --no-times --colors=never \
    --cargo-arg="--target-dir=$base/build" -- "${test[@]}" || status=$?
  keep "$1"
  # 0: all caught; 2: some missed; 3: some timed out; 124, 130: no time is left.
  case $status in
    0 | 2 | 3 | 124 | 130 | 137) ;;
    4) die "$1: the tests do not pass as the code is" ;;
    *) die "$1: cargo mutants failed ($status)" ;;
  esac
}

lines() { # FILE
  if [ -f "$1" ]; then wc -l <"$1"; else echo 0; fi
}

for folder in "${folders[@]}"; do survey "$folder"; done

# A mutant that hangs is noticed, too. Only what is in the sample of now counts: the code may have changed since.
echo
echo "| folder | mutants | do not compile | caught | hang | survive | of those that compile |"
echo "|---|---|---|---|---|---|---|"
for folder in "${folders[@]}"; do
  out=$base/out/$folder
  declare -A n=()
  for result in caught missed timeout unviable; do
    touch "$out/$result"
    grep -xFf "$out/sample" "$out/$result" | sort -u >"$out/$result.now" || true
    n[$result]=$(lines "$out/$result.now")
  done
  viable=$((n[caught] + n[timeout] + n[missed]))
  score=$([ $viable = 0 ] && echo "-" || echo "$((100 * (n[caught] + n[timeout]) / viable)) %")
  echo "| \`$folder\` | $((viable + n[unviable])) of $(lines "$out/sample") | ${n[unviable]} | ${n[caught]} | ${n[timeout]} | ${n[missed]} | $score |"
done
echo
for folder in "${folders[@]}"; do sed 's/^/survives: /' "$base/out/$folder/missed.now"; done
