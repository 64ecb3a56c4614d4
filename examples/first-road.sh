#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# From nothing to a verdict: sets up, builds, generates a fleet, replays it under all policies, says where the report is.
# Needs a Debian 12 (root, or a user when the packages are there). Takes two or three minutes, most of it building.
#   VMS, DAYS, SEED   size and seed of the fleet (60, 14, 1)
#   OUT               where the results go (./first-road)
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/need.sh
out=${OUT:-first-road} build=${BUILD:-build-release}

need $build_packages
[ -e "$build/build.ninja" ] || meson setup "$build" -Dtests=false >"$build.log" 2>&1 || { cat "$build.log" >&2; exit 1; }
ninja -C "$build" >"$build.log" 2>&1 || { tail -40 "$build.log" >&2; exit 1; }
rm -f "$build.log"
tool=$build/examples/shardpredict/shardpredict

mkdir -p "$out" && out=$(cd "$out" && pwd)
"$tool" generate --vms "${VMS:-60}" --days "${DAYS:-14}" --seed "${SEED:-1}" --out "$out/fleet.csv"
code=0
"$tool" replay --trace "$out/fleet.csv" --policy all --seed "${SEED:-1}" --result "$out/result.json" \
    --ledger "$out/ledger.csv" --report "$out/report.html" || code=$?
[ $code = 0 ] || [ $code = 3 ] || exit $code # 3: done, but a limit on actions was broken
