#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the data plane makes of packets, against another implementation of the protocols (scapy), and read by a third
(tshark, which says where a checksum is wrong). usage: test_golden.py GOLDEN_PROGRAM"""
import logging
import os
import random
import subprocess
import sys
import tempfile

logging.getLogger("scapy").setLevel(logging.ERROR)
try:
    from scapy.all import (ICMP, IP, TCP, UDP, Dot1Q, Ether, ICMPv6PacketTooBig, ICMPv6EchoRequest, IPv6,
                           IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, Raw, fragment, rdpcap, wrpcap)
    from scapy.contrib.geneve import GENEVE
    from scapy.layers.vxlan import VXLAN
except ImportError as e:
    print(f"1..0 # SKIP scapy cannot be loaded: {e} (package python3-scapy)")
    sys.exit(os.environ.get("CI") == "true")

PROGRAM = sys.argv[1]
WORK = tempfile.mkdtemp(prefix="golden-")
PORT, NEXT, SERVER = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03"
CLIENT, VIP, CLIENT6, VIP6 = "203.0.113.7", "192.0.2.80", "2001:db8:1::7", "2001:db8:2::80"
LINK = Ether(src="02:00:00:00:00:aa", dst="02:00:00:00:00:bb")
count = failed = 0


# The same bytes in every run: tshark takes some payloads for protocols, and finds those malformed.
DICE = random.Random(6)

def check(name, good, seen=""):
    global count, failed
    count += 1
    failed += not good
    print(("ok" if good else "not ok"), count, "-", name, "" if good else f"# {seen}")


def raw(p):
    return bytes(p)


def remade(p):
    """The same packet with every length and checksum made anew."""
    p = p.copy()
    layer = p
    while layer:
        for f in ("chksum", "len", "plen", "ihl", "dataofs"):
            if f in getattr(layer, "fields", {}) and type(layer).__name__ not in ("VXLAN",):
                if not (type(layer) is UDP and f == "chksum" and layer.chksum == 0):
                    del layer.fields[f]
        layer = layer.payload if layer.payload else None
    return p.__class__(raw(p))


def run(action, packets):
    wrpcap(f"{WORK}/in.pcap", packets)
    r = subprocess.run([PROGRAM, action, f"{WORK}/in.pcap", f"{WORK}/out.pcap"], capture_output=True, text=True, timeout=60)
    assert r.returncode == 0, r.stderr
    verdicts = [l.split() for l in r.stdout.splitlines()]
    return [raw(p) for p in rdpcap(f"{WORK}/out.pcap")], verdicts, r.stdout.splitlines()


def tshark_finds_nothing(what, inside=True):
    """A third reader: nothing malformed, no wrong checksum (inside: also of what lies inside ICMP errors, cut or translated)."""
    r = subprocess.run(["tshark", "-r", f"{WORK}/out.pcap", "-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE", "-o",
                        "udp.check_checksum:TRUE", "-o", "ip.defragment:FALSE",
                        "-Y", "_ws.malformed || ip.checksum.status==0 || icmp.checksum.status==0 || icmpv6.checksum.status==0" + (
                            " || tcp.checksum.status==0 || udp.checksum.status==0" if inside else "")],
                       capture_output=True, text=True, timeout=120)
    check(f"{what}: tshark finds every packet well formed and every checksum right", r.returncode == 0 and not r.stdout.strip(),
          (r.stdout + r.stderr)[:300])


def samples():
    """Frames of every shape that a service sees, IPv4 and IPv6, with and without a tag."""
    four, six = IP(src=CLIENT, dst=VIP), IPv6(src=CLIENT6, dst=VIP6)
    out = []
    for ip in (four, six):
        for n in (0, 1, 7, 100, 1000):
            out.append(LINK / ip / TCP(sport=40000 + n, dport=80, flags="PA", seq=1000, ack=77) / Raw(DICE.randbytes(n)))
            out.append(LINK / ip / UDP(sport=50000 + n, dport=9999) / Raw(DICE.randbytes(n)))
        out.append(LINK / ip / TCP(sport=41000, dport=80, flags="S", options=[("MSS", 1460), ("WScale", 7), ("SAckOK", b"")]))
        out.append(LINK / Dot1Q(vlan=12, prio=3) / ip / TCP(sport=42000, dport=80, flags="A") / Raw(b"tagged"))
    out.append(LINK / IP(src=CLIENT, dst=VIP, tos=0xb9, options=[__import__("scapy.all", fromlist=["IPOption_NOP"]).IPOption_NOP()] * 4) / TCP(sport=43000, dport=80, flags="A"))
    out.append(LINK / IP(src=CLIENT, dst=VIP, tos=2) / UDP(sport=1, dport=2, chksum=0) / Raw(b"no checksum"))
    out.append(LINK / IPv6(src=CLIENT6, dst=VIP6, tc=0x2e) / IPv6ExtHdrHopByHop() / TCP(sport=44000, dport=80, flags="A"))
    return [Ether(raw(p)) for p in out]


def network(p):
    return p[IP] if IP in p and (IPv6 not in p or raw(p).find(raw(p[IP])) < raw(p).find(raw(p[IPv6]))) else p[IPv6]


def tos_of(ip):
    return ip.tos if ip.version == 4 else ip.tc


def outer(ip, payload, proto, six=False):
    """An outer header as the library makes it: TTL 64, don't fragment, the inner type of service."""
    e = Ether(src=PORT, dst=NEXT)
    if six:
        return e / IPv6(src="2001:db8:ffff::1", dst="2001:db8:ffff::2", hlim=64, nh=proto, tc=tos_of(ip)) / payload
    return e / IP(src="198.51.100.1", dst="198.51.100.2", ttl=64, flags="DF", id=0, proto=proto, tos=tos_of(ip)) / payload


