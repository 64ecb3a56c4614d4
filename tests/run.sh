#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Sets up and runs all tests. On a bare Debian 12, as root, it installs what is missing first.
#   tests/run.sh              everything
#   tests/run.sh --quick      plain build, unit tests and the house's own tests
#   tests/run.sh PART...      these parts only, by the names of `parts` below
#   BUILD=DIR                 where the build folders and logs go (./build-tests)
# Ends with one line "N passed, N failed, N skipped" and exits 1 if anything failed. A part that fails shows its output.
# With CI=true a part that cannot run here is a failure, not a skip.
set -uo pipefail
cd "$(dirname "$0")/.."
. tests/need.sh
. tests/parts.sh
exec </dev/null
export LC_ALL=C.UTF-8
build=${BUILD:-$PWD/build-tests}
mkdir -p "$build"

parts="unit sanitize valgrind fuzz docs reuse install abi deb python report libvirt dpdk"
case "${1:-}" in
--help | -h) sed -n '3,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
--quick) wanted="unit" ;;
"") wanted=$parts ;;
*) wanted=$* ;;
esac
for part in $wanted; do
    case " $parts " in *" $part "*) ;; *) echo "no part '$part'; there are: $parts" >&2; exit 2 ;; esac
done

if [ "${1:-}" = --quick ]; then need $build_packages libcmocka-dev g++; else need $build_packages $test_packages; fi || exit 1

passed=0 failed=0 skipped=0
for part in $wanted; do
    started=$SECONDS code=0
    counts=$build/$part.counts
    : >"$counts"
    : >"$counts.skips"
    ("part_$part") >"$build/$part.log" 2>&1 || code=$?
    read -r p f s < <(awk '{p += $1; f += $2; s += $3} END {print p + 0, f + 0, s + 0}' "$counts")
    why=
    if [ $code = 77 ]; then
        why=" ($(tail -1 "$build/$part.log"))"
        if [ "${CI:-}" = true ]; then f=$((f + 1)); else s=$((s + 1)); fi
    elif [ $code != 0 ]; then
        [ "$f" -gt 0 ] || f=1
    elif [ $((p + f + s)) = 0 ]; then
        p=1
    fi
    [ "$f" = 0 ] || tail -n 400 "$build/$part.log"
    awk -v part="$part" -v p="$p" -v f="$f" -v s="$s" -v t=$((SECONDS - started)) -v why="$why" \
        'BEGIN {printf "== %-9s %4d passed %3d failed %3d skipped  %5.1f min%s\n", part, p, f, s, t / 60, why}'
    sort "$counts.skips" | uniq -c | sed 's/^ *\([0-9]*\) # SKIP/   skipped \1:/'
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
