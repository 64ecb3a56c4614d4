#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# record.sh: prints what the sriov library reads of this machine's sysfs, one line an entry: "d PATH", "l PATH TARGET", "f PATH TEXT"
# (paths relative to /sys). tests/dpdk/sriov/igb.txt was made by it in guest.sh's guest; tests/unit/sysfs_tree.h unfolds it.
set -euo pipefail
cd /sys
link() { echo "l $1 $(readlink "$1")"; }
file() { if [ -r "$1" ]; then echo "f $1 $(tr '\n' ' ' <"$1" 2>/dev/null | sed 's/ $//')"; fi; }
interface() { # a folder devices/.../net/NAME
    echo "d $1"
    for name in address flags; do file "$1/$name"; done
}
echo "d bus/pci/devices"
for at in bus/pci/devices/*; do
    link "$at"
    real=$(realpath --relative-to=/sys "$at")
    echo "d $real"
    for name in class vendor device driver_override numa_node sriov_totalvfs sriov_numvfs sriov_drivers_autoprobe; do file "$real/$name"; done
    for name in driver iommu_group physfn "$real"/virtfn*; do
        name=${name##*/}
        [ ! -L "$real/$name" ] || link "$real/$name"
    done
    for net in "$real"/net/*; do [ ! -d "$net" ] || interface "$net"; done
done
for driver in bus/pci/drivers/*; do echo "d $driver"; done
echo "f bus/pci/drivers_probe"
for group in kernel/iommu_groups/*; do
    [ -d "$group" ] || continue
    echo "d $group/devices"
    for device in "$group"/devices/*; do link "$device"; done
done
