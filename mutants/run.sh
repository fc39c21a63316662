#!/usr/bin/env bash
# Breaks the code on purpose, one thing at a time, in a copy of it. Each mutant names the check that must catch it: that check has to pass on the code as it is, and to fail, by its
# name, on the mutant. A check that cannot fail proves nothing, and this shows that these can.
#
#   mutants/run.sh [MUTANT...]     all of those named; without a name all but those that need the fuzzer, which takes minutes to build
#   mutants/run.sh --list          the table of docs/proofs.md
#
# A mutant is a file: what it breaks; which check has to see it; in which file; lines to take out (-), which occur once, and what takes their place (+).
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
# A folder of its own: cargo takes packages at the same place of two workspaces for the same, and a mutant must never get into a real build.
target=${CARGO_TARGET_DIR:-$root/target}/mutants
[[ $target = /* ]] || target=$root/$target
tree=$target/tree log=$target/log
unset CARGO_TARGET_DIR RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
export RUST_BACKTRACE=0 WATERWHEEL_SHUTTLE_SEED=1
# One function changes at a time, and nobody debugs it.
export CARGO_INCREMENTAL=1 CARGO_PROFILE_DEV_DEBUG=0

field() { sed -n "s/^$2 *//p;/^-/q" "mutants/$1"; } # MUTANT FIELD
lines() { sed -n "s/^$2//p" "mutants/$1"; } # MUTANT SIGN
die() { echo "mutants: $*" >&2; exit 1; }

# A check in the copy, or several of one kind: builds them, which has to work, then runs them. 0: they passed; 1: one failed, by its name.
check() { # KIND [PACKAGE TARGET] NAME...
  local flags="" folder=$target/plain package=waterwheel-mm test=lib features=() kind=$1 name
  shift
  case $kind in
    loom) flags="--cfg loom" folder=$target/loom ;;
    loom-ring) flags="--cfg loom" folder=$target/loom test=loom ;;
    loom-xdp) flags="--cfg loom" folder=$target/loom package=waterwheel-xdp ;;
    shuttle) flags="--cfg shuttle" folder=$target/shuttle package=waterwheel-xdp test=shuttle ;;
    debug) package=waterwheel-page-pool test=plants features=(--features debug_pages) ;;
    plants) package=waterwheel-cli test=plants features=(--features plants) ;;
    test) package=$1 test=$2; shift 2 ;;
    fuzz) fuzz "$1"; return ;;
    *) die "there is no kind of check named '$kind'" ;;
  esac
  case $test in lib) test=(--lib) ;; bin) test=(--bins) ;; *) test=(--test "$test") ;; esac
  local cargo=(env RUSTFLAGS="$flags" cargo test --quiet --locked --manifest-path "$tree/Cargo.toml" --target-dir "$folder" -p "$package" "${test[@]}" "${features[@]}")
  "${cargo[@]}" --no-run >"$log" 2>&1 || { cat "$log" >&2; die "$* does not compile"; }
  local passed=0
  # One thread: the name is said before the test runs, and so also if it kills its process.
  timeout $((100 + 20 * $#)) "${cargo[@]}" -- --exact --test-threads=1 --format=pretty "$@" >"$log" 2>&1 || passed=$?
  [ $passed != 124 ] || { cat "$log" >&2; die "$* hangs"; }
  for name; do
    [ $passed != 0 ] && [ $# != 1 ] || grep -q "^test $name " "$log" || { cat "$log" >&2; die "there is no test named $name"; }
  done
  if [ $passed = 0 ]; then return 0; else return 1; fi
}

fuzz() { # TARGET
  (cd "$tree/fuzz" && rustup run nightly cargo build --quiet --release --locked --target-dir "$target/fuzz" --bin "$1") || die "$1 does not compile"
  local found=0 seeds=()
  [ ! -d "$tree/fuzz/seeds/$1" ] || seeds=("$tree/fuzz/seeds/$1")
  "$target"/fuzz/*/release/"$1" -max_total_time=30 -max_len=1024 -artifact_prefix="$target/" "${seeds[@]}" >"$log" 2>&1 || found=$?
  if [ $found = 0 ]; then return 0; fi
  grep -qE "panicked at|ERROR: AddressSanitizer" "$log" || die "$1 failed for no reason of its own: $log"
  return 1
}

# Puts a mutant into the copy. What it takes out must be there, once.
break_it() { # MUTANT
  local file old new text rest
  file=$(field "$1" in) old=$(lines "$1" -) new=$(lines "$1" +)
  [ -n "$old" ] && [ -f "$file" ] || die "$1: there is no file '$file', or nothing to take out"
  text=$(<"$file") rest=${text#*"$old"}
  [ "$rest" != "$text" ] || die "$1 does not apply: what it takes out is not in $file; look whether the code has changed, and change the mutant"
  [ "${rest#*"$old"}" = "$rest" ] || die "$1 does not apply: what it takes out is in $file more than once"
  printf '%s\n' "${text%"$old$rest"}$new$rest" >"$tree/$file"
}

mend() { # MUTANT
  cat "$(field "$1" in)" >"$tree/$(field "$1" in)" # with the time of now, so that cargo looks at it
}

mapfile -t all < <(cd mutants && grep -l '^breaks ' -- * | sort)
row() { # MUTANT
  echo "| \`$1\` | $(field "$1" breaks) | $(field "$1" check | sed 's/\([^ ]*\)$/`\1`/') |"
}
if [ "${1-}" = --list ]; then
  for mutant in "${all[@]}"; do row "$mutant"; done
  exit
fi
# Whoever tries some is still at work.
[ $# != 0 ] || for mutant in "${all[@]}"; do
  grep -qFx -- "$(row "$mutant")" docs/proofs.md || die "docs/proofs.md does not have the row of '$mutant' as mutants/run.sh --list says it"
done
mutants=("$@")
if [ $# = 0 ]; then
  for mutant in "${all[@]}"; do [[ $(field "$mutant" check) = fuzz* ]] || mutants+=("$mutant"); done
fi

for mutant in "${mutants[@]}"; do [ -f "mutants/$mutant" ] || die "there is no mutant named '$mutant'"; done
# Those that one check sees, and those of one crate, follow each other: the least is built anew.
mapfile -t mutants < <(for mutant in "${mutants[@]}"; do echo "$(field "$mutant" check) $(field "$mutant" in) $mutant"; done | sort | sed 's/.* //')

rm -rf "$tree"
mkdir -p "$tree"
cp -r Cargo.toml Cargo.lock README.md crates "$tree"
mkdir "$tree/fuzz"
cp -r fuzz/Cargo.* fuzz/.cargo fuzz/src fuzz/fuzz_targets fuzz/seeds "$tree/fuzz"
# Tests wait a minute for what must happen, as machines may be busy. Many a mutant is one that never lets it happen: those shall not take minutes.
grep -rlZ 'Duration::from_secs(60)' "$tree"/crates/*/tests | xargs -0 sed -i 's/Duration::from_secs(60)/Duration::from_secs(10)/'

for mutant in "${mutants[@]}"; do break_it "$mutant" && mend "$mutant"; done # all of them apply
# The checks of one kind run together, those of the fuzzer one by one.
mapfile -t checks < <(for mutant in "${mutants[@]}"; do field "$mutant" check; done | sort -u)
mapfile -t together < <(printf '%s\n' "${checks[@]}" | awk '{
  name = $NF; kind = $0; sub(/ [^ ]*$/, "", kind); if (kind == "fuzz") kind = kind " " name; else names[kind] = names[kind] " " name; kinds[kind] }
  END { for (kind in kinds) print kind names[kind] }' | sort)
for line in "${together[@]}"; do
  read -ra words <<<"$line"
  WATERWHEEL_SHUTTLE_SECONDS=2 check "${words[@]}" || { cat "$log" >&2; die "fails on the code as it is: $line"; }
done
echo "the ${#checks[@]} checks pass on the code as it is"

missed=0
for mutant in "${mutants[@]}"; do
  read -ra words <<<"$(field "$mutant" check)"
  break_it "$mutant"
  begin=$SECONDS
  if WATERWHEEL_SHUTTLE_SECONDS=20 check "${words[@]}"; then
    echo "$mutant: MISSED by ${words[*]}: $(field "$mutant" breaks)" >&2
    missed=1
  else
    echo "$mutant: caught by ${words[*]} ($((SECONDS - begin)) s)"
  fi
  mend "$mutant"
done
exit $missed
