# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the tests of the house share: the files of the project, and checks printed as TAP.

A check is a sentence and the list of what is wrong; an empty list passes. Standard library only."""
import os
import re
import subprocess
import sys

ROOT = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))


class Skip(Exception):
    """What a check cannot do here, and why."""


def files(*suffixes):
    """Paths of the project's own files, relative to the root: what git would commit, or (no git) all but build folders."""
    found = []
    if os.path.exists(os.path.join(ROOT, ".git")):
        r = subprocess.run(["git", "-c", "safe.directory=*", "-C", ROOT, "ls-files", "-co", "--exclude-standard"],
                           stdout=subprocess.PIPE, text=True)
        found = [f for f in r.stdout.splitlines() if os.path.isfile(os.path.join(ROOT, f))] if r.returncode == 0 else []
    if not found:
        for folder, folders, names in os.walk(ROOT):
            folders[:] = [d for d in folders if d not in (".git", "__pycache__")
                          and not os.path.exists(os.path.join(folder, d, "meson-private"))]
            found += [os.path.relpath(os.path.join(folder, n), ROOT) for n in names]
    return sorted(f for f in found if not suffixes or f.endswith(suffixes))


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8", errors="surrogateescape") as f:
        return f.read()


def stages():
    """The rooms of the core in flow order, as the build has them."""
    return re.findall(r"'(\w+)'", re.search(r"^stages = \[(.*?)\]", read("lib/meson.build"), re.M | re.S).group(1))


def public_headers():
    return files(".h") and [f for f in files(".h") if f.startswith("include/")]


def declared(header):
    """Functions that a public header exports."""
    text = re.sub(r"/\*.*?\*/", "", read(header), flags=re.S)
    return re.findall(r"^SPR_API\s[^;]*?\b(spr_\w+)\s*\(", text, flags=re.M | re.S)


def run(checks):
    """checks: list of (sentence, function returning a list of complaints)."""
    print(f"1..{len(checks)}")
    failed = 0
    for i, (name, check) in enumerate(checks, 1):
        try:
            wrong = check()
        except Skip as why:
            print(f"ok {i} - {name} # SKIP {why}")
            continue
        except Exception as e:  # a surprise is a failed check, not the end of the run
            wrong = [f"{type(e).__name__}: {e}"]
        print(f"{'not ok' if wrong else 'ok'} {i} - {name}")
        for line in wrong:
            print(f"#   {line}")
        failed += bool(wrong)
    sys.stdout.flush()
    sys.exit(bool(failed))
