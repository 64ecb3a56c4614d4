# SPDX-License-Identifier: MIT OR Apache-2.0
"""The three extension modules: one for each C library, so that a program loads only what it uses."""
import os
import re
import shlex
import subprocess
import sys

import cffi

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import declarations as d  # noqa: E402

# Structs whose function pointers Python fills.
CALLBACKS = ["spr_async_ops", "spr_driver_ops", "spr_forecaster_ops", "spr_planner_ops", "spr_router_ops", "spr_source_ops",
             "spr_store_ops", "spr_logger", "spr_executor", "spr_controller_opts", "spr_planner_config", "spr_replay_opts"]


def pkg_config(*what):
    cmd = [os.environ.get("PKG_CONFIG", "pkg-config"), *what]
    return shlex.split(subprocess.run(cmd, stdout=subprocess.PIPE, text=True, check=True).stdout)


def include_dirs(package):
    """Where the headers are; pkg-config keeps quiet about folders that the compiler searches anyway."""
    return [f[2:] for f in pkg_config("--cflags-only-I", "--keep-system-cflags", package)]


def flags(package):
    libs = pkg_config("--libs", package)
    return {"include_dirs": include_dirs(package),
            "libraries": [f[2:] for f in libs if f.startswith("-l")],
            "library_dirs": [f[2:] for f in libs if f.startswith("-L")],
            "extra_link_args": [f for f in libs if not f.startswith(("-l", "-L"))]}


def module(name, package, headers, known=(), include=None):
    ffi = cffi.FFI()
    if include:
        ffi.include(include)
    text = d.declarations(include_dirs(package), headers, known)
    ffi.cdef(text)
    if not include:
        parsed = cffi.FFI()
        parsed.cdef(re.sub(r"^#define.*\n", "", text, flags=re.M))
        ffi.cdef(d.callbacks(parsed, CALLBACKS))
        ffi.enums = d.enums(parsed, text)
    ffi.set_source(name, "".join("#include <%s>\n" % h for h in [*known, *headers]), **flags(package))
    return ffi


core = module("shardpredict._core", "shardpredict", d.CORE)
io = module("shardpredict._io", "shardpredict-io", d.IO, d.CORE, core)
sim = module("shardpredict._sim", "shardpredict-sim", d.SIM, d.CORE, core)
