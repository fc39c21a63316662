#!/usr/bin/env bash
# Fuzzes each target for some seconds (30), as many at a time as there are processors. First the canaries: two planted bugs, which must be found, or nothing here
# means anything. Installs what is missing: a nightly toolchain of Rust, a C++ compiler.
#
#   fuzz/run.sh [SECONDS [TARGET...]]
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-30}
targets=("${@:2}")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(ls fuzz_targets | sed -n 's/\.rs$//; /^canary_/!p')

rustup run nightly rustc --version >/dev/null 2>&1 || rustup toolchain install nightly --profile minimal
command -v c++ >/dev/null || { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends g++; }
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET # they would take the place of those in .cargo/config.toml
rustup run nightly cargo build --release --locked --target-dir target
bin=(target/*/release)

# One run of libFuzzer: its exit code, and what it says in a log.
run() { # TARGET SECONDS
  mkdir -p "corpus/$1" artifacts
  local seeds=()
  [ ! -d "seeds/$1" ] || seeds=("seeds/$1")
  "${bin[0]}/$1" -max_total_time="$2" -max_len=1024 -len_control=20 -timeout=10 -artifact_prefix="artifacts/$1-" \
    "corpus/$1" "${seeds[@]}" >"artifacts/$1.log" 2>&1
}

canary() { # TARGET WORDS
  rm -rf "corpus/$1" # what former runs found would make it easy
  if run "$1" 60; then # mostly it takes a second
    echo "$1: the planted bug was not found: the fuzzer is blind" >&2
    return 1
  fi
  grep -q "$2" "artifacts/$1.log" || { tail -n 30 "artifacts/$1.log" >&2; echo "$1: failed for another reason than '$2'" >&2; return 1; }
  echo "$1: found, as it must be ($2)"
}

fuzz() { # TARGET
  if run "$1" "$seconds"; then
    echo "$1: $(grep -E '^#[0-9]+\s+DONE' "artifacts/$1.log" | tr -s '\t ' ' ')"
  else
    grep -vE '^#[0-9]+' "artifacts/$1.log" | head -n 60 >&2
    echo "$1: FAILED; the input is in fuzz/artifacts/$1-*, and runs again by 'fuzz/${bin[0]}/$1 INPUT'" >&2
    return 1
  fi
}

canary canary_account "leaked: 1"
canary canary_address "heap-use-after-free"

running=()
for target in "${targets[@]}"; do
  while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do sleep 0.2; done
  fuzz "$target" &
  running+=($!)
done
failed=0
for job in "${running[@]}"; do wait "$job" || failed=1; done
exit $failed
