#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Holt-Winters and the LSTM side by side with other programs, in one run on one core of this machine. Not a part of CI:
# about 5 minutes (2 of CPU), and the installation of the peers. On a bare Debian 12, as root, it installs what is missing.
#   benchmarks/peers.sh [hw] [lstm]     both without an argument; prints one table and a sentence on each bar
#   BUILD=DIR                           where everything is built (./build-peers)
#   COUNT=N                             series that the slow programs get of the 64 (default 6)
# Peers: R (r-base-core, r-cran-forecast), statsforecast (PyPI, in a virtual environment), PyTorch (python3-torch), KANN
# (its sources as they stand in the package cynn on PyPI, built with -O3 -march=native on OpenBLAS; KANN=DIR for others).
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/need.sh
exec </dev/null
export LC_ALL=C.UTF-8 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMBA_NUM_THREADS=1
build=${BUILD:-$PWD/build-peers}
count=${COUNT:-6}
parts=${*:-hw lstm}
case " $parts " in *" --help "* | *" -h "*) sed -n '3,9s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
need $build_packages libopenblas-dev
mkdir -p "$build"
core=(taskset -c 0)

{
    [ -e "$build/ours/build.ninja" ] || meson setup "$build/ours" --buildtype=release -Dtests=false
    ninja -C "$build/ours"
} >"$build/ours.log" 2>&1 || { tail -20 "$build/ours.log" >&2; exit 1; }

holt_winters() {
    need r-base-core r-cran-forecast python3-venv
    [ -x "$build/venv/bin/pip" ] || python3 -m venv "$build/venv"
    "$build/venv/bin/python3" -c 'import statsforecast' 2>/dev/null || "$build/venv/bin/pip" install -q statsforecast
    local ours=$build/ours/benchmarks/peer_holt_winters size file
    for size in "1008 24" "4032 24" "1152 288" "4032 288"; do
        set -- $size
        file=$build/series-$1-$2.csv
        "$ours" write "$1" "$2" 64 >"$file"
        echo "Holt-Winters, $1 steps, season $2" >&2
        "${core[@]}" "$ours" run "$file" "$2"
        "${core[@]}" Rscript benchmarks/peers/holt_winters.R "$file" "$2" "$count" 2>/dev/null
        "${core[@]}" "$build/venv/bin/python3" benchmarks/peers/holt_winters.py "$file" "$2" "$count"
    done
}

fetch_kann() {
    [ -e "$build/kann/kann.c" ] && return
    [ -x "$build/venv/bin/pip" ] || { need python3-venv; python3 -m venv "$build/venv"; }
    mkdir -p "$build/kann"
    (cd "$build/kann" && "$build/venv/bin/pip" download -q --no-deps --no-binary cynn cynn==0.1.5 &&
        tar -xzf cynn-0.1.5.tar.gz --strip-components=3 --wildcards '*/thirdparty/kann/k*.[ch]')
}

lstm() {
    need python3-torch
    local kann=${KANN:-$build/kann} units
    [ -n "${KANN:-}" ] || fetch_kann
    # shellcheck disable=SC2046
    cc -std=gnu99 -O3 -march=native -ffast-math -w -DHAVE_CBLAS -I"$kann" $(pkg-config --cflags openblas) \
        "$kann/kann.c" "$kann/kautodiff.c" benchmarks/peers/lstm_kann.c -o "$build/lstm_kann" \
        $(pkg-config --libs openblas) -lm -lpthread
    for units in 32 64; do
        echo "LSTM, $units units" >&2
        "${core[@]}" "$build/ours/benchmarks/bench_net" "$units"
        "${core[@]}" "$build/lstm_kann" "$units" 1 64 256 1024
        "${core[@]}" /usr/bin/python3 benchmarks/peers/lstm_torch.py "$units" 1 64 256 1024
    done
}

: >"$build/figures.txt"
for part in $parts; do
    case $part in
    hw) holt_winters ;;
    lstm) lstm ;;
    *) echo "no part '$part'; there are: hw lstm" >&2; exit 2 ;;
    esac >>"$build/figures.txt"
done
lscpu | sed -n 's/^Model name: */machine: /p'
date '+date: %Y-%m-%d'
python3 benchmarks/peers/table.py "$build/figures.txt"