def test_l2():
    inn = samples()
    got, _, _ = run("l2", inn)
    want = []
    for p in inn:
        q = p.copy()
        q.src, q.dst = PORT, NEXT
        want.append(raw(q))
    check("L2: two MAC addresses and nothing else", got == want)
    tshark_finds_nothing("L2")
    got, _, _ = run("l2-vlan", inn)
    good = all(Ether(g)[Dot1Q].vlan == 77 and raw(Ether(g)[Dot1Q].payload) == raw(network(p)) for g, p in zip(got, inn))
    check("L2 with a tag: set or replaced", good)


def test_tunnels():
    inn = samples()
    for action, port, six in (("vxlan", 4789, False), ("vxlan6", 4789, True), ("geneve", 6081, False)):
        got, verdicts, _ = run(action, inn)
        want = []
        for p in inn:
            ip = network(p)
            frame = Ether(src=PORT, dst=SERVER, type=0x800 if ip.version == 4 else 0x86dd) / Raw(raw(ip))
            shim = VXLAN(vni=4242, flags="Instance") if port == 4789 else GENEVE(vni=4242, proto=0x6558)
            want.append(raw(outer(ip, UDP(sport=0xc000 | 0x1234, dport=port, chksum=0) / shim / frame, 17, six)))
        check(f"{action}: as scapy builds it, byte for byte", got == want,
              next((f"{i}: {g.hex()} {w.hex()}" for i, (g, w) in enumerate(zip(got, want)) if g != w), ""))
        tshark_finds_nothing(action)
    for action, six in (("ipip", False), ("ipip6", True)):
        got, _, _ = run(action, inn)
        want = [raw(outer(network(p), Raw(raw(network(p))), 4 if network(p).version == 4 else 41, six)) for p in inn]
        check(f"{action}: as scapy builds it, byte for byte", got == want,
              next((f"{i}: {g.hex()} {w.hex()}" for i, (g, w) in enumerate(zip(got, want)) if g != w), ""))
        tshark_finds_nothing(action)


def test_dnat():
    for action, version, to in (("dnat", 4, "198.51.100.2"), ("dnat6", 6, "2001:db8:ffff::2")):
        inn = [p for p in samples() if network(p).version == version]
        inside = (IP(src=VIP, dst=CLIENT) if version == 4 else IPv6(src=VIP6, dst=CLIENT6)) / TCP(sport=80, dport=40000, flags="A") / Raw(b"x" * 40)
        if version == 4:
            inn.append(Ether(raw(LINK / IP(src="203.0.113.254", dst=VIP) / ICMP(type=3, code=4, nexthopmtu=1400) / raw(inside)[:28])))
        else:
            inn.append(Ether(raw(LINK / IPv6(src="2001:db8::fe", dst=VIP6) / ICMPv6PacketTooBig(mtu=1400) / raw(inside))))
        got, _, _ = run(action, inn)
        good = []
        for g, p in zip(got, inn):
            q = Ether(g)
            ip = network(q)
            same = raw(remade(q)) == g
            port = ip[TCP].dport if TCP in ip and ICMP not in ip and ICMPv6PacketTooBig not in ip else ip[UDP].dport if UDP in ip else 8080
            good.append((ip.dst == to, q.dst == NEXT, port == 8080, same or "chksum=0" in repr(p) or ICMP in ip))
        check(f"{action}: address, port and MAC are the server's, checksums as scapy makes them", all(all(g) for g in good),
              [i for i, g in enumerate(good) if not all(g)])
        last = network(Ether(got[-1]))
        if version == 4:
            inner = IP(raw(last[ICMP].payload))
            c = last[ICMP].copy()
            del c.fields["chksum"]
            check("dnat: the packet inside an ICMP error reads as its sender sent it", inner.src == to and raw(inner)[20:22] == b"\x1f\x90" and
                  raw(c) == raw(last[ICMP]), last.show(dump=True))
        else:
            inner = IPv6(raw(last)[48:])
            check("dnat6: the packet inside an ICMPv6 error reads as its sender sent it", inner.src == to)
        if version == 6:
            tshark_finds_nothing(action, inside=False)


