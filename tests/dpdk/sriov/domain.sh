#!/bb/busybox sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# PID 1 of the domain that libvirt starts inside the guest: it has nothing but a virtual function, on which it sends back what it receives.
B=/bb/busybox
$B mount -t proc proc /proc
$B mount -t sysfs sys /sys
$B mount -t devtmpfs dev /dev
while read -r m; do $B insmod "/order/$m"; done </order/list
left=300
until [ -e /sys/class/net/eth0 ] || [ $left = 0 ]; do
    $B sleep 0.2
    left=$((left - 1))
done
$B ip link set lo up
$B ip addr add 10.79.1.2/24 dev eth0
$B ip link set eth0 up
$B nc -ll -p 7 -e $B cat &
echo "domain: $($B cat /sys/class/net/eth0/address) by $($B basename "$($B readlink /sys/class/net/eth0/device/driver)")"
while :; do $B sleep 60; done
