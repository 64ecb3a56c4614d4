#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# build.sh FOLDER: the guest's kernel and initrd, made once. The kernel and its modules are Debian's cloud kernel (it boots in
# 2.5 s of emulated CPU, the ordinary one needs 7), fetched as a package file and unpacked, not installed; the rest is init.c.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
exec 9>"$out/.lock"
flock 9
stamp=$(cat "$here/init.c" "$here/build.sh" | sha256sum)
if [ -e "$out/kernel" ] && [ -e "$out/initrd" ] && [ "$(cat "$out/.stamp" 2>/dev/null)" = "$stamp" ]; then exit 0; fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir -p "$work/package"
fetch() { # the metapackage names the kernel of the day
    local package
    package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '/Depends: linux-image-[0-9]/ {print $2; exit}')
    [ -n "$package" ] && (cd "$work/package" && apt-get -qq -o APT::Sandbox::User=root download "$package")
}
if [ ! -e "$out/kernel.deb" ]; then
    fetch 2>/dev/null || { apt-get -qq update && fetch; } || { echo "no lab here: apt-get cannot fetch Debian's cloud kernel" >&2; exit 77; }
    mv "$work"/package/*.deb "$out/kernel.deb"
fi
dpkg-deb -x "$out/kernel.deb" "$work/unpacked"
release=$(basename "$work"/unpacked/lib/modules/*)
depmod -b "$work/unpacked" "$release"

mkdir -p "$work/image"/{dev,proc,sys,modules}
mknod -m 600 "$work/image/dev/console" c 5 1
"${CC:-cc}" -std=c11 -D_GNU_SOURCE -O2 -static -s -o "$work/image/init" "$here/init.c"
for module in virtio_pci virtio_net virtio_blk virtio_balloon virtio_console; do
    modprobe -d "$work/unpacked" -S "$release" --show-depends "$module" | awk '$1 == "insmod" {print $2}' | while read -r file; do
        grep -qxF "${file##*/}" "$work/image/modules/order" 2>/dev/null && continue
        cp "$file" "$work/image/modules/"
        echo "${file##*/}" >>"$work/image/modules/order"
    done
done
(cd "$work/image" && find . | sort | cpio -o -H newc --quiet) >"$out/initrd.new"
cp "$work"/unpacked/boot/vmlinuz-* "$out/kernel.new"
mv "$out/kernel.new" "$out/kernel"
mv "$out/initrd.new" "$out/initrd"
echo "$stamp" >"$out/.stamp"
