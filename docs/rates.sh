#!/usr/bin/env bash
# How exactly waterwheel, trafgen and tcpreplay keep a rate while the machine is busy: each sends into a veth pair of its own namespace while one loop for each CPU does nothing but run.
# What the other end received is counted each second, by the kernel. The tools take turns. It prints a table for docs/performance.md.
#
#   docs/rates.sh [--seconds N] [WATERWHEEL]     the program that is tried: target/release/waterwheel
#
# Needs root, iproute2, netsniff-ng (trafgen), tcpreplay, tcpdump.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=10
[ "${1-}" != --seconds ] || { seconds=$2; shift 2; }
waterwheel=${1-target/release/waterwheel}
for tool in "$waterwheel" ip trafgen tcpreplay tcpdump; do command -v "$tool" >/dev/null || { echo "rates.sh: there is no $tool" >&2; exit 1; }; done

net=ww-rates-$$ folder=$(mktemp -d) busy=()
clean_up() {
  for process in "${busy[@]}" "${tool_pid-}"; do [ -z "$process" ] || kill "$process" 2>/dev/null || true; done
  ip netns pids "$net" 2>/dev/null | xargs -r kill 2>/dev/null || true
  ip netns del "$net" 2>/dev/null || true
  rm -rf "$folder"
}
trap clean_up EXIT
ip netns add "$net"
inside() { ip netns exec "$net" "$@"; }
inside sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
ip -n "$net" link add va numtxqueues 1 type veth peer name vb
ip -n "$net" link set va up
ip -n "$net" link set vb up

# One packet of 64 bytes for all: as a capture, and as the words of trafgen.
"$waterwheel" generate "pcap:$folder/one.pcap" --count 1 --size 64 >/dev/null 2>&1
{ echo "{"; od -An -v -tx1 -j40 "$folder/one.pcap" | sed 's/ \(..\)/0x\1, /g'; echo "}"; } >"$folder/one.cfg"

received() { inside cat /sys/class/net/vb/statistics/rx_packets; }

# The packets a second at the other end: as a whole, and in the worst and the best second.
measure() { # NAME RATE COMMAND...
  local name=$1 rate=$2 before now first start=0 at worst="" best=0 one
  inside "${@:3}" >"$folder/log" 2>&1 &
  tool_pid=$!
  sleep 1
  first=$(received) before=$first start=$(date +%s%N) at=$start
  for _ in $(seq "$seconds"); do
    sleep 1
    now=$(received) one=$(date +%s%N)
    set -- $(((now - before) * 1000000000 / (one - at)))
    before=$now at=$one
    [ -n "$worst" ] && [ "$worst" -le "$1" ] || worst=$1
    [ "$best" -ge "$1" ] || best=$1
  done
  kill -0 "$tool_pid" 2>/dev/null || { cat "$folder/log" >&2; echo "rates.sh: $name ended too soon" >&2; exit 1; }
  inside bash -c 'kill -INT $(ip netns pids '"$net"' | grep -vx $$) 2>/dev/null' || true
  wait "$tool_pid" 2>/dev/null || true
  tool_pid=
  echo "| $rate | $name | $(((before - first) * 1000000000 / (at - start))) | $worst .. $best |"
}

for _ in $(seq "$(nproc)"); do (while :; do :; done) & busy+=($!); done
echo "| asked for | program | received a second | worst .. best second |"
echo "|---|---|---|---|"
for rate in 10000 100000 200000; do
  all=$((rate * (seconds + 30)))
  measure "\`waterwheel generate\`" $rate "$waterwheel" generate afxdp:va --size 64 --rate $rate
  measure "\`waterwheel forward pcap:\`" $rate "$waterwheel" forward "pcap:$folder/one.pcap,loop=0,rate=$rate" afxdp:va --one-way
  measure "trafgen" $rate trafgen --dev va --conf "$folder/one.cfg" --cpus 1 --num $all --rate ${rate}pps --no-sock-mem
  measure "tcpreplay" $rate tcpreplay --intf1 va --pps $rate --loop $all --preload-pcap "$folder/one.pcap"
done
