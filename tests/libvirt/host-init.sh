#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# PID 1 of a lab host. lab.sh starts it in new mount, network, uts, pid and cgroup namespaces; every mount below is the host's own.
# usage: host-init.sh NAME FOLDER ADDRESS/LEN UUID   (environment: LAB_HIERARCHIES, LAB_CACHE, LAB_TC_SHIM)
set -euo pipefail
name=$1 folder=$2 address=$3 uuid=$4

mount --make-rprivate /
mount -t proc proc /proc
# The inherited cgroup mounts must go: libvirt takes the first of a kind that it finds in /proc/mounts.
umount -R /sys
mount -t sysfs sysfs /sys
if [ "$LAB_HIERARCHIES" = v2 ]; then
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    # A group with processes of its own cannot hand controllers down, so the host's processes live in a leaf.
    mkdir -p /sys/fs/cgroup/init
    echo 1 >/sys/fs/cgroup/init/cgroup.procs
else
    mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
    for c in $LAB_HIERARCHIES; do
        mkdir "/sys/fs/cgroup/$c"
        mount -t cgroup -o "$c" cgroup "/sys/fs/cgroup/$c"
    done
fi

private() { mkdir -p "$1" "$2" && mount --bind "$1" "$2"; }
private "$folder/run" /run
private "$folder/etc" /etc/libvirt
private "$folder/lib" /var/lib/libvirt
private "$folder/log" /var/log/libvirt
private "$folder/../shared" /var/lib/libvirt/shared
private "$LAB_CACHE/qemu" /var/cache/libvirt # what QEMU can do is asked once, not by every host (2 s of CPU)
private "$LAB_CACHE/pki/$name" /etc/pki
mkdir -p /var/lib/libvirt/images
hostname "$name"
{
    echo "127.0.0.1 localhost"
    for i in 1 2 3 4 5 6 7 8 9; do echo "10.78.0.$((10 + i)) hv$i"; done
} >"$folder/hosts"
mount --bind "$folder/hosts" /etc/hosts

cat >/etc/libvirt/libvirtd.conf <<CONF
listen_tcp = 1
listen_tls = 1
auth_tcp = "none"
auth_tls = "none"
auth_unix_ro = "none"
auth_unix_rw = "none"
host_uuid = "$uuid"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
keepalive_interval = 5
keepalive_count = 3
CONF
# No log daemon, no security driver, no device namespaces: one libvirtd is all that runs here.
cat >/etc/libvirt/qemu.conf <<'CONF'
user = "root"
group = "root"
security_driver = "none"
dynamic_ownership = 0
remember_owner = 0
stdio_handler = "file"
namespaces = []
CONF

if [ -n "${LAB_TC_SHIM:-}" ]; then
    tc=$(readlink -f "$(command -v tc)")
    : >/run/tc
    mount --bind "$tc" /run/tc
    mount --bind "$LAB_TC_SHIM" "$tc"
fi

ip link set lo up
# Its address is fixed, so that a host that comes back is reached at once and not after the neighbours' ARP entries have aged.
ip link add br0 address "52:54:00:4c:00:0${name#hv}" type bridge forward_delay 0
ip link set br0 up
ip address add "$address" dev br0
: >/run/lab-ready
# PID 1 collects the orphans of the host; bash does while it waits.
while :; do
    sleep 1000 &
    wait $! || true
done
