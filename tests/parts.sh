#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Sourced by run.sh: one function a part. A part prints what it does, returns 0, 1 or 77 (cannot run here, last line says
# why), and writes "passed failed skipped" lines to $counts; a part without such lines counts as one test.

jobs=$(nproc)

# configure DIR OPTION...: a build folder, made anew when its options changed.
configure() {
    local dir=$1
    shift
    if [ ! -e "$dir/build.ninja" ] || [ "$(cat "$dir/.options" 2>/dev/null)" != "$*" ]; then
        rm -rf "$dir"
        meson setup "$dir" "$@" || return 1
        echo "$*" >"$dir/.options"
    fi
}
build_in() { ninja --quiet -j "$jobs" -C "$1"; }

# tests_in DIR ARGUMENT...: meson's tests, every subtest counted.
tests_in() {
    local dir=$1 code=0
    shift
    rm -f "$dir"/meson-logs/testlog*.junit.xml
    meson test -C "$dir" --no-rebuild --print-errorlogs --num-processes "$jobs" "$@" || code=$?
    python3 tests/count.py "$dir" >>"$counts" || return 1
    grep -ho "# SKIP.*" "$dir"/meson-logs/testlog*.txt >>"$counts.skips" # a skip names its reason
    return $code
}

# What ships, with debug information: the same optimisation, warnings are errors.
plain() { configure "$build/plain" --prefix=/usr -Dwerror=true -Ddebug=true -Dgsl=enabled -Dlibvirt=enabled -Dsriov=enabled -Ddpdk=enabled && build_in "$build/plain"; }

part_unit() { plain && tests_in "$build/plain" --no-suite libvirt --no-suite dpdk; }

part_sanitize() {
    CC=clang configure "$build/sanitize" --buildtype=debugoptimized -Dwerror=true -Db_sanitize=address,undefined \
        -Db_lundef=false -Ddpdk=enabled && build_in "$build/sanitize" || return 1
    ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
        tests_in "$build/sanitize" --suite unit --suite process --timeout-multiplier 6
}

part_valgrind() {
    plain || return 1
    tests_in "$build/plain" --suite unit --no-suite long --timeout-multiplier 30 --wrapper \
        "valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite,indirect,possible --suppressions=$PWD/tests/unit/valgrind.supp"
}

