#!/usr/bin/env bash
# Surveys what the tests notice: a fixed sample of the mutants that `cargo mutants` (https://mutants.rs) makes of each folder, against the tests that ought to notice them. It takes hours, so CI
# does not do it; `mutants/run.sh` has what every change has to keep. `docs/proofs.md` tells the scores and what became of the survivors.
#
#   mutants/survey.sh [--count N] [--minutes N] [--survivors | --again] [FOLDER...]
#
# Folders: mm page_pool xdp dev/memif dev/af_xdp dev/uring dev/relay dev/pcap; without a name all of them, in this order.
#   --count N     mutants of each folder (72: some 60 of them compile)
#   --minutes N   begins no mutant after so many minutes; what was found is kept, and the next run goes on there
#   --survivors   tries those again that survived earlier runs
#   --again       forgets what earlier runs found of these folders
#
# The sample is the same as long as the folder is: its mutants are put in an order by a hash of SEED and their names, and the first of them taken. A larger sample has all of a smaller one, and
# lines that move do not change it. What is found is in target/survey/found: for each mutant its hash, what became of it, the test that saw it first, and its name.
# Needs root, as the tests do; `cargo install --locked cargo-mutants cargo-nextest`; patch and perl.
set -euo pipefail
cd "$(dirname "$0")/.."
SEED=waterwheel-1
count=72 minutes=0 survivors="" again="" folders=()
while [ $# -gt 0 ]; do
  case $1 in
    --count) count=$2; shift ;;
    --minutes) minutes=$2; shift ;;
    --survivors) survivors=1 ;;
    --again) again=1 ;;
    -*) sed -n '2,/^set/{/^set/d;s/^# \?//p}' "$0"; exit 2 ;;
    *) folders+=("$1") ;;
  esac
  shift
