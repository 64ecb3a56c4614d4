#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# domain.sh NAME ADDRESS [MIB [VCPUS [MAX-VCPUS]]]: the XML of a lab guest (emulated, direct kernel boot, bridge br0) on stdout.
# Environment: GUEST (folder with kernel and initrd), and if wanted
#   DISK=PATH DISKFORMAT=qcow2    a virtio disk            EXTRA="lab.mute=1"         more kernel arguments
#   META='replica="image"'        the owner's metadata, attributes of <spr:vm>
#   AGENT=1                       a guest agent's channel  MACHINE=pc MAXMIB=MIB      machine type, ceiling of the balloon
set -euo pipefail
name=$1 address=$2 mib=${3:-96} vcpus=${4:-1} max_vcpus=${5:-${4:-1}} guest=${GUEST:?}
IFS=. read -r _ b c d <<<"$address"
mac=$(printf '52:54:00:%02x:%02x:%02x' "$b" "$c" "$d")
metadata='' disk='' channel=''
if [ -n "${META:-}" ]; then
    metadata="<metadata><spr:vm xmlns:spr=\"urn:libshardpredict:vm:1\" $META/></metadata>"
fi
if [ -n "${DISK:-}" ]; then
    disk="<disk type='file' device='disk'><driver name='qemu' type='${DISKFORMAT:-qcow2}'/><source file='$DISK'/><target dev='vda' bus='virtio'/></disk>"
fi
if [ -n "${AGENT:-}" ]; then
    channel="<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
fi
cat <<XML
<domain type='qemu'>
  <name>$name</name>
  $metadata
  <memory unit='MiB'>${MAXMIB:-$mib}</memory>
  <currentMemory unit='MiB'>$mib</currentMemory>
  <vcpu current='$vcpus'>$max_vcpus</vcpu>
  <os>
    <type arch='x86_64' machine='${MACHINE:-pc}'>hvm</type>
    <kernel>$guest/kernel</kernel>
    <initrd>$guest/initrd</initrd>
    <cmdline>console=ttyS0 quiet no_timer_check tsc=reliable panic=-1 lab.ip=$address/16 lab.name=$name${EXTRA:+ $EXTRA}</cmdline>
  </os>
  <features><acpi/><apic/><tcg><tb-cache unit='MiB'>16</tb-cache></tcg></features>
  <cpu mode='maximum'/>
  <on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <controller type='usb' model='none'/>
    $disk
    <interface type='bridge'><source bridge='br0'/><mac address='$mac'/><model type='virtio'/><rom enabled='no'/></interface>
    <serial type='file'><source path='/var/log/libvirt/$name.console'/></serial>
    $channel
    <memballoon model='virtio'><stats period='2'/></memballoon>
  </devices>
</domain>
XML
