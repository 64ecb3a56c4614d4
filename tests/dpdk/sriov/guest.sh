#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# guest.sh FETCHED JOB BUILD SOURCE: boots an emulated machine with two SR-IOV cards (Intel 82576, seven virtual functions each) behind an
# emulated IOMMU, runs JOB/run in it and ends when the guest is off. The console is JOB/console. FETCHED is fetch.sh's folder.
# MEMORY=2048 CPUS=2 in the environment.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
fetched=$1 job=$2 build=$3 source=$4
kernel=$fetched/kernel qemu=$fetched/qemu
release=$(basename "$kernel"/lib/modules/*)
trees=$(mktemp -d)
trap 'rm -rf "$trees"' EXIT
image() { # INIT MODULE...: busybox, these modules in the order of loading, and INIT, as an archive on the standard output
    local tree=$trees/$1 module file
    mkdir -p "$tree"/{bb,order,dev,proc,sys}
    cp /bin/busybox "$tree/bb/"
    install -m755 "$here/$1" "$tree/init"
    mknod -m600 "$tree/dev/console" c 5 1
    shift
    for module in "$@"; do
        modprobe -d "$kernel" -S "$release" --show-depends "$module" | awk '$1 == "insmod" {print $2}' | while read -r file; do
            grep -qxF "${file##*/}" "$tree/order/list" 2>/dev/null && continue
            cp "$file" "$tree/order/"
            echo "${file##*/}" >>"$tree/order/list"
        done
    done
    (cd "$tree" && find . | sort | cpio -o -H newc --quiet)
}
image init.sh virtio_pci 9pnet_virtio 9p igb igbvf vfio_pci af_packet veth | gzip -1 >"$job/initrd.gz"
# What libvirt boots inside the guest: not packed, as a machine that is emulated twice unpacks slowly.
image domain.sh igbvf >"$job/domain.cpio"
cp "$kernel"/boot/vmlinuz-* "$job/vmlinuz"
share() { echo "-virtfs local,path=$1,mount_tag=$2,security_model=none,multidevs=remap$3"; }
# shellcheck disable=SC2046
QEMU_MODULE_DIR=$qemu/usr/lib/x86_64-linux-gnu/qemu "$qemu/usr/bin/qemu-system-x86_64" \
    -L "$qemu/usr/share/qemu" -L /usr/share/seabios -L /usr/share/qemu -accel tcg,thread=multi,tb-size=256 -M q35 -cpu max \
    -smp "${CPUS:-2}" -m "${MEMORY:-2048}" \
    -display none -nodefaults -no-user-config -serial "file:$job/console" -no-reboot -monitor none \
    -device intel-iommu,intremap=on -device pcie-root-port,id=rp1,chassis=1 -device pcie-root-port,id=rp2,chassis=2 \
    -netdev hubport,id=n1,hubid=1 -device igb,bus=rp1,netdev=n1,romfile=,mac=52:54:00:5a:00:01 \
    -netdev hubport,id=n2,hubid=1 -device igb,bus=rp2,netdev=n2,romfile=,mac=52:54:00:5a:00:02 \
    $(share /usr usr ,readonly=on) $(share "$build" build ,readonly=on) $(share "$source" source ,readonly=on) $(share "$job" job "") \
    -kernel "$(echo "$kernel"/boot/vmlinuz-*)" -initrd "$job/initrd.gz" \
    -append "console=ttyS0 quiet intel_iommu=on no_timer_check tsc=reliable panic=-1" </dev/null >"$job/qemu.log" 2>&1
