#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Makes C arrays of the report's style sheets and scripts. usage: embed.py OUT NAME=FILE..."""
import sys

out, pairs = sys.argv[1], [a.split("=", 1) for a in sys.argv[2:]]
with open(out, "w", encoding="ascii") as f:
    f.write("/* SPDX-License-Identifier: MIT OR Apache-2.0 */\n/* Made by embed.py. */\n#include \"report.h\"\n")
    for name, path in pairs:
        with open(path, "rb") as source:
            data = source.read()
        # A script or style inside HTML must not end its own element.
        if b"\0" in data or b"</script" in data.lower() or b"</style" in data.lower():
            sys.exit(f"{path}: cannot stand inside a page")
        f.write(f"const char {name}[] = {{\n")
        for i in range(0, len(data), 24):
            f.write(",".join(map(str, (b if b < 128 else b - 256 for b in data[i:i + 24]))) + ",\n")
        f.write("0};\n")