def test_return():
    inn = [Ether(raw(LINK / IP(src="198.51.100.2", dst=CLIENT) / t / Raw(b"answer"))) for t in (TCP(sport=8080, dport=4000, flags="A"), UDP(sport=8080, dport=4000))]
    got, _, _ = run("return", inn)
    good = all(raw(remade(Ether(g))) == g and Ether(g)[IP].src == VIP and Ether(g)[IP].payload.sport == 80 for g in got)
    check("answers of a server behind DNAT come from the service", good)


def test_mark():
    inn = samples()
    got, verdicts, _ = run("mark", inn)
    want = []
    for p in inn:
        q = p.copy()
        ip = network(q)
        setattr(ip, "tos" if ip.version == 4 else "tc", tos_of(ip) & 3 | 12)
        want.append(raw(remade(q)) if ip.version == 4 else raw(q))
    check("sent back by a shard's host: DSCP 3, the same ECN, the checksum of the IPv4 header and nothing else", got == want)
    tshark_finds_nothing("mark")
    again, twice, _ = run("mark", [Ether(g) for g in got])
    names = {v[1] for v in verdicts}, {v[1] for v in twice}
    check("and only once", again == got and names == ({"4"}, {"11"}), names)


def test_too_big():
    big4 = Ether(raw(LINK / IP(src=CLIENT, dst=VIP, flags="DF") / TCP(sport=1, dport=80, flags="A") / Raw(b"x" * 1460)))
    may = Ether(raw(LINK / IP(src=CLIENT, dst=VIP) / TCP(sport=1, dport=80, flags="A") / Raw(b"x" * 1460)))
    big6 = Ether(raw(LINK / IPv6(src=CLIENT6, dst=VIP6) / TCP(sport=1, dport=80, flags="A") / Raw(b"x" * 1440)))
    fits = Ether(raw(LINK / IP(src=CLIENT, dst=VIP, flags="DF") / TCP(sport=1, dport=80, flags="A") / Raw(b"x" * (1450 - 40))))
    got, verdicts, _ = run("vxlan-1500", [big4, may, big6, fits])
    names = [v[1] for v in verdicts]
    check("too big for the tunnel: answered where its sender wants to know, else dropped by name; what fits goes", names[0] == names[2] == "5" and names[1] == "9" and names[3] == "2", names)
    a, b = Ether(got[0]), Ether(got[2])
    check("IPv4: fragmentation needed, to the sender, with the MTU that fits and the packet's head",
          ICMP in a and (a[ICMP].type, a[ICMP].code, a[ICMP].nexthopmtu) == (3, 4, 1450) and a[IP].dst == CLIENT and a[IP].src == VIP and
          a.dst == big4.src and raw(a[ICMP].payload)[:28] == raw(big4[IP])[:28] and raw(remade(a)) == raw(a), a.show(dump=True))
    check("IPv6: packet too big, to the sender, with the MTU that fits and as much of the packet as it may hold",
          ICMPv6PacketTooBig in b and b[ICMPv6PacketTooBig].mtu == 1450 and b[IPv6].dst == CLIENT6 and len(raw(b[IPv6])) <= 1280 and
          raw(big6[IPv6]).startswith(raw(b[ICMPv6PacketTooBig].payload)[:1000]), b.show(dump=True)[:400])
    wrpcap(f"{WORK}/out.pcap", [a, b])
    tshark_finds_nothing("too big", inside=False)


def test_reset():
    inn = [LINK / IP(src=CLIENT, dst=VIP) / TCP(sport=5, dport=80, flags="PA", seq=100, ack=900) / Raw(b"data"),
           LINK / IP(src=CLIENT, dst=VIP) / TCP(sport=5, dport=80, flags="S", seq=100, options=[("MSS", 1460)]),
           LINK / IPv6(src=CLIENT6, dst=VIP6) / TCP(sport=5, dport=80, flags="FA", seq=100, ack=900)]
    got, _, _ = run("reset", [Ether(raw(p)) for p in inn])
    a, b, c = (Ether(g) for g in got)
    check("a reset takes the acknowledged number, or acknowledges what came (RFC 9293 3.10.7.1)",
          (a[TCP].flags, a[TCP].seq) == ("R", 900) and (b[TCP].flags, b[TCP].seq, b[TCP].ack) == ("RA", 0, 101) and
          (c[TCP].flags, c[TCP].seq) == ("R", 900) and a[IP].dst == CLIENT and a[TCP].dport == 5 and a.dst == LINK.src, [a.summary(), b.summary(), c.summary()])
    tshark_finds_nothing("reset")


