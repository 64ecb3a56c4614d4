# SPDX-License-Identifier: MIT OR Apache-2.0
"""The map, the umbrella header and the build agree on the rooms, and nobody looks into a later one."""
import os
import re

from house import ROOT, declared, files, public_headers, read, run, stages


def room_of(header):
    """shardpredict/forecast.h and shardpredict/forecast-model.h are the room forecast's; others are nobody's."""
    m = re.fullmatch(r"shardpredict/(\w+)(-\w+)?\.h", header)
    return m[1] if m and m[1] in stages() else None


STANDARD = {"assert.h", "ctype.h", "errno.h", "float.h", "inttypes.h", "limits.h", "math.h", "stdarg.h", "stdatomic.h",
            "stdbool.h", "stddef.h", "stdint.h", "stdio.h", "stdlib.h", "string.h"}
# What only one room may take from the system: the file journal writes files, the loop has an fd to be woken by.
SYSTEM = {"lifecycle": {"fcntl.h", "unistd.h", "errno.h", "sys/stat.h", "sys/types.h", "sys/uio.h"},
          "control": {"fcntl.h", "unistd.h", "errno.h", "sys/eventfd.h"}, "base": {"sys/eventfd.h", "unistd.h"}}
SIMD = {"immintrin.h"}


def includes(path):
    return re.findall(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', read(path), flags=re.M)


def umbrella():
    return [n[len("shardpredict/"):-2] for _, n in includes("include/shardpredict.h")]


def map_names_the_rooms():
    rows = re.findall(r"^\|\s*`lib/(\w+)/`", read("lib/README.md").split("\nBeside the core")[0], flags=re.M)
    return [] if rows == stages() else [f"lib/README.md has {rows}, lib/meson.build has {stages()}"]


def umbrella_follows_the_flow():
    return [] if umbrella() == stages() else [f"shardpredict.h includes {umbrella()}, lib/meson.build has {stages()}"]


def every_room_has_folder_header_and_test():
    wrong = []
    tests = [os.path.basename(f) for f in files(".c") if f.startswith("tests/unit/")]
    for s in stages():
        for need in (f"include/shardpredict/{s}.h", f"lib/{s}/meson.build", f"lib/{s}/{s}.h"):
            if not os.path.exists(os.path.join(ROOT, need)):
                wrong.append(f"{need} is missing")
        if not any(t.startswith(f"test_{s}_") for t in tests):
            wrong.append(f"no tests/unit/test_{s}_*.c")
    return wrong


def rooms_look_back_only():
    """A source of a room may include public headers up to its own room's, internal ones of its own and earlier rooms."""
    wrong, order = [], stages()
    for f in files(".c", ".h"):
        room = f.split("/")[1] if f.startswith("lib/") else None
        if room not in order:
            continue
        seen = order[:order.index(room) + 1]
        for _, name in includes(f):
            head = name.split("/")[0]
            if name in STANDARD or name in SYSTEM.get(room, ()) or name in SIMD:
                continue
            if head in order and head in seen:
                continue
            if room_of(name) in seen:
                continue
            if name.startswith("shardpredict/ops/"):
                continue  # tables are contracts between rooms; their own includes are checked below
            if "/" not in name and os.path.exists(os.path.join(ROOT, os.path.dirname(f), name)):
                continue
            wrong.append(f"{f} includes {name}")
    return wrong


def public_headers_look_back_only():
    wrong, order = [], umbrella()
    for f in public_headers():
        name = f[len("include/"):]
        room = room_of(name)
        for _, inc in includes(f):
            if inc in ("stddef.h", "stdint.h"):
                continue
            if not inc.startswith("shardpredict/"):
                wrong.append(f"{f} includes {inc}: only the C standard library and our own headers")
            elif room and room_of(inc) and order.index(room_of(inc)) > order.index(room):
                wrong.append(f"{f} includes {inc}, a later room")
            elif room and inc.startswith("shardpredict/ops/"):
                wrong.append(f"{f} includes {inc}: tables include stages, not the other way round")
    return wrong


def outsiders_see_public_headers_only():
    """io, backends, examples, benchmarks and bindings live like strangers: no internal header of the core."""
    wrong, order = [], stages()
    for f in files(".c", ".h"):
        if f.startswith(("lib/io/", "lib/backends/", "examples/", "bindings/")):
            for _, inc in includes(f):
                if inc.split("/")[0] in order and not inc.startswith("shardpredict/"):
                    wrong.append(f"{f} includes {inc}")
    return wrong


def the_core_has_no_surprises():
    """No printing, clock, environment, process exit, locale or threads inside the core."""
    bad = re.compile(r"\b(f?printf|puts|putchar|fputs|getenv|setenv|setlocale|localeconv|clock_gettime|gettimeofday|time|exit|"
                     r"abort|_exit|rand|srand|random|pthread_\w+|thrd_\w+|strtod|strtof|atof|sscanf|localtime\w*|gmtime\w*|"
                     r"mktime|sleep|usleep|nanosleep)\s*\(")
    wrong = []
    for f in files(".c", ".h"):
        if not (f.startswith("lib/") and f.split("/")[1] in stages()):
            continue
        text = re.sub(r"/\*.*?\*/|//[^\n]*", lambda m: re.sub(r"[^\n]", " ", m.group()), read(f), flags=re.S)
        text = re.sub(r'"(\\.|[^"\\\n])*"', '""', text)
        for n, line in enumerate(text.splitlines(), 1):
            m = bad.search(line)
            if m and "(*" + m.group(1) not in line and "->" + m.group(1) not in line and "." + m.group(1) not in line:
                wrong.append(f"{f}:{n}: {m.group(1)}")
    return wrong


def every_header_is_installed():
    text = read("include/meson.build")
    return [f"include/meson.build does not install {f}" for f in public_headers()
            if f"'{f[len('include/'):]}'" not in text]


def a_name_has_one_home():
    homes, wrong = {}, []
    for f in public_headers():
        for name in declared(f):
            if homes.setdefault(name, f) != f:
                wrong.append(f"{name} in {homes[name]} and {f}")
    return wrong


run([("the map in lib/README.md names the rooms of the build in flow order", map_names_the_rooms),
     ("the umbrella header includes the rooms in flow order", umbrella_follows_the_flow),
     ("every room has its folder, its headers and a test named after it", every_room_has_folder_header_and_test),
     ("a room includes only itself and earlier rooms", rooms_look_back_only),
     ("public headers include only earlier ones and the C standard library", public_headers_look_back_only),
     ("io, backends, examples and bindings see public headers only", outsiders_see_public_headers_only),
     ("the core does not print, read clocks, the environment or the locale, make threads or end the process",
      the_core_has_no_surprises),
     ("every public header is installed", every_header_is_installed),
     ("every public function is declared in one header", a_name_has_one_home)])