done
[ ${#folders[@]} -gt 0 ] || folders=(mm page_pool xdp dev/memif dev/af_xdp dev/uring dev/relay dev/pcap)
die() { echo "survey: $*" >&2; exit 1; }
for tool in mutants nextest; do cargo $tool --version >/dev/null 2>&1 || die "there is no cargo $tool: cargo install --locked cargo-$tool"; done

base=${CARGO_TARGET_DIR:-$PWD/target}
[[ $base = /* ]] || base=$PWD/$base
base=$base/survey tree=$base/tree log=$base/log
unset CARGO_TARGET_DIR RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
# No debugging information; incremental, as one function changes.
export CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=1 RUST_BACKTRACE=0
mkdir -p "$base/found" "$base/logs"
# A mutant that asks for memory without end shall not get that of the machine.
ulimit -d $((8 << 20))
echo 1000 >/proc/self/oom_score_adj # nor shall anything else pay for it

# Which files, and the tests that ought to notice: arguments of `cargo nextest`, in steps. A mutant that the tests of a step see does not come to the next one, whose tests are farther away or
# slower. Tests of other parts are left out, as are those that only take time.
plan() { # FOLDER
  files="crates/$1/src/**/*.rs" steps=() package=waterwheel-dev
  case $1 in
    mm) package=waterwheel-mm steps=("-p waterwheel-mm --lib --test model --test home --test chain --test ring"
      "-p waterwheel-mm --test account --test buddy --test frag --test ids --test owner --test pcp --test refs --test region" "-p waterwheel-page-pool --lib --tests") ;;
    page_pool) package=waterwheel-page-pool steps=("-p waterwheel-page-pool --lib --tests" "-p waterwheel-xdp --lib --tests -E not(binary(conformance)|binary(no_alloc))") ;;
    xdp) package=waterwheel-xdp steps=("-p waterwheel-xdp --lib --test buff --test frags --test poll --test workers --test wrap"
      "-p waterwheel-xdp --test failure --test frag_model --test holders --test losses --test model --test panics --test revive --test waiting --test wake"
      "-p waterwheel-xdp --test conformance --test no_alloc -E test(conforms)|test(drop_tx)") ;;
    dev/memif) steps=("-p waterwheel-dev --lib -E test(/^(memif|ring|spec)::/)" "-p waterwheel-dev --test memif -E not(test(testpmd))" "-p waterwheel-dev --test memif_closing --test conformance -E test(closing)|test(memif)|test(close)") ;;
    dev/af_xdp) steps=("-p waterwheel-dev --lib -E test(/^(af_xdp|ring|spec)::/)" "-p waterwheel-dev --test af_xdp" "-p waterwheel-dev --test conformance -E test(af_xdp)") ;;
    dev/uring) steps=("-p waterwheel-dev --lib -E test(/^(uring|relay)::/)" "-p waterwheel-dev --test ring --test socket" "-p waterwheel-dev --test relay --test conformance -E binary(relay)|test(udp)") ;;
    dev/relay) steps=("-p waterwheel-dev --lib -E test(/^relay::/)" "-p waterwheel-dev --test relay") ;;
    dev/pcap) steps=("-p waterwheel-dev --lib -E test(/^(pcap|spec)::/)" "-p waterwheel-dev --test pcap --test pipes" "-p waterwheel-dev --test conformance -E test(capture)") ;;
    *) die "there is no folder '$1'" ;;
  esac
  [[ $1 != dev/* ]] || files="crates/dev/src/${1#dev/}/**/*.rs"
}

# What Debug prints is for people; the rest is built in other ways than for these tests, or is itself a test of others.
leave_out=(--exclude-re 'impl (fmt::)?Debug for' --exclude-re 'tests::' --exclude 'crates/mm/src/debug*' --exclude 'crates/mm/src/debug/**' --exclude 'crates/mm/src/model*' --exclude 'crates/mm/src/model/**'
  --exclude 'crates/mm/src/sync/**' --exclude 'crates/xdp/src/conformance/**')

# The code of now, in a folder of its own: no mutant gets into a real build. A file that is there already stays as it is, so that cargo does not build it anew. Tests wait a minute for what must
# happen, as machines may be busy: many a mutant never lets it happen.
copy() {
  local file
  mkdir -p "$tree"
  git ls-files --cached --others --exclude-standard Cargo.toml Cargo.lock README.md crates | sort >"$base/files"
  (cd "$tree" && find . -type f -o -type l) | sed 's|^\./||' | sort | comm -13 "$base/files" - | while IFS= read -r file; do rm "$tree/$file"; done
  while IFS= read -r file; do
    if [ -L "$file" ]; then
      mkdir -p "$tree/${file%/*}"
      ln -sfn "$(readlink "$file")" "$tree/$file"
    elif [ -f "$file" ]; then
      case $file in crates/*/tests/*) sed 's/Duration::from_secs(60)/Duration::from_secs(15)/' "$file" ;; *) cat "$file" ;; esac >"$base/file"
      cmp -s "$base/file" "$tree/$file" || { mkdir -p "$(dirname "$tree/$file")" && cat "$base/file" >"$tree/$file"; }
    fi
  done <"$base/files"
}

# The sample: for each mutant a line of its hash, its file and its name, and beside it a file with its difference.
sample() { # FOLDER
  rm -rf "$base/patches"
  mkdir -p "$base/patches"
  cargo mutants --no-config --dir "$tree" --package "$package" --file "$files" "${leave_out[@]}" --list --json --diff >"$base/json"
  grep -c '^    "name": ' "$base/json" >"$base/found/${1/\//-}.all"
  # Without its place in the file, as lines move; those that are then the same are numbered.
  perl -MJSON::PP -MEncode -MDigest::SHA=sha256_hex -e '
    my ($seed, $count, $patches) = splice @ARGV, 0, 3;
    my (%seen, @all);
    for my $mutant (@{decode_json(join "", <>)}) {
      my $name = $mutant->{name} =~ s/:\d+:\d+: /: /r;
      $name .= " (" . $seen{$name} . ")" if $seen{$name}++;
      push @all, [substr(sha256_hex("$seed $name"), 0, 16), $mutant];
    }
    for (grep defined, (sort { $a->[0] cmp $b->[0] } @all)[0 .. $count - 1]) {
      my ($hash, $mutant) = @$_;
      open my $patch, ">:raw", "$patches/$hash" or die;
      print $patch Encode::encode_utf8($mutant->{diff});
      print "$hash\t$mutant->{file}\t" . Encode::encode_utf8($mutant->{name}) . "\n";
    }' "$SEED" "$count" "$base/patches" "$base/json"
}

# The tests of a step. One that says nothing for a minute hangs.
cat >"$base/nextest.toml" <<'END'
[profile.default]
slow-timeout = { period = "30s", terminate-after = 2, grace-period = "2s" }
fail-fast = { max-fail = 1, terminate = "immediate" }
END
tests() { # STEP
  local arguments status=0
  read -ra arguments <<<"$1"
  (cd "$tree" && cargo nextest run --config-file "$base/nextest.toml" --target-dir "$base/build" --locked --test-threads 6 --no-tests pass --color never "${arguments[@]}") >"$log" 2>&1 || status=$?
  return $status
}

# What the tests make of the code as it stands in the copy. 0: they pass; 100: a test fails; 101: it does not compile.
try() {
  local step status
  for step in "${steps[@]}"; do
    status=0
    tests "$step" || status=$?
    [ $status = 0 ] || return $status
  done
}

survey() { # FOLDER
  local found=$base/found/${1/\//-} hash file name status result seen tested=""
  plan "$1"
  copy
  sample "$1" >"$found.sample"
  [ -z "$again" ] || rm -f "$found"
  touch "$found"
  [ -z "$survivors" ] || sed -i '/^[^\t]*\tsurvives\t/d' "$found"
  while IFS=$'\t' read -r hash file name; do
    ! grep -q "^$hash" "$found" || continue
    [ "$minutes" = 0 ] || [ $SECONDS -lt $((minutes * 60)) ] || return 0
    if [ -z "$tested" ]; then
      echo "== $1"
      try || { cat "$log" >&2; die "$1: the tests do not pass as the code is"; }
      tested=1
    fi
    cat "$tree/$file" >"$base/whole"
    patch --quiet "$tree/$file" "$base/patches/$hash"
    status=0
    try || status=$?
    cat "$base/whole" >"$tree/$file" # with the time of now, so that cargo looks at it
    cp "$log" "$base/logs/$hash"
    seen=$(sed -nE 's/^ +(FAIL|TIMEOUT|SIG[A-Z]+|ABORT) \[[^]]*\] (\([^)]*\) )?//p' "$log" | head -n 1)
    case $status in
      0) result=survives ;;
      100) if grep -qE '^ +TIMEOUT ' "$log"; then result=hangs; else result=caught; fi ;;
      101) result="does not compile" seen="" ;;
      137) result=caught seen="killed: it took all memory there is" ;;
      *) cat "$log" >&2; die "$name: cargo nextest failed ($status)" ;;
    esac
    printf '%s\t%s\t%s\t%s\n' "$hash" "$result" "$seen" "$name" | tee -a "$found" | sed "s/^/$(date +%T) /"
  done <"$found.sample"
}

number() { # FOLDER RESULT: how many of the sample
  cut -f1 "$base/found/${1/\//-}.sample" | grep -Ff - "$base/found/${1/\//-}" | cut -f2 | grep -cx "$2" || true
}

for folder in "${folders[@]}"; do survey "$folder"; done

# A mutant that hangs is noticed, too. Only what is in the sample of now counts: the code may have changed since.
echo
echo "| folder | mutants | do not compile | caught | hang | survive | noticed of those that compile |"
echo "|---|---|---|---|---|---|---|"
for folder in "${folders[@]}"; do
  broken=$(number "$folder" "does not compile") caught=$(number "$folder" caught) hangs=$(number "$folder" hangs) survive=$(number "$folder" survives)
  viable=$((caught + hangs + survive))
  score=$([ $viable = 0 ] && echo "-" || echo "$((100 * (caught + hangs) / viable)) %")
  echo "| \`$folder\` | $((viable + broken)) of $(<"$base/found/${folder/\//-}.all") | $broken | $caught | $hangs | $survive | $score |"
done
echo
for folder in "${folders[@]}"; do
  cut -f1 "$base/found/${folder/\//-}.sample" | grep -Ff - "$base/found/${folder/\//-}" | sed -n 's/^[^\t]*\tsurvives\t[^\t]*\t/survives: /p' || true
done