def test_parse():
    quic1 = bytes([0xc3]) + b"\x00\x00\x00\x01" + b"\x08" + DICE.randbytes(40)
    quic2 = bytes([0xd3]) + b"\x6b\x33\x43\xcf" + b"\x08" + DICE.randbytes(40)
    short = bytes([0x43]) + DICE.randbytes(40)
    frags4 = fragment(IP(src=CLIENT, dst=VIP, id=9) / UDP(sport=7, dport=53) / Raw(b"x" * 3000), 1200)
    frag6 = IPv6(src=CLIENT6, dst=VIP6) / IPv6ExtHdrFragment(id=5, m=1, offset=0) / UDP(sport=7, dport=53, len=3008) / Raw(b"x" * 1000)
    later6 = IPv6(src=CLIENT6, dst=VIP6) / IPv6ExtHdrFragment(id=5, m=0, offset=126, nh=17) / Raw(b"x" * 100)
    inner = IP(src=VIP, dst=CLIENT) / TCP(sport=80, dport=40000)
    cases = [(LINK / IP(src=CLIENT, dst=VIP) / UDP(sport=7, dport=443) / Raw(quic1), "kind 2 ip 4 protocol 17 ports 7 443 flags 0 fragment 0 first 0 quic 1 vlan 0"),
             (LINK / IP(src=CLIENT, dst=VIP) / UDP(sport=7, dport=443) / Raw(quic2), "kind 2 ip 4 protocol 17 ports 7 443 flags 0 fragment 0 first 0 quic 1 vlan 0"),
             (LINK / IP(src=CLIENT, dst=VIP) / UDP(sport=7, dport=443) / Raw(short), "kind 2 ip 4 protocol 17 ports 7 443 flags 0 fragment 0 first 0 quic 0 vlan 0"),
             (LINK / frags4[0], "kind 2 ip 4 protocol 17 ports 7 53 flags 0 fragment 1 first 1 quic 0 vlan 0"),
             (LINK / frags4[1], "kind 4 ip 4 protocol 17 ports 0 0 flags 0 fragment 1 first 0 quic 0 vlan 0"),
             (LINK / frag6, "kind 2 ip 6 protocol 17 ports 7 53 flags 0 fragment 1 first 1 quic 0 vlan 0"),
             (LINK / later6, "kind 4 ip 6 protocol 17 ports 0 0 flags 0 fragment 1 first 0 quic 0 vlan 0"),
             (LINK / IP(src="203.0.113.1", dst=VIP) / ICMP(type=3, code=4, nexthopmtu=1300) / raw(inner)[:28], "kind 3 ip 4 protocol 6 ports 40000 80 flags 0 fragment 0 first 0 quic 0 vlan 0"),
             (LINK / Dot1Q(vlan=5) / IP(src=CLIENT, dst=VIP) / TCP(sport=9, dport=80, flags="S"), "kind 1 ip 4 protocol 6 ports 9 80 flags 2 fragment 0 first 0 quic 0 vlan 5"),
             (LINK / IP(src=CLIENT, dst=VIP) / ICMP(), "kind 0 ip 4 protocol 1 ports 0 0 flags 0 fragment 0 first 0 quic 0 vlan 0"),
             (LINK / IPv6(src=CLIENT6, dst=VIP6) / ICMPv6EchoRequest(), "kind 0 ip 6 protocol 58 ports 0 0 flags 0 fragment 0 first 0 quic 0 vlan 0")]
    _, _, lines = run("parse", [Ether(raw(p)) for p, _ in cases])
    for (p, want), line in zip(cases, lines):
        check(f"read: {p.summary()[:70]}", line.startswith(want + " "), line)


def test_torn():
    """Every prefix of every frame: never forwarded as something that it is not."""
    frames = [raw(p) for p in samples()[:24:3]]
    cut = [Raw(f[:n]) for f in frames for n in range(14, len(f) - 1, 3)]
    _, verdicts, _ = run("l2", cut)
    check("torn frames are runts", verdicts and all(v[1] in ("6", "7") for v in verdicts), {v[1] for v in verdicts})
    bad = Ether(raw(LINK / IP(src=CLIENT, dst=VIP) / TCP()))
    bad[IP].chksum ^= 1
    _, verdicts, _ = run("l2", [bad])
    check("a wrong checksum of the IPv4 header has its own name", verdicts[0][1] == "8", verdicts)


for name, test in list(globals().items()):
    if name.startswith("test_"):
        test()
print(f"1..{count}")
sys.exit(failed > 0)
