#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Sourced by inside.sh: libvirt in this guest starts a domain of its own, with `<interface type='hostdev'>` as the library writes it for a VF
# that it bound to vfio-pci, and another one that gets a VF from a network with forward mode hostdev. Emulated twice, but the same calls.
if ! command -v libvirtd >/dev/null || ! command -v qemu-system-x86_64 >/dev/null; then
    echo "ok libvirt starts a domain on a virtual function # SKIP libvirtd or QEMU is missing, packages libvirt-daemon-system, qemu-system-x86"
    return 0
fi
virsh() { command virsh -q -c qemu:///system "$@"; }
start_libvirt() {
    mkdir -p /etc/libvirt /etc/mdevctl.d /var/cache /var/tmp
    hostname card # a name that resolves
    echo '127.0.0.1 card' >>/etc/hosts
    # Whom the package would have made; libvirtd wants to see them even when it uses root.
    echo 'libvirt-qemu:x:64055:64055::/var/lib/libvirt:/bin/sh' >>/etc/passwd
    printf 'kvm:x:104:\nlibvirt:x:105:\nlibvirt-qemu:x:64055:\n' >>/etc/group
    echo 1234567890abcdef1234567890abcdef >/etc/machine-id
    printf 'auth_unix_rw = "none"\nhost_uuid = "3f1c2e6a-1111-4222-8333-444455556666"\nlog_outputs = "3:file:/tmp/libvirtd.log"\n' >/etc/libvirt/libvirtd.conf
    printf '%s\n' 'user = "root"' 'group = "root"' 'security_driver = "none"' 'dynamic_ownership = 0' 'remember_owner = 0' \
        'stdio_handler = "file"' 'namespaces = []' 'cgroup_controllers = []' >/etc/libvirt/qemu.conf
    libvirtd --daemon --pid-file /run/libvirtd.pid
}
domain() { # NAME, INTERFACE on the standard input
    cat <<XML
<domain type='qemu'><name>$1</name><memory unit='MiB'>128</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type><kernel>/job/vmlinuz</kernel><initrd>/job/domain.cpio</initrd>
<cmdline>console=ttyS0 quiet nokaslr mitigations=off no_timer_check tsc=reliable panic=-1</cmdline></os>
<features><acpi/></features>
<devices><emulator>$(command -v qemu-system-x86_64)</emulator><serial type='file'><source path='/tmp/$1.console'/></serial>
<controller type='usb' model='none'/><memballoon model='none'/>
$(cat)
</devices></domain>
XML
}
line() { $hold $journal look | grep "^vf $1 "; }
driver_is() { is "$(driver "$1")" "$2"; }
transfer=$SOURCE/tests/dpdk/sriov/transfer.py

check "libvirt runs" start_libvirt
check "and answers" wait_for 60 virsh list
check "a function is taken for a guest" says "driver=vfio-pci" $hold $journal take 20 0 eth0 mac=52:54:00:aa:00:20
address=$($hold $journal look | sed -n 's/^vf \([^ ]*\) .*shard=20 .*/\1/p')
$hold $journal xml 20 0 | domain given >/tmp/given.xml
check "a domain with the library's interface is defined" virsh define /tmp/given.xml
check "libvirt starts it on the function" virsh start given
at domain started
check "it runs on that function, by VFIO" says "<driver name='vfio'/>" virsh dumpxml given
check "its address is the one that the library set" says "52:54:00:aa:00:20" vf eth0 0
check "while it runs the function is not given back" says SPR_E_BUSY $hold $journal give 20 0

# ---- meanwhile: one from a pool, which is what `vf_network` names ----
echo "<network><name>vfs</name><forward mode='hostdev' managed='yes'><pf dev='eth1'/></forward></network>" >/tmp/vfs.xml
check "a network of the other card's functions is defined" virsh net-define /tmp/vfs.xml
check "and started" virsh net-start vfs
echo "<interface type='network'><mac address='52:54:00:aa:00:21'/><source network='vfs'/></interface>" | domain pooled >/tmp/pooled.xml
check "a domain with an interface of that network is defined" virsh define /tmp/pooled.xml
check "libvirt starts it" virsh start --paused pooled
pooled=$(virsh dumpxml pooled | sed -n "s/.*bus='0x02' slot='0x\(..\)' function='0x\(.\)'.*/0000:02:\1.\2/p" | head -1)
check "it has a function of that card" driver_is "$pooled" vfio-pci
check "the library leaves that one to libvirt" says "state=2" line "$pooled"
check "the card has its address" says "link/ether 52:54:00:aa:00:21" ip link show eth1
check "it ends" virsh destroy pooled
check "its function has its driver again" wait_for 20 driver_is "$pooled" igbvf
check "the network is gone" virsh net-destroy vfs

# ---- the first one has booted by now ----
client=$(ls "/sys/bus/pci/devices/0000:01:10.2/net")
ip netns add cl
ip link set "$client" netns cl
ip -n cl addr add 10.79.1.1/24 dev "$client"
ip -n cl link set "$client" up
# Looked at seldom: each look takes time from the domain, which boots for a minute and longer.
up() { sleep 2 && grep -qs "domain: 52:54:00:aa:00:20 by igbvf" /tmp/given.console; }
check "the domain is up, its driver is that of the function" wait_for 12 up # looks, not seconds: 120
at domain is up
check "TCP to the domain and back, through its function" timeout 60 ip netns exec cl /usr/bin/python3 "$transfer" echo 10.79.1.2 7 1000000
sed 's/^/# /' $said
check "it ends" virsh destroy given
check "the function is given back once the domain is gone" fails says "shard=20 " $hold $journal look
ip netns del cl
kill "$(cat /run/libvirtd.pid)"
check "everything is as before libvirt" wait_for 20 as_before
