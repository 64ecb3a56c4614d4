# SPDX-License-Identifier: MIT OR Apache-2.0
# bash completion of shardpredict. Options are asked from the verb's own --help, so this file never lags behind.
_shardpredict() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} verb=${COMP_WORDS[1]-} tool=${COMP_WORDS[0]}
    local policies="all none static-p95 reactive reactive-tuned predictive oracle"
    COMPREPLY=()
    if [ "$COMP_CWORD" = 1 ]; then
        local verbs
        verbs=$("$tool" --help 2>/dev/null | sed -n 's/^  \([a-z][a-z]*\)  .*/\1/p')
        mapfile -t COMPREPLY < <(compgen -W "$verbs --help --version" -- "$cur")
        return
    fi
    case $prev in
    --policy) mapfile -t COMPREPLY < <(compgen -W "$policies" -- "$cur"); return ;;
    --from) mapfile -t COMPREPLY < <(compgen -W "libvirt:qemu:///system libvirt:qemu+ssh:// libvirt:qemu+tls:// libvirt:qemu+tcp:// libvirt:test:///default" -- "$cur"); return ;;
    --kind) mapfile -t COMPREPLY < <(compgen -W "auto net lstm hybrid" -- "$cur"); return ;;
    --method) mapfile -t COMPREPLY < <(compgen -W "auto seasonal-naive weekly-naive last-value holt-winters exponential-smoothing mix gsl-wavelet net lstm hybrid" -- "$cur"); return ;;
    esac
    if [[ $cur == -* ]]; then
        local options
        options=$("$tool" "$verb" --help 2>/dev/null | grep -o -E '^  (-[a-zA-Z], |    )?--[a-z][a-z-]*' | grep -o -E -- '--[a-z-]+')
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
        return
    fi
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$cur")
}
complete -F _shardpredict shardpredict
