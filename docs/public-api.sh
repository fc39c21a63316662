#!/usr/bin/env bash
# The public surface of every crate that others build on, item by item, as it was reviewed: docs/public-api/CRATE.txt.
#
#   docs/public-api.sh            says where the code differs from the lists, and fails then
#   docs/public-api.sh --write    writes the lists anew
#
# A line that is new is a question: is this a second safe way to a page's bytes, and can a number in it be untrue? (docs/decisions/public-api.md)
set -euo pipefail
cd "$(dirname "$0")/.."
crates=(waterwheel waterwheel-mm waterwheel-page-pool waterwheel-xdp waterwheel-dev waterwheel-prog)
# It reads what rustdoc of a nightly toolchain writes, whose form changes: a nightly that is much newer wants a newer tool.
tool=0.52.0
write=${1-}
[ -z "$write" ] || [ "$write" = --write ] || { echo "usage: docs/public-api.sh [--write]" >&2; exit 2; }
rustup run nightly rustc --version >/dev/null 2>&1 || rustup toolchain install nightly --profile minimal
command -v cargo-public-api >/dev/null || cargo install --locked "cargo-public-api@$tool"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/public-api"
new=$CARGO_TARGET_DIR/lists
mkdir -p "$new" docs/public-api

differ=0
for crate in "${crates[@]}"; do
  # What others can do with a type counts (Send, Sync, Clone...), and what every type has does not.
  cargo +nightly public-api --package "$crate" --all-features --simplified >"$new/$crate.all" 2>"$new/$crate.log" ||
    { cat "$new/$crate.log" >&2; echo "public-api: there is no list of $crate (cargo-public-api $tool was used with $(rustup run nightly rustc --version))" >&2; exit 1; }
  grep -vE 'UnwindSafe|::(Freeze|Unpin|UnsafeUnpin|StructuralPartialEq) ' "$new/$crate.all" >"$new/$crate.txt"
  if [ -n "$write" ]; then
    cp "$new/$crate.txt" "docs/public-api/$crate.txt"
  else
    diff -u "docs/public-api/$crate.txt" "$new/$crate.txt" || differ=1
  fi
done
if [ $differ = 1 ]; then
  echo "public-api: the code differs from the reviewed lists: look at each line, then write them anew with docs/public-api.sh --write" >&2
  exit 1
fi
