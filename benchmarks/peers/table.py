# SPDX-License-Identifier: MIT OR Apache-2.0
"""The figures that benchmarks/peers.sh gathered as tables, each with its bar, and what became of the bars.

usage: table.py FIGURES.txt     exit code 1 where a bar is missed"""
import collections
import re
import sys

HW_BARS = {"r": ("R HoltWinters", 100), "statsforecast": ("statsforecast", 50)}
LSTM_BAR, PEAK_BAR, SSE_SLACK = 3, 50, 1.001

hw, sse, lstm, peak = {}, collections.defaultdict(dict), collections.defaultdict(dict), {}
last = None
for line in open(sys.argv[1]):
    f = line.split()
    if line.startswith("hw "):
        hw[f[1], int(f[2]), int(f[3])] = float(f[4])
    elif line.startswith("sse "):
        sse[f[1], int(f[2]), int(f[3])][int(f[4])] = float(f[5])
    elif line.startswith("lstm ") and len(f) == 7:
        program, last = f[1], (int(f[2]), int(f[3]))
        lstm[last][program] = tuple(map(float, f[4:7]))
    elif line.startswith("  inference") and (m := re.search(r"= (\d+) and (\d+) % of the peak", line)):
        peak[program, last] = tuple(map(int, m.groups()))

missed, rows = [], []


def verdict(what, ok):
    if not ok:
        missed.append(what)
    return "reached" if ok else "**missed**"


def holt_winters():
    print("\n| Holt-Winters | ours, us a series | peer | peer, us a series | ratio | bar | verdict | SSE, ours to the peer's |")
    print("|---|---:|---|---:|---:|---:|---|---|")
    for (who, n, m), ours in hw.items():
        if who != "ours":
            continue
        for peer, (name, bar) in HW_BARS.items():
            if (peer, n, m) not in hw:
                continue
            theirs, mine, its = hw[peer, n, m], sse["ours", n, m], sse[peer, n, m]
            errors = sum(mine[i] for i in its) / sum(its.values())
            what = f"n {n}, m {m} against {name}"
            print(f"| n {n}, m {m} | {ours:.0f} | {name} | {theirs:.0f} | {theirs / ours:.0f} | {bar} | "
                  f"{verdict(what, theirs >= bar * ours)} | {errors:.4f}, {verdict(what + ', SSE', errors <= SSE_SLACK)} |")
        print(f"| n {n}, m {m}, all defaults | {hw['auto', n, m]:.0f} | | | | | | |")


def lstm_table(title, index, faster):
    print(f"\n| {title} | ours | KANN on OpenBLAS | PyTorch | ratio to the best | bar | verdict | of the peak |")
    print("|---|---:|---:|---:|---:|---:|---|---|")
    for key, programs in sorted(lstm.items()):
        build = next((b for b in ("avx512", "avx2", "plain") if b in programs), None)
        peers = [programs[p][index] for p in ("kann", "pytorch") if p in programs]
        if not build or not peers:
            continue
        ours, best = programs[build][index], (min if faster else max)(peers)
        ratio, what = best / ours if faster else ours / best, f"{title}, {key[0]} units, batch {key[1]}"
        share = peak.get((build, key))
        of_peak = f"{share[index // 2]} %" if share else ""
        if share and faster and key[1] >= 256:
            of_peak += f" (bar {PEAK_BAR} %: {verdict(what + ', share of the peak', share[0] >= PEAK_BAR)})"
        text = [f"{programs[p][index]:.{3 if faster else 0}f}" if p in programs else "" for p in ("kann", "pytorch")]
        print(f"| {key[0]} units, batch {key[1]} | {ours:.{3 if faster else 0}f} | {text[0]} | {text[1]} | {ratio:.1f} | "
              f"{LSTM_BAR} | {verdict(what, ratio >= LSTM_BAR)} | {of_peak} |")


if hw:
    holt_winters()
if lstm:
    lstm_table("LSTM inference, us a series and step", 0, True)
    lstm_table("LSTM training, windows of 96 steps a second", 2, False)
print("\n" + ("Every bar is reached." if not missed else "Missed: " + "; ".join(missed) + "."))
sys.exit(bool(missed))
