# SPDX-License-Identifier: MIT OR Apache-2.0
"""What a library exports = its map file = what its headers declare; and what it needs.

usage: check_symbols.py NM READELF NAME=LIBRARY..."""
import re
import subprocess
import sys

from house import declared, public_headers, read, run

NM, READELF = sys.argv[1:3]
LIBS = dict(a.split("=", 1) for a in sys.argv[3:])
MAPS = {"core": "lib/shardpredict.map", "io": "lib/io/shardpredict-io.map", "sim": "lib/backends/sim/shardpredict-sim.map",
        "gsl": "lib/backends/gsl/shardpredict-gsl.map", "libvirt": "lib/backends/libvirt/shardpredict-libvirt.map",
        "dpdk": "lib/backends/dpdk/shardpredict-dpdk.map", "router": "lib/backends/router/shardpredict-router.map",
        "sriov": "lib/backends/sriov/shardpredict-sriov.map"}
# libvirt's event loop and libcurl are set up once a process, whoever runs them.
# Which instructions the processor has is the same for everybody in the process.
GLOBALS = {"libvirt": {"event_loop_once", "event_loop_started"}, "dpdk": {"dp_express_level", "dp_flow_level", "dp_hash_level"}}
LIBC = {"libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
OWN = {"libshardpredict.so"}
ALLOWED = {"core": LIBC, "sim": LIBC, "io": LIBC | {"libjansson.so.4", "libz.so.1", "libfyaml.so.0"},
           "gsl": LIBC | {"libgsl.so.27", "libgsl.so.28", "libgslcblas.so.0"},
           "libvirt": LIBC | {"libvirt.so.0", "libxml2.so.2", "libcurl-gnutls.so.4", "libcurl.so.4"},
           "dpdk": LIBC | {f"librte_{n}.so.23" for n in ("eal", "ethdev", "mbuf", "mempool", "rcu", "ring")},
           "router": LIBC | {"libjansson.so.4"},
           "sriov": LIBC | {"libnl-3.so.200", "libnl-route-3.so.200"}}


def output(*cmd):
    return subprocess.run(cmd, stdout=subprocess.PIPE, text=True, check=True).stdout


def headers_of(lib):
    if lib == "io":
        return [h for h in public_headers() if h.endswith("/io.h")]
    if lib != "core":
        return [h for h in public_headers() if h.endswith(f"/backend-{lib}.h")]
    return [h for h in public_headers() if not re.search(r"/(io|backend-\w+)\.h$", h)]


def mapped(lib):
    text = re.sub(r"/\*.*?\*/", "", read(MAPS[lib]), flags=re.S)
    return re.findall(r"\b(spr_\w+)\s*;", text)


def exported(lib):
    rows = [line.split() for line in output(NM, "-D", "--defined-only", LIBS[lib]).splitlines()]
    return {r[-1].split("@")[0]: r for r in rows if r[-2] != "A"}


def difference(a, b, a_name, b_name):
    return [f"{n}: in {a_name}, not in {b_name}" for n in sorted(set(a) - set(b))] + \
           [f"{n}: in {b_name}, not in {a_name}" for n in sorted(set(b) - set(a))]


def map_equals_headers(lib):
    names = [n for h in headers_of(lib) for n in declared(h)]
    wrong = difference(mapped(lib), names, MAPS[lib], "the headers")
    return wrong + [f"{n}: twice in {MAPS[lib]}" for n in sorted({n for n in mapped(lib) if mapped(lib).count(n) > 1})]


def library_equals_map(lib):
    return difference(exported(lib), mapped(lib), "the library", MAPS[lib])


def versioned(lib):
    return [n for n, row in exported(lib).items() if "@@SHARDPREDICT" not in row[-1]]


def needs(lib):
    needed = re.findall(r"NEEDED.*\[(.*)\]", output(READELF, "-d", LIBS[lib]))
    sanitizer = re.compile(r"lib(asan|ubsan|tsan|lsan)\.")
    return [n for n in needed if n not in ALLOWED[lib] and not sanitizer.match(n)
            and not (lib != "core" and re.sub(r"\.so\..*", ".so", n) in OWN)]


def soname(lib):
    text = read("include/shardpredict/version.h")
    abi = re.search(r"define SPR_ABI_VERSION (\d+)", text).group(1)
    got = re.findall(r"SONAME.*\[(.*)\]", output(READELF, "-d", LIBS[lib]))
    want = ("libshardpredict" if lib == "core" else "libshardpredict-" + lib) + ".so." + abi
    return [] if got == [want] else [f"{got}, expected {want}"]


def no_writable_globals(lib):
    """Writable data in the core would be shared by everybody who loads it; relocated constants and the C runtime's own are none."""
    out = output(NM, "--defined-only", LIBS[lib])
    runtime = re.compile(r"^(_|\.L|completed)")  # the compiler's own; ours never begin like that
    return [" ".join(r[1:]) for r in (line.split() for line in out.splitlines())
            if len(r) == 3 and r[1] in "bBdDC" and not runtime.match(r[2]) and r[2] not in relocated(lib)
            and r[2] not in GLOBALS.get(lib, ())]


def relocated(lib, _seen={}):
    """Names in .data.rel.ro: const tables of pointers, read-only once the loader is done."""
    if lib not in _seen:
        sections = {m.group(1): m.group(2) for m in re.finditer(r"\[\s*(\d+)\]\s+(\S+)", output(READELF, "-SW", LIBS[lib]))}
        names = set()
        for row in output(READELF, "-sW", LIBS[lib]).splitlines():
            r = row.split()
            if len(r) >= 8 and sections.get(r[6], "").startswith((".data.rel.ro", ".dynamic", ".got")):
                names.add(r[7].split("@")[0])
        _seen[lib] = names
    return _seen[lib]


CHECKS = []
for each in LIBS:
    CHECKS += [(f"{each}: the map file lists what the headers declare", lambda lib=each: map_equals_headers(lib)),
               (f"{each}: the library exports what the map file lists", lambda lib=each: library_equals_map(lib)),
               (f"{each}: every exported symbol carries a version", lambda lib=each: versioned(lib)),
               (f"{each}: the soname comes from version.h", lambda lib=each: soname(lib)),
               (f"{each}: needs nothing outside its allow list", lambda lib=each: needs(lib)),
               (f"{each}: has no global state", lambda lib=each: no_writable_globals(lib))]
run(CHECKS)
