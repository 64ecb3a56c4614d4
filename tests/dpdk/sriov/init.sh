#!/bb/busybox sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# PID 1 of the guest with the card: /usr of the machine outside (read only, so the same programs and libraries), the build folder, and
# /job, from which it runs `run`. What that prints goes to /job/out, its exit code to /job/code; then the guest is switched off.
B=/bb/busybox
$B mkdir -p /proc /sys /dev /tmp /usr /etc /run /var/log /var/lib /root /build /job /source
$B mount -t proc proc /proc
$B mount -t sysfs sys /sys
$B mount -t devtmpfs dev /dev
while read -r m; do $B insmod "/order/$m" || echo "insmod $m failed"; done </order/list
for tag in usr build source; do
    $B mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro $tag /$tag || echo "9p $tag failed"
done
$B mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=none job /job
$B ln -s /run /var/run
for l in bin sbin lib lib64; do $B ln -s usr/$l /$l; done
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
mkdir -p /dev/shm /dev/pts
ln -s /proc/self/fd /dev/fd
mount -t tmpfs shm /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs tmp /tmp
printf 'root:x:0:0::/root:/bin/sh\n' >/etc/passwd
printf 'root:x:0:\n' >/etc/group
echo 'hosts: files' >/etc/nsswitch.conf
echo '127.0.0.1 localhost' >/etc/hosts
ip link set lo up
bash /job/run >/job/out 2>&1 </dev/null
echo $? >/job/code
sync
$B poweroff -f
