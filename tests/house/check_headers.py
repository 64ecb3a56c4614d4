# SPDX-License-Identifier: MIT OR Apache-2.0
"""Every public header compiles alone, in the oldest languages we promise. usage: check_headers.py WORKDIR CC [CXX]"""
import os
import shutil
import subprocess
import sys

from house import ROOT, Skip, public_headers, run

WORK, CC = sys.argv[1:3]
CXX = sys.argv[3] if len(sys.argv) > 3 else shutil.which("c++")
FLAGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "-I" + os.path.join(ROOT, "include")]


def alone(standard):
    compiler, language = (CXX, "c++") if "+" in standard else (CC, "c")
    if not compiler:
        raise Skip("no C++ compiler; package g++")
    unit = os.path.join(WORK, f"one.{'cc' if '+' in standard else 'c'}")
    os.makedirs(WORK, exist_ok=True)
    with open(unit, "w") as f:
        f.write("typedef int one;\n")
    wrong = []
    for h in public_headers():
        r = subprocess.run([compiler, "-std=" + standard, *FLAGS, "-include", os.path.join(ROOT, h), "-x", language, unit],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if r.returncode:
            wrong += [f"{h}:"] + r.stdout.splitlines()[:6]
    return wrong


def no_hidden_padding():
    """Bytes that nobody names are bytes that nobody zeroes: they would break "past what we know must be zero"."""
    unit = os.path.join(WORK, "padding.c")
    os.makedirs(WORK, exist_ok=True)
    with open(unit, "w") as f:
        f.writelines(f"#include <{h[len('include/'):]}>\n" for h in public_headers())
    r = subprocess.run([CC, "-std=c11", "-Wpadded", "-Werror", "-fsyntax-only", "-I" + os.path.join(ROOT, "include"), unit],
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return r.stdout.splitlines()[:20] if r.returncode else []


run([(f"every public header compiles alone in {s.upper()}", lambda s=s: alone(s)) for s in ("c99", "c11", "c++11")] +
    [("no public struct has hidden padding", no_hidden_padding)])
