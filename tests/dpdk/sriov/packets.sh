#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Sourced by inside.sh: real TCP between two virtual functions in namespaces, through a data plane on a third one that the library bound
# to vfio-pci. All three are of one card: its embedded switch is the network. The client reaches the service's address through the
# data plane's; the server answers directly (its answers do not pass the data plane).
if ! command -v dpdk-testpmd >/dev/null; then
    echo "ok a DPDK program forwards TCP on a virtual function # SKIP dpdk-testpmd is missing, package dpdk"
    return 0
fi
mkdir -p /dev/hugepages
sysctl -qw vm.nr_hugepages=128
mount -t hugetlbfs huge /dev/hugepages

check "the data plane gets a function" says "driver=vfio-pci" $hold $journal take 10 0 eth0 mac=52:54:00:aa:00:10
router=$($hold $journal look | sed -n 's/^vf \([^ ]*\) .*shard=10 .*/\1/p')
for who in 11 12; do
    check "host $who gets one with its driver" says "driver=igbvf" $hold $journal take $who 0 eth0 mac=52:54:00:aa:00:$who flags=4
done
client=$($hold $journal look | sed -n 's/.*netdev=\([^ ]*\).*shard=11 .*/\1/p')
server=$($hold $journal look | sed -n 's/.*netdev=\([^ ]*\).*shard=12 .*/\1/p')
ip netns add cl
ip netns add sv
ip link set "$client" netns cl
ip link set "$server" netns sv
ip -n cl addr add 10.79.0.1/24 dev "$client"
ip -n sv addr add 10.79.0.2/24 dev "$server"
ip -n sv addr add 10.79.9.9/32 dev lo
for end in "cl $client" "sv $server"; do
    ip -n ${end% *} link set lo up
    ip -n ${end% *} link set "${end#* }" up
    ip netns exec ${end% *} ethtool -K "${end#* }" tx off tso off gso off >/dev/null 2>&1
done
ip -n cl route add 10.79.9.9/32 via 10.79.0.77 dev "$client"
ip -n cl neigh add 10.79.0.77 lladdr 52:54:00:aa:00:10 dev "$client" nud permanent
up() { ip -n cl link show "$client" | grep -q LOWER_UP && ip -n sv link show "$server" | grep -q LOWER_UP; }
check "both hosts' links are up" wait_for 30 up
ip netns exec sv python3 "$SOURCE/tests/dpdk/sriov/transfer.py" serve 5201 >/tmp/served 2>&1 </dev/null &
serving=$!

transfer() { # ADDRESS BYTES
    timeout 100 ip netns exec cl python3 "$SOURCE/tests/dpdk/sriov/transfer.py" send "$1" 5201 "$2"
}
check "TCP between two functions, by the card's own switch" transfer 10.79.0.2 20000000
sed 's/^/# direct: /' $said

dpdk-testpmd -l 0,1 --in-memory --no-telemetry -a "$router" -- --forward-mode=mac --port-topology=loop \
    --eth-peer=0,52:54:00:aa:00:12 --no-lsc-interrupt --total-num-mbufs=4096 --stats-period=1 >/tmp/testpmd.log 2>&1 </dev/null &
plane=$!
check "DPDK's igbvf driver starts on it through VFIO" wait_for 40 grep -q "nb forwarding ports=1" /tmp/testpmd.log
grep -aE "Probe PCI driver|IOVA mode|Port 0 Link" /tmp/testpmd.log | sed 's/^/# /'
check "while it runs the function is not given back" says SPR_E_BUSY $hold $journal give 10 0
check "TCP through the DPDK program on the function" transfer 10.79.9.9 8000000
sed 's/^/# through DPDK: /' $said
sleep 2
forwarded=$(sed -n 's/.*TX-packets: *\([0-9]*\).*/\1/p' /tmp/testpmd.log | tail -1)
check "it was the DPDK program that forwarded it" test "${forwarded:-0}" -gt 5400
kill -INT $plane
wait $plane
check "a stuck function is given back once the program has ended" fails says "shard=10 " $hold $journal look
ip -n sv link set lo down
kill $serving
ip netns del cl
ip netns del sv
for who in 11 12; do
    check "host $who's function came back from its namespace" wait_for 20 $hold $journal give $who 0
done
check "everything is as before the packets" as_before
