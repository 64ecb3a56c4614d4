# SPDX-License-Identifier: MIT OR Apache-2.0
"""Rules for every file: a licence line, a length a person can read, no path of somebody's machine; README tells the truth."""
import os
import re

from house import ROOT, files, read, run

# Files that cannot carry a line (data, licences, binary); .reuse/dep5 speaks for them.
NO_COMMENTS = (".json", ".csv", ".csv.gz", ".gz", ".html", ".svg", ".png", ".txt", ".svgz", ".bin", ".golden", ".symbols")
LICENSED = ("MIT OR Apache-2.0",)
COPYLEFT = "GPL-3.0-or-later"  # what is linked with GSL and handed on: this folder, nothing else
TEXT = (".c", ".h", ".py", ".sh", ".md", ".build", ".txt", ".yaml", ".map", ".js", ".mjs", ".css", ".bash", ".1", ".toml", ".pyi")


def vendored(f):
    return "/vendor/" in f or f.startswith("LICENSES/")


def has_no_line(f):
    return vendored(f) or f.startswith(("tests/fuzz/corpus/", "tests/golden/", "debian/")) or f.endswith(NO_COMMENTS) \
        or f in ("LICENSE", ".reuse/dep5") or "/golden/" in f


def spdx():
    wrong = []
    for f in files():
        if not has_no_line(f):
            m = re.search(r"SPDX-License-" r"Identifier: (.*)", "\n".join(read(f).splitlines()[:6]))
            licence = m and m.group(1).replace("*/", "").replace("-->", "").strip()
            if licence not in ((COPYLEFT,) if f.startswith("lib/backends/gsl/") else LICENSED):
                wrong.append(f)
    return wrong


def length():
    return [f"{f}: {n} lines" for f in files(*TEXT) if not vendored(f) and not f.startswith("tests/fuzz/corpus/")
            for n in [read(f).count("\n")] if n > 700]


def machine_paths():
    where = re.compile(r"(?<![\w.])(/work/|/home/\w|/root/|/tmp/wt|/tmp/b-)")
    return [f"{f}:{n}: {line.strip()[:80]}" for f in files(*TEXT) if not vendored(f) and f != "tests/house/check_text.py"
            for n, line in enumerate(read(f).splitlines(), 1) if where.search(line)]


def unfinished():
    word = re.compile(r"\b(TODO|FIXME|XXX|TBD|HACK)\b")
    return [f"{f}:{n}: {line.strip()[:80]}" for f in files(*TEXT) if not vendored(f) and f != "tests/house/check_text.py"
            for n, line in enumerate(read(f).splitlines(), 1) if word.search(line)]


def blocks():
    return re.findall(r"^```(\w*)\n(.*?)^```", read("README.md"), flags=re.M | re.S)


def readme_embeds_the_example():
    c = [text for language, text in blocks() if language == "c"]
    return [] if c == [read("examples/embed.c")] else ["the C block of README.md and examples/embed.c differ"]


def readme_commands_exist():
    two = blocks()[:2]
    wrong = [] if [b[1] for b in two] == ["./examples/first-road.sh\n", "./tests/run.sh\n"] else [f"first two blocks: {two}"]
    return wrong + [f"{p} is no program" for p in ("examples/first-road.sh", "tests/run.sh", ".ci/run")
                    if not os.access(os.path.join(ROOT, p), os.X_OK)]


def links_lead_somewhere():
    wrong = []
    for f in files(".md"):
        if vendored(f):
            continue
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", read(f)):
            if not re.match(r"[a-z]+:", target) and not os.path.exists(os.path.join(ROOT, os.path.dirname(f), target)):
                wrong.append(f"{f}: {target}")
    return wrong


def embed_is_short():
    n = read("examples/embed.c").count("\n")
    return [] if n <= 36 else [f"examples/embed.c has {n} lines; a stranger reads 30"]


def because_is_one_table():
    header = re.search(r"#define SPR_BECAUSES.*?\n\n", read("include/shardpredict/plan.h"), re.S).group(0)
    want = re.findall(r'X\(\w+, (\d+), "([^"]+)", "([^"]+)"\)', header)
    have = re.findall(r"^\| (\d+) \| `([^`]+)` \| (.*) \|$", read("doc/because.md"), flags=re.M)
    return [f"{row} stands in one of doc/because.md and plan.h only" for row in set(want) ^ set(have)] or ([] if want else ["no codes"])


run([("every file has its SPDX line", spdx), ("no file has more than 700 lines", length),
     ("no file names a path of somebody's machine", machine_paths), ("nothing is marked as unfinished", unfinished),
     ("the C block of README.md is examples/embed.c", readme_embeds_the_example),
     ("examples/embed.c stays short enough to read", embed_is_short),
     ("the first two blocks of README.md are commands that exist", readme_commands_exist),
     ("doc/because.md is the header's table", because_is_one_table),
     ("every relative link in a page leads to a file", links_lead_somewhere)])
