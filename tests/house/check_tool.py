# SPDX-License-Identifier: MIT OR Apache-2.0
"""What a person meets at the door of the tool: help, usage errors, doctor, completion, manual page. usage: check_tool.py TOOL"""
import json
import os
import re
import shutil
import subprocess
import sys

from house import ROOT, Skip, read, run

TOOL = sys.argv[1]


def call(*args, **more):
    return subprocess.run([TOOL, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


def verbs():
    return re.findall(r"^  ([a-z]+)  ", call("--help").stdout, flags=re.M)


def every_verb_has_help():
    wrong = []
    for v in verbs():
        r = call(v, "--help")
        if r.returncode or len(r.stdout) < 200 or "\x1b" in r.stdout or f"Usage: shardpredict {v}" not in r.stdout:
            wrong.append(f"{v} --help: exit {r.returncode}, {len(r.stdout)} characters")
    return wrong or ([] if verbs() else ["no verbs"])


def usage_errors_exit_2():
    wrong = []
    for args in ([], ["frobnicate"], *[[v, "--no-such-option"] for v in verbs()]):
        r = call(*args)
        if r.returncode != 2 or r.stdout or not r.stderr.strip():
            wrong.append(f"{args}: exit {r.returncode}, stdout {r.stdout[:40]!r}, stderr {r.stderr[:60]!r}")
    return wrong


def version_is_the_headers():
    text = read("include/shardpredict/version.h")
    want = ".".join(re.search(rf"SPR_VERSION_{p} (\d+)", text).group(1) for p in ("MAJOR", "MINOR", "PATCH"))
    return [] if call("--version").stdout == f"shardpredict {want}\n" else [call("--version").stdout]


def doctor_tells():
    d = json.loads(call("doctor", "--json", env=dict(os.environ, SPR_DATA=ROOT, SPR_MAPS='/"no\\where"')).stdout)
    wrong = [k for k in ("version", "abi", "license", "threads", "simd", "libraries", "backends", "libvirt", "sriov", "host", "folders") if k not in d]
    host = {x["name"]: x for x in d["host"]}
    wrong += [f"{k} is not looked for" for k in ("cpu control group", "tc", "sch_htb", "sch_sfq", "cls_fw", "cls_u32", "act_police", "kvm",
                                                 "driver secret", "driver storage") if k not in host]
    wrong += [f"{x['name']}: {x['state']}, and nothing to do" for x in d["host"] if (x["state"] == "there") == bool(x["todo"])]
    sim = [b for b in d["backends"] if b["name"] == "sim"]
    if not sim or not sim[0]["built"]:
        wrong.append(f"sim: {sim}")
    wrong += [f"{b['name']}: not built, and no package named" for b in d["backends"] if not b["built"] and not b["package"]]
    states = {f["name"]: f["state"] for f in d["folders"]}
    if states != {"SPR_DATA": "readable", "SPR_MAPS": "missing"}:
        wrong.append(str(states))
    return wrong


def doctor_lists_licences():
    out = call("doctor", "--licenses").stdout
    return [] if re.search(r"^shardpredict +\d+\.\d+\.\d+ +MIT OR Apache-2.0$", out, flags=re.M) else [out]


def pages_name_every_verb():
    return [f"{page} does not name {v}" for page, form in (("doc/tool.md", "| `{}` |"), ("doc/shardpredict.1", ".B {}\n"))
            for v in verbs() if form.format(v) not in read(page)]


def completion_knows_verbs_and_options():
    bash = shutil.which("bash")
    if not bash:
        raise Skip("no bash")
    script = os.path.join(ROOT, "examples", "shardpredict", "completion.bash")

    def complete(*words):
        quoted = " ".join(f"'{w}'" for w in words)
        r = subprocess.run([bash, "-c", f". {script}; COMP_WORDS=('{TOOL}' {quoted}); COMP_CWORD={len(words)}; _shardpredict; "
                            "printf '%s\\n' \"${COMPREPLY[@]}\""], stdout=subprocess.PIPE, text=True)
        return r.stdout.split()

    wrong = []
    if not set(verbs()) <= set(complete("")):
        wrong.append(f"verbs: {complete('')}")
    if complete("doc") != ["doctor"]:
        wrong.append(f"doc: {complete('doc')}")
    if set(complete("doctor", "--")) != {"--json", "--libvirt", "--licenses", "--help"}:
        wrong.append(f"doctor --: {complete('doctor', '--')}")
    return wrong


run([("every verb has help of its own", every_verb_has_help),
     ("usage errors exit 2 and say so on stderr only", usage_errors_exit_2),
     ("the tool's version is the header's", version_is_the_headers),
     ("doctor tells libraries, backends and folders", doctor_tells),
     ("doctor lists the licences of what is loaded", doctor_lists_licences),
     ("tool page and manual page name every verb", pages_name_every_verb),
     ("bash completion knows verbs and options", completion_knows_verbs_and_options)])
