#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Sourced by inside.sh: real TCP between virtual functions in namespaces (a client, a primary, a shard), through the router on a fourth one
# that the library bound to vfio-pci. All are of one card: its embedded switch is the network. The client reaches the service's address through
# the router's; the servers have it on their loopback and answer directly (direct server return).
plane=$(echo "$BUILD"/lib/backends/dpdk/libshardpredict-dpdk.so.?)
if [ ! -e "$plane" ]; then
    echo "ok the router forwards TCP on a virtual function # SKIP the data plane is not built, package libdpdk-dev"
    return 0
fi
transfer=$SOURCE/tests/dpdk/sriov/transfer.py
socket=/tmp/router.sock
declare -A name=([cl]=client [sv]=primary [sh]=shard) shard=([cl]=11 [sv]=12 [sh]=13) netdev serving
sysctl -qw vm.nr_hugepages=64

ask() { /usr/bin/python3 "$SOURCE/tests/dpdk/sriov/ask.py" $socket "$@"; }
send() { # ADDRESS BYTES NAME [GATE]
    local address=$1
    shift
    timeout 100 ip netns exec cl /usr/bin/python3 "$transfer" send "$address" 5201 "$@"
}
sent() { sed 's/^/# /' $said; }
up() { ip -n "$1" link show "${netdev[$1]}" | grep -q LOWER_UP; }

check "the router gets a function" says "driver=vfio-pci" $hold $journal take 10 0 eth0 mac=52:54:00:aa:00:10
router=$($hold $journal look | sed -n 's/^vf \([^ ]*\) .*shard=10 .*/\1/p')
for end in cl sv sh; do
    check "the ${name[$end]} gets one with its driver" says "driver=igbvf" $hold $journal take ${shard[$end]} 0 eth0 mac=52:54:00:aa:00:${shard[$end]} flags=4
    netdev[$end]=$($hold $journal look | sed -n "s/.*netdev=\([^ ]*\).*shard=${shard[$end]} .*/\1/p")
    ip netns add $end
    ip link set "${netdev[$end]}" netns $end
    ip -n $end addr add "10.79.0.$((shard[$end] - 10))/24" dev "${netdev[$end]}"
    [ $end = cl ] || ip -n $end addr add 10.79.9.9/32 dev lo
    ip -n $end link set lo up
    ip -n $end link set "${netdev[$end]}" up
    ip netns exec $end ethtool -K "${netdev[$end]}" tx off tso off gso off >/dev/null 2>&1
done
ip -n cl route add 10.79.9.9/32 via 10.79.0.77 dev "${netdev[cl]}"
ip -n cl neigh add 10.79.0.77 lladdr 52:54:00:aa:00:10 dev "${netdev[cl]}" nud permanent
for end in cl sv sh; do check "the ${name[$end]}'s link is up" wait_for 30 up $end; done
for end in sv sh; do
    ip netns exec $end /usr/bin/python3 "$transfer" serve 5201 ${name[$end]} >/tmp/served.$end 2>&1 </dev/null &
    serving[$end]=$!
done
check "TCP between two functions, by the card's own switch" send 10.79.0.2 20000000 primary
sent

cat >/tmp/router.yaml <<YAML
schema: 1
flows: 1024
pass: drop
promiscuous: false
memory_mb: 96
ports: [{type: device, device: "$router"}]
backends:
  - {name: primary, action: l2, port: 0, mac: "52:54:00:aa:00:12"}
  - {name: shard, action: l2, port: 0, mac: "52:54:00:aa:00:13"}
services: [{name: web, address: 10.79.9.9, protocol: tcp, port: 5201, primary: primary}]
YAML
LD_LIBRARY_PATH=$LD_LIBRARY_PATH:${plane%/*} $tool router --config /tmp/router.yaml --control $socket >/tmp/router.log 2>&1 </dev/null &
routing=$!
check "the router starts on it, through VFIO" wait_for 60 ask '{"cmd":"stats"}'
sed 's/^/# router: /' /tmp/router.log
check "its idle lcore naps, and it names the function for it: igbvf has no receive interrupts" ask '{"cmd":"stats"}' \
    "a['lcores'] == [{'idle': 'nap', 'lacking': '$router', 'waits': 0, 'woken': 0}]"
at router runs
check "while it runs the function is not given back" says SPR_E_BUSY $hold $journal give 10 0
check "TCP through the router reaches the primary" send 10.79.9.9 8000000 primary
sent
check "nothing was spilled" ask '{"cmd":"stats"}' 'a["services"]["web"]["spilled_packets"] == 0 and a["counters"]["shard"] == 0 and a["services"]["web"]["packets"]'

# ---- spill goes on while a transfer is half done ----
send 10.79.9.9 2000002 primary /tmp/one >/tmp/one.said 2>&1 &
one=$!
check "another is half done" wait_for 60 test -e /tmp/one.half
check "all new connections spill from now on" ask '{"cmd":"spill_set","service":"web","weights":{"shard":1}}'
check "TCP through the router reaches the shard" send 10.79.9.9 8000001 shard
sent
send 10.79.9.9 2000003 shard /tmp/two >/tmp/two.said 2>&1 &
two=$!
check "one to the shard is half done" wait_for 60 test -e /tmp/two.half
touch /tmp/one.go
check "the older one ends at the primary" wait $one
sed 's/^/# /' /tmp/one.said

# ---- spill goes off ----
check "no new connection spills from now on" ask '{"cmd":"spill_set","service":"web","weights":{"shard":0}}'
check "TCP through the router reaches the primary again" send 10.79.9.9 8000000 primary
sent
touch /tmp/two.go
check "the spilled one ends at the shard" wait $two
sed 's/^/# /' /tmp/two.said
check "five connections, two of them spilled, none moved" ask '{"cmd":"stats"}' \
    'a["counters"]["syn"] - a["counters"]["syn_repeated"] == 5 and a["services"]["web"]["spilled"] == 2 and a["counters"]["flow_moved"] == 0'
check "every packet ended in a counter" ask '{"cmd":"stats"}' \
    'sum(n for k, n in a["counters"].items() if k in ("primary", "shard", "pass", "return", "bounce", "reply") or k.startswith("drop_")) == a["received"]["packets"]'
ask '{"cmd":"stats"}' '{k: n for k, n in a["counters"].items() if n}' | sed 's/^/# counters: /'
kill -TERM $routing
check "the router ends when it is told to" wait $routing
sed 's/^/# router: /' /tmp/router.log
check "the function is given back once the router has ended" fails says "shard=10 " $hold $journal look

kill "${serving[@]}"
wait "${serving[@]}" 2>/dev/null
for end in cl sv sh; do
    ip netns del $end
    check "the ${name[$end]}'s function came back from its namespace" wait_for 20 $hold $journal give ${shard[$end]} 0
done
check "everything is as before the packets" as_before
