#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Real libvirt daemons with QEMU guests on one Linux machine: hosts hv1..hvN in namespaces of their own, joined by a bridge that
# the machine's own network never sees. Needs root. Everything is in the folder $LAB and goes with `down`.
#
#   up [N]                     N hosts (3), libvirtd running on each; what is left of an earlier lab in $LAB is removed first
#   down                       no process, namespace, link, cgroup or file of the lab is left; fine when there is no lab
#   exec HOST CMD...           CMD inside a host            fab CMD...         CMD in the controller's network (10.78.0.1)
#   uri HOST [unix|unix-ro|tcp|tls|tls-stranger|tls-foreign]    the last two must be refused, see certificates.sh
#   uri HOST [lib]ssh[-stranger|-foreign]    after `sshd HOST`, which starts one with keys of its own: ssh the program or libssh;
#                              stranger has a key that the host does not take, foreign knows another key of the host
#   start HOST                 start libvirtd               kill-libvirtd HOST [SIGNAL]
#   stop-libvirtd HOST         it hangs (SIGSTOP)           cont-libvirtd HOST
#   libvirtd-pid HOST          as a PID of this machine     qemu-pid HOST GUEST
#   power-off HOST             the plug is pulled           power-on HOST      boots with the disks it had
#   link HOST up|down          its network cable            quota HOST PERCENT|off     of one core, for the whole host (control
#                              groups of version 1 refuse it while a guest has a larger quota of its own: then use slow)
#   slow HOST PERCENT|off      the host runs in this part of the time only, in slices of a tenth of a second
#   disk HOST small [MIB]      a folder of images that can be filled (64 MiB, gone when the power goes; stop guests with disks first)
#   disk HOST fill|free        fill it to the last block, and take that back
#   console HOST GUEST         what the guest has said on its serial line
#
# Environment: LAB (folder, needed); LAB_CACHE (guest image, certificates, QEMU's capabilities: kept, default $LAB.cache);
# LAB_TC_SHIM=1 (the hosts can limit bandwidth even where this kernel has no modules for it, see tc-shim.sh);
# LAB_OWNER (a PID: when that process ends, however it ends, the lab is taken down).
# Hosts have 10.78.0.11.., guests may have any other address in 10.78.0.0/16.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
die() {
    echo "lab.sh: $*" >&2
    exit 1
}
cannot() { # 77: no lab can be had on this machine, whatever the project does
    echo "lab.sh: no lab here: $*" >&2
    exit 77
}
usage() {
    sed -n '3,29s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit "$1"
}
case ${1:-} in help | --help | -h) usage 0 ;; esac
[ -n "${LAB:-}" ] || die "set LAB to the folder of the lab"
case $LAB in /*) ;; *) LAB=$PWD/$LAB ;; esac
LAB_CACHE=${LAB_CACHE:-$LAB.cache}
export LAB LAB_CACHE
# Names outside the folder carry the lab's own id, so that labs do not meet. A socket's path must fit into 108 bytes, which a
# build folder's need not: clients come in through this link.
id=$(printf %s "$LAB" | sha256sum | cut -c1-10)
door=/tmp/sprlab-$id

# ---- control groups: version 1 has a tree for each set of controllers, version 2 one for all
groups=/sys/fs/cgroup hierarchies=
if [ "$(stat -fc %T $groups)" = cgroup2fs ]; then
    hierarchies=v2
else
    hierarchies=$(awk -v dir=$groups '$3 == "cgroup" && index($2, dir "/") == 1 && $4 !~ /name=/ {sub(".*/", "", $2); print $2}' /proc/mounts | xargs)
