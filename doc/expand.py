# SPDX-License-Identifier: MIT OR Apache-2.0
"""Doxygen's input filter: writes out what X-macros would make, so that every code, state and reason has its own entry."""
import re
import sys

text = open(sys.argv[1], encoding="utf-8").read()
rows = {}
for m in re.finditer(r"#define (SPR_\w+)\(X\)(.*?[^\\])\n", text, re.S):
    rows[m.group(1)] = re.findall(r'X\((\w+), (-?\d+), ((?:"[^"]*"(?:, )?)+)\)', m.group(2))


def expand(m):
    prefix, name = m.group(1), m.group(2)
    lines = []
    for ident, number, texts in rows[name]:
        words = re.findall(r'"([^"]*)"', texts)
        lines.append(f"{prefix}{ident} = {number}, /**< {': '.join(words)} */")
    return " ".join(lines)  # on one line, so that line numbers in warnings stay right


text = re.sub(r"#define SPR_X\([\w, ]*\) (SPR_\w*?)##name = number,\n\s*(SPR_\w+)\(SPR_X\)\n#undef SPR_X",
              lambda m: "\n" + expand(m) + "\n", text)
text = re.sub(r"^#define SPR_API.*$", "", text, flags=re.M)
sys.stdout.write(text)
