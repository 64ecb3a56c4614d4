#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# certificates.sh FOLDER N: certificates for qemu+tls, made once. FOLDER/hvI/ is /etc/pki of host I; the others are for ?pkipath=:
# ctl/ is a controller's, stranger/ trusts our hosts but its own certificate comes from another authority (the host refuses it),
# foreign/ knows another authority only (the client refuses the host). RSA: libvirt wants a key that can encipher.
set -euo pipefail
out=$1 count=$2
if [ -e "$out/.made" ] && [ "$(date +%s)" -lt "$(cat "$out/.made")" ]; then exit 0; fi
mkdir -p "$out"
exec 9>"$out/.lock"
flock 9
[ -e "$out/.made" ] && [ "$(date +%s)" -lt "$(cat "$out/.made")" ] && exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tool() { certtool "$@" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }; }

authority() { # NAME
    tool --generate-privkey --key-type=rsa --bits=2048 --outfile "$work/$1.key"
    printf 'cn = "%s"\nca\ncert_signing_key\nexpiration_days = 30\n' "$1" >"$work/template"
    tool --generate-self-signed --load-privkey "$work/$1.key" --template "$work/template" --outfile "$work/$1.pem"
}
signed() { # AUTHORITY CN KEY CERTIFICATE TEMPLATE-LINE...
    local authority=$1 cn=$2 key=$3 pem=$4
    shift 4
    mkdir -p "$(dirname "$key")" "$(dirname "$pem")"
    printf 'cn = "%s"\nencryption_key\nsigning_key\nexpiration_days = 30\n' "$cn" >"$work/template"
    printf '%s\n' "$@" >>"$work/template"
    tool --generate-privkey --key-type=rsa --bits=2048 --outfile "$key"
    tool --generate-certificate --load-privkey "$key" --load-ca-certificate "$work/$authority.pem" \
        --load-ca-privkey "$work/$authority.key" --template "$work/template" --outfile "$pem"
}
client() { # FOLDER AUTHORITY TRUSTED...
    local folder=$out/$1 authority=$2
    signed "$authority" "$1" "$folder/clientkey.pem" "$folder/clientcert.pem" tls_www_client
    shift 2
    (cd "$work" && cat "${@/%/.pem}") >"$folder/cacert.pem"
}

authority lab
authority other
client ctl lab lab
client stranger other lab other # its own authority too, or libvirt's client finds the fault before the host does
client foreign other other
for ((i = 1; i <= count; i++)); do
    pki=$out/hv$i
    signed lab "hv$i" "$pki/libvirt/private/serverkey.pem" "$pki/libvirt/servercert.pem" \
        tls_www_server "dns_name = \"hv$i\"" "ip_address = \"10.78.0.$((10 + i))\""
    signed lab "hv$i" "$pki/libvirt/private/clientkey.pem" "$pki/libvirt/clientcert.pem" tls_www_client
    mkdir -p "$pki/CA"
    cp "$work/lab.pem" "$pki/CA/cacert.pem"
done
echo $(($(date +%s) + 20 * 86400)) >"$out/.made"
