#!/usr/bin/env bash
# Puts the figures of a run (waterwheel bench --peers --json, once or several times into one file) between the marks of performance.md; the text around them stays as it is.
set -euo pipefail
[ $# = 1 ] || { echo "usage: docs/performance.sh RUN.json" >&2; exit 2; }
run=$(realpath "$1")
cd "$(dirname "$0")/.."
figures=$(mktemp) page=$(mktemp)
trap 'rm -f "$figures" "$page"' EXIT
cargo run --release --quiet --features peers -- bench targets "$run" > "$figures"
awk -v figures="$figures" '
  /<!-- figures end -->/ { skip = 0 }
  !skip
  /<!-- figures begin/ { while ((getline line < figures) > 0) print line; skip = 1 }
' docs/performance.md > "$page"
cp "$page" docs/performance.md
