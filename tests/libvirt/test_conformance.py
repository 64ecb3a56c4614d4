# SPDX-License-Identifier: MIT OR Apache-2.0
"""The contract of drivers (tests/unit/conformance.c), kept on real hosts; nothing of it is left there."""
import sys

import lab


def test(t, l):
    l.define("hv1", l.domain_xml("web", "10.78.1.1", vcpus=2, META='replica="image"'))
    begin = {h: l.state(h) for h in l.hosts}
    r = l.fab(["env", "CMOCKA_MESSAGE_OUTPUT=TAP", sys.argv[1], *(f"{h}={l.uri(h)}" for h in l.hosts), "web"], check=False, timeout=400)
    said = []
    for line in r.stdout.splitlines():
        verdict, _, name = line.partition(" - ")
        if verdict.startswith(("ok ", "not ok ")):
            t.check(f"contract: {name}", verdict.startswith("ok "), "\n".join(said))
            said = []
        else:
            said.append(line)
    t.check("the list was walked to its end", r.returncode == 0 and t.count >= 26, (r.returncode, r.stderr[-1000:], said))
    for h in l.hosts:
        t.same(f"{h} is as it was", begin[h], l.state(h))


lab.main(test, hosts=2)