fi
groups_of() {
    local h
    if [ "$hierarchies" = v2 ]; then
        echo "$groups/sprlab-$id-$1"
    else
        for h in $hierarchies; do echo "$groups/$h/sprlab-$id-$1"; done
    fi
}
hand_down() { # version 2: what a group may use, its children may use
    local c
    for c in $(cat "$1/cgroup.controllers"); do { echo "+$c" >"$1/cgroup.subtree_control"; } 2>/dev/null || true; done
    grep -qw cpu "$1/cgroup.subtree_control" || cannot "the control group $1 does not hand the cpu controller down"
}
make_groups() {
    local g
    if [ "$hierarchies" = v2 ]; then hand_down $groups; fi
    for g in $(groups_of "$1"); do
        mkdir -p "$g" || cannot "the control group $g cannot be made"
        if [ -e "$g/cpuset.cpus" ] && [ "$hierarchies" != v2 ]; then
            cat "${g%/*}/cpuset.cpus" >"$g/cpuset.cpus"
            cat "${g%/*}/cpuset.mems" >"$g/cpuset.mems"
        fi
    done
}
# This process becomes the host's; once the host has its leaf (version 2), only the leaf takes processes.
join_groups() {
    local g
    for g in $(groups_of "$1"); do
        [ ! -d "$g/init" ] || g=$g/init
        echo "$BASHPID" >"$g/cgroup.procs"
    done
}
remove_groups() {
    local g i
    for g in $(groups_of "$1"); do
        for ((i = 0; i < 100; i++)); do # a killed process leaves its group a moment later
            [ -d "$g" ] || break
            find "$g" -depth -type d -exec rmdir {} + 2>/dev/null && break
            sleep 0.05
        done
        [ ! -d "$g" ] || echo "lab.sh: control group $g cannot be removed" >&2
    done
}

# ---- processes; a file that names one has its start time too, because PIDs come round again
started() { # nothing when it has ended, collected or not
    local stat
    { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 0
    # shellcheck disable=SC2086
    set -- ${stat##*) }
    case $1 in Z | X) ;; *) echo "${20}" ;; esac
}
remember() { echo "$2 $(started "$2")" >"$LAB/$1"; }
recall() {
    local p t
    [ -e "$LAB/$1" ] && read -r p t <"$LAB/$1" && [ -n "$t" ] && [ "$(started "$p")" = "$t" ] && echo "$p"
}
# Processes in the namespace (KIND) that process P lives in.
inhabitants() { # KIND P
    find /proc/[0-9]*/ns/"$1" -maxdepth 0 -lname "$(readlink "/proc/$2/ns/$1" | sed 's/[][]/\\&/g')" 2>/dev/null | cut -d/ -f3
}
host_pid() { recall "$1/pid" || die "host $1 is not up in $LAB"; }
fab() {
    local p
    p=$(recall fab.pid) || die "there is no lab in $LAB"
    exec nsenter --net="/proc/$p/ns/net" -- "$@"
}
in_host() (
    host=$1
    shift
    p=$(host_pid "$host")
    join_groups "$host"
    exec nsenter -t "$p" -m -n -u -p -C -- "$@"
)
libvirtd_pid() {
    local p
    for p in $(inhabitants pid "$(host_pid "$1")"); do
        if [ "$(cat "/proc/$p/comm" 2>/dev/null)" = libvirtd ]; then
            echo "$p"
            return
        fi
    done
    die "no libvirtd runs on $1"
}
qemu_pid() {
    local p
    for p in $(inhabitants pid "$(host_pid "$1")"); do
        if tr '\0' ' ' 2>/dev/null <"/proc/$p/cmdline" | grep -q -- "-name guest=$2,"; then
            echo "$p"
            return
        fi
    done
    die "no guest $2 runs on $1"
}

