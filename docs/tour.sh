#!/usr/bin/env bash
# The first day, as a stranger has it: runs every command of the README and every example of the help, and looks at what it prints.
# A command that no longer works, or an example that never did, fails here and not in somebody's shell.
#
#   docs/tour.sh [--no-bench]     as root; with target/release/waterwheel, or the binary that WATERWHEEL names
#
#   --no-bench                    leaves out `bench --quick`, which takes the most of the time
#
# It has a network of its own: nothing of this machine's is touched, and nothing of it stays.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
export WATERWHEEL=${WATERWHEEL:-$root/target/release/waterwheel}
[ -x "$WATERWHEEL" ] || { echo "tour: there is no $WATERWHEEL: cargo build --release" >&2; exit 2; }

# Namespaces that other processes see neither by name nor by link. All of its processes end with the first.
if [ -z "${TOUR-}" ]; then
  TOUR=1 exec unshare --mount --net --pid --fork --kill-child --mount-proc -- "$BASH" docs/tour.sh "$@"
fi
mkdir -p /run/netns
mount -t tmpfs none /run/netns
ip link set lo up
hosts=$(mktemp)
printf "127.0.0.1 localhost\n127.0.0.2 db.example.net\n" >"$hosts" # not where the relay of the help listens
mount --bind "$hosts" /etc/hosts

work=$(mktemp -d)
trap 'rm -rf "$work" "$hosts"' EXIT
mkdir -p "$work/bin" "$work/target/release"
ln -s "$WATERWHEEL" "$work/bin/waterwheel"
ln -s "$WATERWHEEL" "$work/target/release/waterwheel"
export PATH=$work/bin:$PATH
cd "$work"

failed=0 seen=0
# Runs a command line for at most so many seconds; who runs on is asked to end by Ctrl-C. Its output has to match.
stop() { # SECONDS PATTERN COMMAND
  local status=0 begin=$SECONDS
  seen=$((seen + 1))
  # Not in the background and not of this shell's group: else SIGINT would be ignored.
  timeout --preserve-status --signal INT --kill-after 60 "$1" "$BASH" -o pipefail -c "$3" >out 2>&1 </dev/null || status=$?
  if [ "$status" = 0 ] && grep -qE -- "$2" out; then
    echo "ok      $3 ($((SECONDS - begin)) s)"
  else
    echo "FAILED  $3: exit code $status; '$2' was to be printed, and this was:" >&2
    sed 's/^/        /' out >&2
    failed=1
  fi
}

# Two interfaces, and somebody behind each: packets to many places, and pings.
lab() {
  ip netns add far
  for n in 1 2; do
    ip link add "eth$n" type veth peer name "peer$n" netns far
    ip addr add "10.0.$n.1/24" dev "eth$n"
    ip link set "eth$n" up
    ip -n far link set "peer$n" up
  done
  ip -n far addr add 10.0.1.2/24 dev peer1
  ip netns exec far waterwheel generate afxdp:peer1 --dst 192.0.2.0/24 --rate 2k >/dev/null 2>&1 &
  ip netns exec far ping -q -i 0.1 10.0.1.1 >/dev/null 2>&1 &
}

account='pages +([0-9]+) of \1 free|"free":'

echo "== README"
block() { # the Nth block of shell commands
  awk -v n="$1" '/^```sh/ { if (++count == n) { inside = 1; next } } /^```/ { inside = 0 } inside' "$root/README.md"
}
stop 60 "$account" "waterwheel $(block 1 | sed 's/.*-- //; s/--duration 5/--duration 1/')"
block 3 | sed 's/^cargo build.*//; s/--duration 20/--duration 8/' >forward.sh
grep -q 'ip netns add' forward.sh
stop 60 ' 3 received' '. ./forward.sh'
block 4 >others
grep -q '^waterwheel' others
sed -i 's/ *#.*//' others
while read -r line; do
  case $line in
    *role=server) server=$line ;;
    *memif:*) stop 60 "$account" "timeout --signal INT 6 $server & sleep 1; ${line/--duration 10/--duration 2}; wait" ;;
    *bench*) [ "${1-}" = --no-bench ] || stop 300 'page_pool' "$line" ;;
    *soak*) stop 60 'pages|whole' "${line/--duration 60/--duration 2}" ;;
    *) stop 2 "$account" "$line" ;;
  esac
done <others

echo "== help"
lab
waterwheel generate pcap:in.pcap --count 100 >/dev/null 2>&1
stop 60 '"event"' 'waterwheel bench page_bench02/N=64 --quick --json > old.json; cat old.json'
cp old.json new.json
for verb in "" forward drop tx generate capture relay bench soak devices; do
  waterwheel help $verb | sed -n 's/^  \(waterwheel [^<]*\)$/\1/p'
done | sort -u >examples
while read -r line; do
  case $line in
    "waterwheel devices") stop 60 'Interfaces' "$line" ;;
    *"| tcpdump -nr -") stop 60 ' > ' "${line/ - |/ - --duration 2 |}" ;;
    "waterwheel bench --list") stop 60 page_bench02 "$line" ;;
    "waterwheel bench targets"* | "waterwheel bench compare"*) stop 60 . "$line" ;;
    "waterwheel bench --quick") ;; # the README's
    "waterwheel bench"*) echo "not run, as it takes minutes: $line" ;;
    "waterwheel soak"*) stop 2 'pages|whole' "$line" ;;
    *--count*) stop 60 "$account" "$(sed 's/--count 10*M/--count 1k/' <<<"$line")" ;;
    *) stop 2 "$account" "$line" ;;
  esac
done <examples
for kind in afxdp tap udp tcp pcap gen null veth memif; do stop 60 "$kind:" "waterwheel help $kind"; done

[ "$seen" -gt 30 ] || { echo "tour: only $seen commands were found" >&2; failed=1; }
echo "$seen commands"
exit "$failed"
