#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Looks at reports in a headless browser: browser.sh MADE_UP TOOL WORKDIR. Prints TAP; skips, and says why, where node, its
# packages or the browser cannot be had. Screenshots are left in WORKDIR.
set -uo pipefail
made_up=$1 tool=$2 work=$3
here=$(cd "$(dirname "$0")" && pwd)
skip() { echo "1..0 # SKIP $*"; exit 0; }
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || skip "there is no chromium"
command -v node >/dev/null || skip "there is no node"
command -v npm >/dev/null || skip "there is no npm"
mkdir -p "$work/node"
if ! cmp -s "$here/package-lock.json" "$work/node/.installed"; then
    cp "$here/package.json" "$here/package-lock.json" "$work/node/"
    (cd "$work/node" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) >"$work/npm.log" 2>&1 ||
        skip "npm cannot install playwright-core and axe-core: $(tail -1 "$work/npm.log")"
    cp "$here/package-lock.json" "$work/node/.installed"
fi
cp "$here/look.mjs" "$work/node/look.mjs"

"$made_up" "$work/made-up.html" || { echo "1..1"; echo "not ok 1 - the made-up report is written"; exit 1; }
"$tool" generate --vms 40 --days 8 --seed 5 --out "$work/fleet.csv" &&
    "$tool" replay --trace "$work/fleet.csv" --hosts 4 --seed 3 --report "$work/replayed.html" >"$work/replayed.txt"
case $? in 0 | 3) ;; *) echo "1..1"; echo "not ok 1 - the tool writes a report"; exit 1 ;; esac
cd "$work/node" && exec node look.mjs "$browser" "$work" made-up replayed