# ---- up and down
lock() { # not in $LAB, which comes and goes
    mkdir -p "$LAB_CACHE"
    exec 9>"$LAB_CACHE/lock-$id"
    flock -w 120 9 || die "another lab.sh is at work in $LAB"
}
up_fab() {
    unshare -n sleep infinity 9>&- </dev/null >/dev/null 2>&1 &
    local p=$!
    until [ "$(readlink "/proc/$p/ns/net")" != "$(readlink /proc/self/ns/net)" ] && [ "$(cat "/proc/$p/comm")" = sleep ]; do
        kill -0 $p 2>/dev/null || cannot "network namespaces cannot be made"
        sleep 0.01
    done
    remember fab.pid $p
    (fab ip link set lo up)
    (fab ip link add fab0 type bridge forward_delay 0)
    (fab ip link set fab0 up)
    (fab ip address add 10.78.0.1/16 dev fab0)
}
up_host() {
    local h=$1 n=${1#hv} outer child i
    rm -rf "${LAB:?}/$h/run"
    mkdir -p "$LAB/$h"/{run,etc,lib,log} "$LAB/shared"
    make_groups "$h"
    (
        join_groups "$h"
        LAB_HIERARCHIES=$hierarchies LAB_TC_SHIM=${LAB_TC_SHIM:+$here/tc-shim.sh} exec unshare -m -n -u -p -C -f --kill-child -- \
            bash "$here/host-init.sh" "$h" "$LAB/$h" "10.78.0.$((10 + n))/16" "0000000$n-51ab-4000-8000-00000000000$n"
    ) 9>&- </dev/null >"$LAB/$h/init.log" 2>&1 &
    outer=$!
    remember "$h/outer.pid" $outer
    for ((i = 0; ; i++)); do
        [ ! -e "$LAB/$h/run/lab-ready" ] || break
        { kill -0 $outer 2>/dev/null && [ $i -lt 1500 ]; } || die "$h does not start: $(tail -3 "$LAB/$h/init.log")"
        sleep 0.02
    done
    child=$(tr -d ' ' <"/proc/$outer/task/$outer/children")
    remember "$h/pid" "$child"
    if [ "$hierarchies" = v2 ]; then # now that the first process has moved into the leaf, its parent can follow
        local g
        g=$(groups_of "$h")
        echo "$outer" >"$g/init/cgroup.procs"
        hand_down "$g"
    fi
    ip link add "lab$n" netns "$(recall fab.pid)" type veth peer name up0 netns "$child"
    (fab ip link set "lab$n" master fab0 up)
    in_host "$h" ip link set up0 master br0 up
}
start() {
    local h=$1 i
    in_host "$h" libvirtd --listen --daemon --pid-file /run/libvirtd.pid 9>&- </dev/null >>"$LAB/$h/init.log" 2>&1 ||
        die "libvirtd does not start on $h: $(tail -3 "$LAB/$h/init.log")"
    for ((i = 0; i < 1200; i++)); do
        if [ -S "$LAB/$h/run/libvirt/libvirt-sock" ]; then break; fi
        sleep 0.05
    done
    local v=(virsh -q -c "$(uri "$h" unix)")
    for ((i = 0; i < 1200; i++)); do
        "${v[@]}" hostname >/dev/null 2>&1 && break
        sleep 0.05
    done
    "${v[@]}" pool-info default >/dev/null 2>&1 && return
    for i in default:/var/lib/libvirt/images shared:/var/lib/libvirt/shared; do
        "${v[@]}" pool-define-as "${i%%:*}" dir --target "${i#*:}" >/dev/null
        "${v[@]}" pool-start "${i%%:*}" >/dev/null
        "${v[@]}" pool-autostart "${i%%:*}" >/dev/null
    done
}
power_off() { # PID 1 dies, and the kernel kills everything that lives in its namespace
    local h=$1 p
    slow "$h" off
    { freeze "$h" no; } 2>/dev/null || true # what is frozen does not die
    if p=$(recall "$h/pid"); then kill -9 "$p" 2>/dev/null || true; fi
    if p=$(recall "$h/outer.pid"); then
        # its first process may not be known yet when an `up` was cut off
        [ -e "$LAB/$h/pid" ] || kill -9 "$p" 2>/dev/null || true
        while kill -0 "$p" 2>/dev/null && [ -n "$(started "$p")" ]; do sleep 0.02; done
    fi
    rm -f "$LAB/$h/pid" "$LAB/$h/outer.pid"
    remove_groups "$h"
}
down() {
    local d p q
    if p=$(recall keeper.pid) && [ "$p" != $$ ]; then kill -9 -- "-$p" 2>/dev/null || true; fi
    for d in "$LAB"/hv[0-9]*/; do
        [ ! -d "$d" ] || power_off "$(basename "$d")"
    done
    if p=$(recall fab.pid); then
        for q in $(inhabitants net "$p"); do kill -9 "$q" 2>/dev/null || true; done
        while [ -n "$(started "$p")" ]; do sleep 0.02; done
    fi
    rm -f "$door"
    rm -rf --one-file-system "$LAB"
}
up() {
    local n=$1 i p
    [ "$(id -u)" = 0 ] || cannot "it needs root"
    [ -c /dev/net/tun ] || cannot "there is no /dev/net/tun"
    [ -n "$hierarchies" ] || cannot "no control groups are mounted at $groups"
    case $n in [1-9]) ;; *) die "up N: 1 to 9 hosts, not '$n'" ;; esac
    lock
    if [ -e "$LAB" ] && [ ! -e "$LAB/lab-id" ] && [ -n "$(ls -A "$LAB")" ]; then die "$LAB holds other things"; fi
    if p=$(recall owner.pid) && [ "$p" != "${LAB_OWNER:-}" ]; then die "the lab in $LAB belongs to process $p, which runs"; fi
    [ ! -e "$LAB/lab-id" ] || down
    bash "$here/guest/build.sh" "$LAB_CACHE/guest" || exit $?
    bash "$here/certificates.sh" "$LAB_CACHE/pki" 9
    mkdir -p "$LAB"
    echo "$id" >"$LAB/lab-id"
    ln -sfn "$LAB" "$door"
    if [ -n "${LAB_OWNER:-}" ]; then
        remember owner.pid "$LAB_OWNER"
        setsid bash "$here/lab.sh" keep 9>&- </dev/null >/dev/null 2>&1 &
        remember keeper.pid $!
    fi
    trap '[ $? = 0 ] || down' EXIT
    up_fab
    for ((i = 1; i <= n; i++)); do up_host "hv$i"; done
    for ((i = 1; i <= n; i++)); do start "hv$i"; done
}
keep() { # the owner's end is the lab's; this process is a session of its own, which a kill of the test's group does not reach
    while recall owner.pid >/dev/null; do sleep 0.5; done
    lock
    [ "$(recall keeper.pid)" = $$ ] && down
}