part_fuzz() {
    local seconds=${FUZZ_SECONDS:-10} code=0 target name
    [ -e tests/fuzz/meson.build ] || { echo "there are no fuzz targets yet"; return 77; }
    CC=clang configure "$build/fuzz" --buildtype=debugoptimized -Dfuzz=true -Db_lundef=false \
        -Db_sanitize=address -Dc_args=-fsanitize=fuzzer-no-link && build_in "$build/fuzz" || return 1
    for target in "$build"/fuzz/tests/fuzz/fuzz_*; do
        [ -f "$target" ] && [ -x "$target" ] || continue
        name=${target##*/fuzz_}
        [ -d "tests/fuzz/corpus/$name" ] || { echo "tests/fuzz/corpus/$name is missing"; echo 0 1 0 >>"$counts"; code=1; continue; }
        # New inputs go to the first folder; the committed corpus is read only.
        mkdir -p "$build/fuzz/found/$name"
        if (cd "$build/fuzz" && LSAN_OPTIONS="suppressions=$OLDPWD/tests/fuzz/lsan.supp:print_suppressions=0" "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
            "found/$name" "$OLDPWD/tests/fuzz/corpus/$name") 2>&1 | tail -n 40; then
            echo 1 0 0 >>"$counts"
        else
            echo "fuzz_$name failed"
            echo 0 1 0 >>"$counts"
            code=1
        fi
    done
    return $code
}

part_docs() {
    configure "$build/docs" -Ddocs=true -Dtests=false && ninja -C "$build/docs" doc/html
}

part_reuse() { reuse --root . lint; }

# The library as a stranger finds it: installed, through pkg-config alone, nothing of this tree on the command line.
part_install() {
    local root=$build/root pc code=0 std cc
    plain || return 1
    rm -rf "$root"
    meson install -C "$build/plain" --no-rebuild --destdir "$root" >"$build/install-files.log" || return 1
    pc=$(dirname "$(find "$root" -name shardpredict.pc)")
    [ -n "$pc" ] || { echo "shardpredict.pc is not installed"; return 1; }
    for std in c99 c11; do
        echo "embed.c in $std"
        if stranger cc "$std" examples/embed.c "$build/embed" "$root" "$pc" &&
            LD_LIBRARY_PATH=${pc%/pkgconfig} "$build/embed" | tee "$build/embed.out" && grep -q 'more than 4 cores' "$build/embed.out"; then
            echo 1 0 0 >>"$counts"
        else
            echo 0 1 0 >>"$counts"
            code=1
        fi
    done
    echo '#include <shardpredict.h>
#include <shardpredict/io.h>
#include <shardpredict/backend-gsl.h>
#include <shardpredict/backend-libvirt.h>
#include <shardpredict/backend-sim.h>
#include <shardpredict/backend-dpdk.h>
#include <shardpredict/backend-router.h>
#include <shardpredict/backend-sriov.h>
int main() { return spr_version_number() != SPR_VERSION_MAJOR * 1000000 + SPR_VERSION_MINOR * 1000 + SPR_VERSION_PATCH; }' \
        >"$build/stranger.cc"
    echo "the version in C++11"
    if stranger c++ c++11 "$build/stranger.cc" "$build/stranger" "$root" "$pc" && LD_LIBRARY_PATH=${pc%/pkgconfig} "$build/stranger"; then
        echo 1 0 0 >>"$counts"
    else
        echo 0 1 0 >>"$counts"
        code=1
    fi
    return $code
}
stranger() { # COMPILER STANDARD SOURCE PROGRAM ROOT PKGCONFIG
    # shellcheck disable=SC2046
    "$1" "-std=$2" -Wall -Wextra -Wpedantic -Werror "$3" -o "$4" \
        $(PKG_CONFIG_PATH=$6 PKG_CONFIG_SYSROOT_DIR=$5 pkg-config --cflags --libs shardpredict)
}

# The last release's library against this one; where nothing is released yet, two compilers must agree on one ABI.
part_abi() {
    local old code=0 lib
    plain || return 1
    CC=clang configure "$build/clang" --prefix=/usr -Dwerror=true -Ddebug=true -Dtests=false && build_in "$build/clang" || return 1
    for lib in libshardpredict io/libshardpredict-io backends/sim/libshardpredict-sim backends/gsl/libshardpredict-gsl \
        backends/libvirt/libshardpredict-libvirt backends/sriov/libshardpredict-sriov backends/dpdk/libshardpredict-dpdk \
        backends/router/libshardpredict-router; do
        abi_same "$build/clang/lib/$lib.so" "$build/plain/lib/$lib.so" || code=1
    done
    old=$(git -c safe.directory='*' tag --list 'v*' --sort=-v:refname 2>/dev/null | head -1)
    if [ -n "$old" ]; then
        echo "against $old"
        rm -rf "$build/old-source"
        git -c safe.directory='*' clone -q --branch "$old" . "$build/old-source" 2>/dev/null || return 1
        [ -e "$build/old/build.ninja" ] || meson setup "$build/old" "$build/old-source" -Ddebug=true -Dtests=false || return 1
        build_in "$build/old" || return 1
        for lib in libshardpredict io/libshardpredict-io backends/sim/libshardpredict-sim backends/gsl/libshardpredict-gsl \
        backends/libvirt/libshardpredict-libvirt backends/sriov/libshardpredict-sriov backends/dpdk/libshardpredict-dpdk \
        backends/router/libshardpredict-router; do
            abi_same "$build/old/lib/$lib.so" "$build/plain/lib/$lib.so" || code=1
        done
    fi
    return $code
}
# Without --exported-interfaces-only libabigail 2.2 falls over our locks in the libvirt backend, which no public type holds.
# abidiff's bit 3 (8) is an incompatible change, bits 0 and 1 are errors; bit 2 alone is an addition.
abi_same() {
    local code=0
    abidiff --exported-interfaces-only --headers-dir1 include --headers-dir2 include --drop-private-types "$1" "$2" || code=$?
    if [ $((code & 11)) = 0 ]; then
        echo "${2##*/}: same ABI"
        echo 1 0 0 >>"$counts"
    else
        echo 0 1 0 >>"$counts"
        return 1
    fi
}

# The packages build from what git would commit, and hold everything that the tool needs to run.
part_deb() {
    local copy=$build/deb/source root=$build/deb/root package
    rm -rf "$build/deb"
    mkdir -p "$copy" "$root"
    git -c safe.directory='*' ls-files -co --exclude-standard -z | tar -c --null -T - | tar -x -C "$copy" || return 1
    (cd "$copy" && DEB_BUILD_OPTIONS="nocheck parallel=$jobs" dpkg-buildpackage -b -us -uc -d) || return 1
    for package in "$build"/deb/*.deb; do
        case $package in *dbgsym*) ;; *) dpkg-deb -x "$package" "$root" ;; esac
    done
    LD_LIBRARY_PATH=$(dirname "$(find "$root" -name 'libshardpredict.so.?')") "$root/usr/bin/shardpredict" doctor
}

part_python() {
    [ -d bindings/python ] || { echo "there is no bindings/python yet"; return 77; }
    plain || return 1
    bindings/python/run-tests.sh "$build/plain" "$counts"
}

part_report() {
    command -v npm >/dev/null || need nodejs npm || { echo "node and npm are missing"; return 77; }
    plain || return 1
    tests_in "$build/plain" --suite report
}

# Hosts, daemons and guests are real; the kernel that they boot is fetched once and kept in the build folder.
part_libvirt() {
    [ "$(id -u)" = 0 ] || { echo "a lab of hosts needs root"; return 77; }
    # shellcheck disable=SC2086
    need $lab_packages || { echo "the lab's packages are missing"; return 77; }
    plain || return 1
    tests_in "$build/plain" --suite libvirt
}

# Packets and their real peers; scapy is Debian's, so it loads in Debian's python only.
part_dpdk() {
    # shellcheck disable=SC2086
    need $packet_packages || { echo "the data plane's packages are missing"; return 77; }
    plain || return 1
    tests_in "$build/plain" --suite dpdk
}
