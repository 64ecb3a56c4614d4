# SPDX-License-Identifier: MIT OR Apache-2.0
"""The installed C headers as cffi wants them: declarations without comments, attributes and macros.

The compiler's own preprocessor expands the X-macros, so a code, state or slot that C gains is here at the next build.
"""
import os
import re
import subprocess
import tempfile

# What each extension module adds to those before it, in this order.
CORE = ["shardpredict.h"] + ["shardpredict/ops/%s.h" % n for n in
                             ("async", "driver", "forecaster", "planner", "router", "source", "store", "world")]
IO = ["shardpredict/io.h"]
SIM = ["shardpredict/backend-sim.h"]

# Types that cffi knows by itself; the real headers would bring the C library's private words.
KNOWN = ("stddef.h", "stdint.h")


def preprocess(include_dirs, headers, *options):
    """Text of the headers after the preprocessor, without those of the C library."""
    compiler = os.environ.get("CC", "cc").split()
    with tempfile.TemporaryDirectory() as empty:
        for name in KNOWN:
            open(os.path.join(empty, name), "w").close()
        source = "".join("#include <%s>\n" % h for h in headers)
        where = [a for d in [empty, *include_dirs] for a in ("-I", d)]
        # Without the GNU word SPR_API is empty: cffi knows no attributes.
        cmd = [*compiler, "-E", "-P", "-nostdinc", "-U__GNUC__", "-x", "c", *where, *options, "-"]
        return subprocess.run(cmd, input=source, stdout=subprocess.PIPE, text=True, check=True).stdout


def constants(include_dirs, headers):
    """Names of the macros that are whole numbers, as lines that cffi lets the compiler evaluate."""
    number = re.compile(r"#define (SPR_[A-Z0-9_]+) (?:\(?-?\d+\)?|\(UINT64_C\(1\) << \d+\))$")
    return [m.group(1) for m in map(number.match, preprocess(include_dirs, headers, "-dM").splitlines()) if m]


def declarations(include_dirs, headers, known=()):
    """cdef text of `headers`; what `known` headers declare already is left out."""
    text = preprocess(include_dirs, [*known, *headers])
    if known:
        before = preprocess(include_dirs, known)
        if not text.startswith(before):
            raise RuntimeError("%s do not come after %s" % (headers, known))
        text = text[len(before):]
    names = set(constants(include_dirs, [*known, *headers])) - set(constants(include_dirs, known) if known else ())
    return text + "".join("#define %s ...\n" % n for n in sorted(names))


def callbacks(ffi, structs):
    """`extern "Python"` functions, one for each slot: spr_py_TABLE_SLOT, for struct spr_TABLE_ops and the like."""
    lines = []
    for struct in structs:
        table = re.sub(r"^spr_|_ops$", "", struct)
        for slot, field in ffi.typeof("struct " + struct).fields:
            if field.type.kind != "function":
                continue
            f = field.type
            lines.append("%s(%s);" % (ffi.getctype(f.result, "spr_py_%s_%s" % (table, slot)),
                                      ", ".join(map(ffi.getctype, f.args))))
    return 'extern "Python" {\n%s\n}\n' % "\n".join(lines)


def enums(ffi, text):
    """Source of IntEnum classes for every enum of the headers."""
    out = []
    for name in re.findall(r"^enum (spr_\w+)\s*\{", text, re.M):
        rows = [(n, v) for n, v in ffi.typeof("enum " + name).relements.items() if not n.endswith("_")]
        rows.sort(key=lambda r: (abs(r[1]), r[1] < 0))
        prefix = os.path.commonprefix([n for n, _ in rows])
        prefix = prefix[:prefix.rfind("_") + 1]
        title = "".join(w.capitalize() for w in name[len("spr_"):].split("_"))
        out.append("\n\nclass %s(enum.IntEnum):\n" % title +
                   "\n".join("    %s = %d" % (n[len(prefix):], v) for n, v in rows) + "\n")
    return "".join(out)