uri() {
    local n=${1#hv}
    case ${2:-unix} in
    unix) echo "qemu+unix:///system?socket=$door/$1/run/libvirt/libvirt-sock" ;;
    unix-ro) echo "qemu+unix:///system?socket=$door/$1/run/libvirt/libvirt-sock-ro" ;;
    tcp) echo "qemu+tcp://10.78.0.$((10 + n))/system" ;;
    tls) echo "qemu+tls://10.78.0.$((10 + n))/system?pkipath=$LAB_CACHE/pki/ctl" ;;
    tls-stranger | tls-foreign) echo "qemu+tls://10.78.0.$((10 + n))/system?pkipath=$LAB_CACHE/pki/${2#tls-}" ;;
    ssh | ssh-stranger | ssh-foreign | libssh | libssh-stranger | libssh-foreign)
        local key=user known=known
        case $2 in *-stranger) key=stranger ;; *-foreign) known=foreign ;; esac
        case $2 in
        lib*) echo "qemu+libssh://root@10.78.0.$((10 + n))/system?keyfile=$door/ssh/$key&known_hosts=$door/ssh/$known&sshauth=privkey" ;;
        *) echo "qemu+ssh://root@10.78.0.$((10 + n))/system?keyfile=$door/ssh/$key&command=$door/ssh/with-$known&no_tty=1" ;;
        esac
        ;;
    *) die "uri: no transport '$2'" ;;
    esac
}
# All keys are the lab's own. The ssh program reads its user's known_hosts, whatever a URI says, so it is started by a script.
ssh_keys() {
    local k
    [ ! -d "$LAB/ssh" ] || return 0
    mkdir "$LAB/ssh"
    for k in host other user stranger; do ssh-keygen -q -t ed25519 -N '' -C "$k" -f "$LAB/ssh/$k"; done
    for ((k = 1; k <= 9; k++)); do
        echo "10.78.0.$((10 + k)) $(cat "$LAB/ssh/host.pub")" >>"$LAB/ssh/known"
        echo "10.78.0.$((10 + k)) $(cat "$LAB/ssh/other.pub")" >>"$LAB/ssh/foreign"
    done
    for k in known foreign; do
        printf '#!/bin/sh\nexec ssh -F none -o UserKnownHostsFile=%s -o GlobalKnownHostsFile=none -o IdentitiesOnly=yes -o IdentityAgent=none "$@"\n' \
            "$door/ssh/$k" >"$LAB/ssh/with-$k"
        chmod +x "$LAB/ssh/with-$k"
    done
}
sshd() {
    local h=$1
    ssh_keys
    cat >"$LAB/$h/sshd.conf" <<CONF
ListenAddress 10.78.0.$((10 + ${h#hv}))
HostKey $LAB/ssh/host
AuthorizedKeysFile $LAB/ssh/user.pub
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PidFile /run/sshd.pid
CONF
    echo 'root:*:19000:0:99999:7:::' >"$LAB/$h/shadow" # the machine's root may be locked
    in_host "$h" mount --bind "$LAB/$h/shadow" /etc/shadow
    in_host "$h" mkdir -p /run/sshd
    in_host "$h" /usr/sbin/sshd -f "$LAB/$h/sshd.conf" -E "$LAB/$h/log/sshd.log" 9>&- </dev/null ||
        die "sshd does not start on $h: $(tail -3 "$LAB/$h/log/sshd.log")"
}
quota() {
    local v=-1
    [ "$2" = off ] || v=$(($2 * 1000))
    if [ "$hierarchies" = v2 ]; then
        [ $v != -1 ] || v=max
        echo "$v 100000" >"$groups/sprlab-$id-$1/cpu.max"
    else
        local g
        g=$(groups_of "$1" | grep -E '/cpu(,cpuacct)?/')
        echo 100000 >"$g/cpu.cfs_period_us"
        { echo "$v" >"$g/cpu.cfs_quota_us"; } 2>/dev/null || die "$1 cannot be held to $2 %: a guest has a larger quota (use slow)"
    fi
}
# Not by a quota, which would forbid the guests larger ones.
freeze() { # HOST yes|no
    if [ "$hierarchies" = v2 ]; then
        if [ "$2" = yes ]; then echo 1; else echo 0; fi >"$groups/sprlab-$id-$1/cgroup.freeze"
    else
        if [ "$2" = yes ]; then echo FROZEN; else echo THAWED; fi >"$(groups_of "$1" | grep /freezer/)/freezer.state"
    fi
}
slow() {
    local p
    if p=$(recall "$1/slow.pid"); then
        kill "$p" 2>/dev/null || true
        while [ -n "$(started "$p")" ]; do sleep 0.02; done
    fi
    rm -f "$LAB/$1/slow.pid"
    [ "$2" != off ] || return 0
    case $2 in [1-9] | [1-9][0-9]) ;; *) die "slow HOST 1..99 or off, not '$2'" ;; esac
    setsid bash "$here/lab.sh" slices "$1" "$2" 9>&- </dev/null >/dev/null 2>&1 &
    remember "$1/slow.pid" $!
}
slices() {
    local run freeze_for
    trap 'freeze "$1" no; exit' TERM EXIT
    run=$(printf '0.%03d' "$2")
    freeze_for=$(printf '0.%03d' $((100 - $2)))
    while recall "$1/pid" >/dev/null; do
        freeze "$1" yes
        sleep "$freeze_for"
        freeze "$1" no
        sleep "$run"
    done
}
disk() {
    local images=/var/lib/libvirt/images
    case $2 in
    small) in_host "$1" mount -t tmpfs -o "size=${3:-64}m,mode=755" images $images ;;
    fill) [ "$(in_host "$1" stat -fc %T $images)" = tmpfs ] || die "disk $1 small comes first"
        in_host "$1" dd if=/dev/zero of=$images/.filler bs=64k status=none 2>/dev/null || true ;;
    free) in_host "$1" rm -f $images/.filler ;;
    *) usage 2 ;;
    esac
}

