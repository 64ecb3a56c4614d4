#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# inside.sh: what is checked in the guest with the two emulated cards. Prints "ok SENTENCE" or "not ok SENTENCE" and, before the latter, why.
# BUILD is the build folder, SOURCE the project's; the library works on the guest's real sysfs, rtnetlink and VFIO.
set -u
hold=$BUILD/tests/dpdk/hold
tool=$BUILD/examples/shardpredict/shardpredict
journal=/tmp/vfs.journal
export LD_LIBRARY_PATH=$BUILD/lib:$BUILD/lib/io:$BUILD/lib/backends/sim:$BUILD/lib/backends/sriov
said=/tmp/said

# check SENTENCE COMMAND...: the command must succeed; what it said is shown where it does not.
check() {
    local sentence=$1
    shift
    if "$@" >$said 2>&1; then echo "ok $sentence"; else sed 's/^/# /' $said; echo "not ok $sentence"; fi
}
fails() { ! "$@"; }
# says TEXT COMMAND...: the command's output has the text, whether it succeeds or not.
says() {
    local text=$1
    shift
    "$@" 2>&1 | tee /tmp/says | grep -qF -- "$text" || { cat /tmp/says; false; }
}
driver() { basename "$(readlink "/sys/bus/pci/devices/$1/driver")"; }
is() { [ "$1" = "$2" ] || { echo "'$1' is not '$2'"; false; }; }
wait_for() { # LIMIT_S COMMAND...
    local left=$(($1 * 10))
    shift
    until "$@" >/dev/null 2>&1; do
        left=$((left - 1))
        [ $left -gt 0 ] || { echo "never came true: $*"; return 1; }
        sleep 0.1
    done
}
# What iproute2 says of one VF, without the interface's own lines.
vf() { ip link show "$1" | grep -E "^ *vf $2 "; }
# All that a release must restore. A host driver whose interface was up once has told the card an address that it made up itself: not ours.
everything() {
    { ip link show eth0; ip link show eth1; } | grep -E '^ *vf ' | sed -E '/52:54:00/!s/link\/ether [0-9a-f:]* brd/link\/ether ITS-OWN brd/'
    for d in /sys/bus/pci/devices/0000:0[12]:1*; do echo "${d##*/} $(driver "${d##*/}") $(cat "$d/driver_override")"; done
}
as_before() { diff <(everything) <(echo "$before"); }
at() { echo "# $(cut -d' ' -f1 /proc/uptime) s: $*"; }

at booted
ip link set eth0 up
ip link set eth1 up
check "a machine without virtual functions has its cards" says "pf 0000:01:00.0 eth0 driver=igb vfs=0 of 7" $hold $journal look
check "four are made" $hold $journal vfs eth0 4
check "three are made on the other card" $hold $journal vfs eth1 3
check "the kernel has made them" is "$(cat /sys/class/net/eth0/device/sriov_numvfs) $(cat /sys/class/net/eth1/device/sriov_numvfs)" "4 3"
check "doctor shows cards, IOMMU and vfio-pci" says "0000:01:00.0 eth0 (igb): 4 of 7 virtual functions" $tool doctor
check "doctor finds the IOMMU on" says "IOMMU       on, " $tool doctor
before=$(everything)

# ---- one is taken and given back ----
check "one is taken" $hold $journal take 1 0 eth0 mac=52:54:00:aa:00:01 vlan=100 qos=3 max=200 spoofchk=-1 trust=1
check "iproute2 shows all that was set" says \
    "vf 0     link/ether 52:54:00:aa:00:01 brd ff:ff:ff:ff:ff:ff, vlan 100, qos 3, tx rate 200 (Mbps), max_tx_rate 200Mbps, spoof checking off, link-state auto, trust on" \
    vf eth0 0
check "the library reads the same" says "vlan=100 qos=3 min=0 max=200 spoofchk=0 trust=1" $hold $journal look
check "it is bound to vfio-pci" is "$(driver 0000:01:10.0)" vfio-pci
group=$(basename "$(readlink /sys/bus/pci/devices/0000:01:10.0/iommu_group)")
check "its VFIO group is there" test -c "/dev/vfio/$group"
check "libvirt's interface names it" says "<address type='pci' domain='0x0000' bus='0x01' slot='0x10' function='0x0'/>" $hold $journal xml 1 0
check "it is not given twice" says SPR_E_EXISTS $hold $journal take 1 0 eth0
exec 7<>"/dev/vfio/$group"
check "it is not taken from a guest that has it open" says SPR_E_BUSY $hold $journal give 1 0
exec 7>&-
check "it is given back once the guest is gone" fails says "shard=1 " $hold $journal look
check "everything is as it was" as_before

# ---- what the host uses is left alone ----
used=$(ls /sys/bus/pci/devices/0000:01:10.0/net)
ip link set "$used" up
check "one whose interface is up is left to the host" says "the host uses it: its interface $used is up" $hold $journal look
check "the next one is taken instead" says "vf 0000:01:10.2 " $hold $journal take 2 0 eth0
check "and given back" $hold $journal give 2 0
ip link set "$used" down
ip addr add 192.0.2.1/32 dev "$used"
check "one with an address is left to the host" says "its interface $used has addresses" $hold $journal look
ip addr flush dev "$used"
ip netns add elsewhere
ip link set "$used" netns elsewhere
check "one in a container is left to it" says "its interface is in another namespace" $hold $journal look
ip netns del elsewhere
wait_for 10 test -e "/sys/bus/pci/devices/0000:01:10.0/net/$used"
echo vfio-pci >/sys/bus/pci/devices/0000:01:10.4/driver_override
check "one that somebody reserved is left to them" says "somebody else has reserved it for the driver vfio-pci" $hold $journal look
echo >/sys/bus/pci/devices/0000:01:10.4/driver_override

# ---- what the card refuses is undone ----
check "a promised rate is refused by this card" says "refuses the rates" $hold $journal take 3 0 eth0 mac=52:54:00:aa:00:03 vlan=9 min=10
check "and everything put back" as_before
check "a host driver keeps it for a container" says "driver=igbvf" $hold $journal take 4 0 eth0 mac=52:54:00:aa:00:04 flags=4
check "with the new address" is "$(cat /sys/bus/pci/devices/0000:01:10.0/net/*/address)" 52:54:00:aa:00:04
check "and it is given back" $hold $journal give 4 0
check "as it was" as_before

# ---- the process dies at every step ----
at crashes
n=0 code=137
while [ $code = 137 ]; do
    n=$((n + 1))
    (DIE=$n exec $hold $journal take 5 0 eth0 mac=52:54:00:aa:00:05 vlan=5 max=100 trust=1) >$said 2>&1
    code=$?
    [ $code = 137 ] || break
    check "killed before change $n of taking: the next look undoes it" says "vf 0000:01:10.0 " $hold $journal look
    check "and everything is as before ($n)" as_before
done
check "the undisturbed one is taken in the end" is "$code $((n > 6))" "0 1"
m=0 code=137
while [ $code = 137 ]; do
    m=$((m + 1))
    (DIE=$m exec $hold $journal give 5 0) >$said 2>&1
    code=$?
    [ $code = 137 ] || break
    check "killed before change $m of giving back: the next look ends it" fails says "shard=5 " $hold $journal look
    check "and everything is as before giving ($m)" as_before
    $hold $journal take 5 0 eth0 mac=52:54:00:aa:00:05 vlan=5 max=100 trust=1 >/dev/null 2>&1
done
check "the undisturbed one is given back in the end" is "$code $((m > 5))" "0 1"
check "everything is as it was in the beginning" as_before

at packets
# ---- packets: a data plane on a VF bound to vfio-pci, between two others, with the kernels' TCP ----
. "$SOURCE/tests/dpdk/sriov/packets.sh"
at libvirt
# ---- libvirt: a domain of its own on a VF ----
. "$SOURCE/tests/dpdk/sriov/libvirt.sh"
at done
check "no VF is left with a shard" fails says "state=1" $hold $journal look
