#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Sourced by scripts. need PACKAGE...: installs the Debian packages that are missing, as root or through sudo.
# Does nothing, and needs no rights, when all are there.

# What the libraries and the tool need (CONTRIBUTING.md says why), and what the tests need on top.
build_packages="gcc libc6-dev binutils meson ninja-build pkg-config python3 libjansson-dev zlib1g-dev libfyaml-dev libpopt-dev libgsl-dev
  libvirt-dev libxml2-dev libcurl4-gnutls-dev libnl-3-dev libnl-route-3-dev libdpdk-dev"
test_packages="libcmocka-dev g++ clang libclang-rt-dev llvm valgrind doxygen reuse abigail-tools python3-cffi python3-dev python3-numpy
  python3-pytest mypy
  python3-setuptools locales chromium git debhelper dpkg-dev libvirt-clients libxml2-utils libdpdk-dev"
# The lab of tests/libvirt: daemons, emulator, what builds the guest's image and the network.
lab_packages="libvirt-daemon-system libvirt-daemon-driver-qemu libvirt-clients qemu-system-x86 qemu-utils gnutls-bin curl iproute2 nftables
  openssh-server openssh-client cpio kmod util-linux gcc libc6-dev ovmf"
# The data plane of tests/dpdk: who else can make and read packets.
packet_packages="python3-scapy tshark dpdk qemu-system-x86 seabios busybox-static cpio kmod iproute2 ethtool wrk iperf3
  libvirt-daemon-system libvirt-clients"

need() {
    local missing=() p
    if ! command -v dpkg-query >/dev/null; then
        echo "not a Debian system: make sure that it has what Debian calls: $*" >&2
        return 0
    fi
    for p in "$@"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    local root=()
    if [ "$(id -u)" != 0 ]; then
        if ! sudo -n true 2>/dev/null; then
            echo "please install first: apt-get install ${missing[*]}" >&2
            return 1
        fi
        root=(sudo -n)
    fi
    echo "installing ${missing[*]}" >&2
    local log
    log=$(mktemp)
    if ! { "${root[@]}" apt-get -q update && "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qy \
        -o Dpkg::Use-Pty=0 install --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
        tail -20 "$log" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}