[ $# -ge 1 ] || usage 2 >&2
command=$1
shift
case $command in
up) up "${1:-3}" ;;
down)
    [ -e "$LAB/lab-id" ] || exit 0
    lock
    down
    ;;
keep) keep ;;
fab) fab "$@" ;;
*)
    [ $# -ge 1 ] || usage 2 >&2
    case $command in
    exec) in_host "$@" ;;
    uri) uri "$@" ;;
    start) start "$1" ;;
    sshd) host_pid "$1" >/dev/null && sshd "$1" ;;
    libvirtd-pid) libvirtd_pid "$1" ;;
    qemu-pid) qemu_pid "$1" "$2" ;;
    kill-libvirtd)
        p=$(libvirtd_pid "$1")
        kill "-${2:-9}" "$p"
        while [ -n "$(started "$p")" ]; do sleep 0.01; done
        ;;
    stop-libvirtd) kill -STOP "$(libvirtd_pid "$1")" ;;
    cont-libvirtd) kill -CONT "$(libvirtd_pid "$1")" ;;
    power-off) power_off "$1" ;;
    power-on) up_host "$1" && start "$1" ;;
    link) fab ip link set "lab${1#hv}" "$2" ;;
    quota) quota "$1" "$2" ;;
    slow) host_pid "$1" >/dev/null && slow "$1" "$2" ;;
    slices) slices "$1" "$2" ;;
    disk) disk "$@" ;;
    console) cat "$LAB/$1/log/$2.console" ;;
    *) usage 2 >&2 ;;
    esac
    ;;
esac
