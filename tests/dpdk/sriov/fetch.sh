#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# fetch.sh FOLDER: a QEMU that emulates SR-IOV (the igb card, QEMU 8 or newer) and Debian's ordinary kernel (the cloud kernel has no
# igb), unpacked into FOLDER once and not installed; apt's own lists are left alone. Exits 77 with a reason where they cannot be had.
set -euo pipefail
mkdir -p "$1"
out=$(cd "$1" && pwd)
exec 9>"$out/.lock"
flock 9
[ ! -e "$out/.done" ] || exit 0
cannot() { echo "no SR-IOV here: $*" >&2; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{lists/partial,cache/archives/partial}

# The mirror that this machine uses, with the suite that has the newer QEMU.
mirror=$(awk '/^URIs:/ {print $2; exit} /^deb / {for (i = 2; i <= NF; i++) if ($i ~ /^http/) {print $i; exit}}' \
    /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null || true)
[ -n "$mirror" ] || cannot "apt has no mirror"
key='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]'
printf 'deb %s %s bookworm-backports main\ndeb %s %s bookworm main\n' "$key" "$mirror" "$key" "$mirror" >"$work/sources.list"
cat >"$work/apt.conf" <<END
Dir::Etc::sourcelist "$work/sources.list"; Dir::Etc::sourceparts "-"; Dir::State::lists "$work/lists"; Dir::Cache "$work/cache";
APT::Sandbox::User "root";
END
export APT_CONFIG=$work/apt.conf
cd "$work"
apt-get -qq update >"$work/log" 2>&1 || cannot "apt-get update failed: $(tail -1 "$work/log")"
apt-get -qq download -t bookworm-backports qemu-system-x86 qemu-system-common qemu-system-data >"$work/log" 2>&1 ||
    cannot "QEMU of bookworm-backports cannot be fetched: $(tail -1 "$work/log")"
kernel=$(apt-cache depends linux-image-amd64 | awk '/Depends: linux-image-[0-9]/ {print $2; exit}')
apt-get -qq download "$kernel" >"$work/log" 2>&1 || cannot "$kernel cannot be fetched: $(tail -1 "$work/log")"
rm -rf "$out/qemu" "$out/kernel"
for package in qemu-*.deb; do dpkg -x "$package" "$out/qemu"; done
dpkg -x linux-image-*.deb "$out/kernel"
depmod -b "$out/kernel" "$(basename "$out"/kernel/lib/modules/*)"
# Only this device is asked for: a list of all loads modules of the installed QEMU and dies of them.
"$out/qemu/usr/bin/qemu-system-x86_64" -device igb,help >"$work/log" 2>&1 || cannot "this QEMU has no igb card: $(tail -1 "$work/log")"
touch "$out/.done"
