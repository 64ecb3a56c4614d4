#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Stands in for tc inside a lab host (LAB_TC_SHIM=1) where the kernel lacks sch_sfq, cls_fw or act_police, which libvirt's <bandwidth>
# needs: what the guest receives is limited by htb as ever, only that its leaf is a plain queue and its default class needs no
# filter; what it sends is limited by nftables where it comes in, at the same rate. The real tc is at /run/tc.
set -euo pipefail
words=" $* "
value_after() { # WORD
    local rest=${words#* "$1" }
    [ "$rest" = "$words" ] || echo "${rest%% *}"
}
device=$(value_after dev)
table=sprlab_$(tr -c 'a-zA-Z0-9\n' _ <<<"$device")
case $words in
*" qdisc add "*" sfq "*) exec /run/tc ${words%% sfq *} pfifo limit 256 ;;
*" filter "*" fw "*) exit 0 ;;
*" filter add "*" police "*)
    rate=$(value_after rate)
    nft "add table netdev $table; flush table netdev $table
        add chain netdev $table in { type filter hook ingress device \"$device\" priority 0; }
        add rule netdev $table in limit rate over ${rate%kbps} kbytes/second burst ${rate%kbps} kbytes drop"
    ;;
*" qdisc del "*" ingress "*)
    nft delete table netdev "$table" 2>/dev/null || true
    exec /run/tc "$@"
    ;;
*) exec /run/tc "$@" ;;
esac
