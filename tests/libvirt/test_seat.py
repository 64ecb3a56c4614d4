# SPDX-License-Identifier: MIT OR Apache-2.0
"""Two controllers and one host: one is stopped somewhere between check and act, the other takes over. Never two, never half of one."""
import os
import select
import signal
import time

import lab
from shards import Drive, done

SHARD = "spr-{:016x}-web"


def drive(l, fence, owner, lease=3, **more):
    return Drive(l, fence=fence, owner=owner, lease=lease, idle=1, **more)


def seats(l):
    return [line for line in l.virsh("hv2", "secret-list").split("\n") if "shardpredict seat" in line]


def taken_over(t, l):
    """By a higher number at once; the older one is refused from then on, also for shards of its own."""
    with drive(l, 1, "old") as old, drive(l, 2, "new") as new:
        t.check("a seat is taken with the first shard", done(old("reserve", 1, 1)) and len(seats(l)) == 1, seats(l))
        a = new("reserve", 2, 1)
        t.check("the newer one takes it over and waits until the older one's last act must be over", done(a) and a["ms"] >= 990 and
                len(seats(l)) == 1, (a, seats(l)))
        before = l.state("hv2")
        for verb, shard in (("release", 1), ("allocate", 1), ("reserve", 3), ("release", 2)):
            a = old(verb, shard, 0 if verb == "release" else 1)
            t.check(f"the older one may not {verb} shard {shard}", a["outcome"] in ("failed", "refused") and "fence" in a["text"], a)
        t.same("and changes nothing", before, l.state("hv2"))
        t.check("the newer one adopts what it finds", done(new("adopt", 1)) and {s["fence"] for s in new.shards().values()} == {2}, new.shards())
        for shard in (1, 2):
            t.check(f"and gives shard {shard} back", done(new("release", shard)))
        t.check("the last one gives the seat back", not seats(l) and not [d for d in l.domains("hv2") if d.startswith("spr-")], seats(l))


def alike(t, l):
    """The same number: who came first has it while it lives, who is silent for a lease loses it."""
    with drive(l, 5, "one") as one, drive(l, 5, "two") as two:
        t.check("one has the seat", done(one("reserve", 1, 1)))
        began = time.monotonic()
        a = two("reserve", 2, 1)
        t.check("two of one number: the other waits a whole lease", done(a) and time.monotonic() - began >= 2.9, a)
        t.check("then it is its turn, and the first one's after another", done(one("release", 1)) and done(two("release", 2)))
    t.check("nobody sits there any more", not seats(l), seats(l))


def killed(t, l, turn, after_s):
    """The maker dies somewhere in an allocation; whoever asks again has a guest that is started, not only a definition."""
    shard = 20 + turn
    with drive(l, 200 + 10 * turn, f"killed-{turn}") as old, drive(l, 201 + 10 * turn, f"next-{turn}") as new:
        old.send("allocate", shard, 1)
        time.sleep(after_s)
        os.kill(old.process.pid, signal.SIGKILL)
        old.process.wait()
        found = l.domains("hv2").get(SHARD.format(shard))
        a = new("allocate", shard, 1)
        t.check(f"killed after {after_s} s (left: {found}): asked again it is started", done(a) and l.domains("hv2").get(SHARD.format(shard)) == "paused",
                (a, l.domains("hv2")))
        t.check(f"killed after {after_s} s: it can be given back", done(new("release", shard)))


def expired(t, l):
    """A reservation whose maker never comes back ends with its time; its memory is free then."""
    with drive(l, 300, "gone", ttl=1, hold=1) as old:
        t.check("a hold that takes its memory", done(old("headroom:reserve", 40, 1)) and l.domains("hv2").get(SHARD.format(40)) == "paused",
                l.domains("hv2"))
        os.kill(old.process.pid, signal.SIGKILL)
        old.process.wait()
    with drive(l, 301, "heir") as new:
        time.sleep(4.5)  # its time, and the lease by which two clocks may differ
        t.check("who only looks changes nothing", all(40 in new.shards() for _ in range(3)), new.shards())
        t.check("who acts on the host", done(new("reserve", 41, 1)))
        l.wait(lambda: 40 not in new.shards(), 30, "the hold to be given back")
        t.check("gives back what nobody came back for, and nothing else", SHARD.format(40) not in l.domains("hv2") and list(new.shards()) == [41],
                (l.domains("hv2"), new.shards()))
        t.check("and has its own still", done(new("release", 41)))


class Pair:
    """One host, two controllers that take it from each other with every case: the older one is stopped exactly at an act."""

    def __init__(self, t, l, old, new):
        self.t, self.l, self.old, self.new, self.shard = t, l, old, new, 50
        self.clean = self.seen()

    def seen(self):
        """What an act could change: definitions, states, images, secrets."""
        names = [d for d in self.l.domains("hv2") if d.startswith("spr-")]
        return {"states": self.l.domains("hv2"), "xml": {n: self.l.virsh("hv2", "dumpxml", "--inactive", n) for n in names},
                "images": sorted(os.listdir(os.path.join(self.l.folder, "hv2", "lib", "images")))}

    def stops(self):
        """True: it stands still. False: it has answered, there are fewer acts."""
        def look():
            with open(f"/proc/{self.old.process.pid}/stat") as f:
                if f.read().rpartition(")")[2].split()[0] == "T":
                    return "stopped"
            return select.select([self.old.process.stdout], [], [], 0)[0] and "answered"
        return self.l.wait(look, 60, "an act", every=0.005) == "stopped"

    def case(self, verb, number, when, does):
        """does: what the newer one does meanwhile, "adopt" or "release". None: there are fewer acts; else what the late act changed."""
        t, old, new, shard = self.t, self.old, self.new, self.shard
        self.shard += 1
        old.fence, new.fence = old.fence + 2, new.fence + 2
        what = f"{verb}, stopped at act {number}, {when}, the newer one: {does}"
        if verb != "allocate" and not done(old("allocate", shard, 1)):
            raise lab.LabError(f"{what}: nothing to begin with")
        old.process.stdin.write(f"arm {number} {when}\n")
        old.send(verb, shard, {"allocate": 1, "resize": 2}.get(verb, 0), cpu=0.25 if verb == "resize" else None, mib=16 if verb == "resize" else None)
        if not self.stops():
            a = old.answer()
            old.process.stdin.write("arm 0 late\n")
            t.check(f"{verb}: it is done when nobody stops it at act {number}", done(a) and done(old("release", shard)), a)
            return None
        b = new("reserve", shard + 1000, 1)  # with a shard of its own it keeps the seat
        a = new(does, shard) if shard in new.shards() else b
        before = self.seen()
        os.kill(old.process.pid, signal.SIGCONT)
        late, after = old.answer(), self.seen()
        changed = sorted(k for k in before if before[k] != after[k])
        t.check(f"{what}: the newer one has the host", done(a) and done(b), (a, b))
        if when == "early":
            t.check(f"{what}: refused, and nothing was changed", not changed and late["outcome"] == "failed" and late["code"] < 0, (changed, late))
        mine = [d for d in after["states"] if d.startswith(f"spr-{shard:016x}-")]
        foreign = lambda s: {k: v for k, v in s["states"].items() if not k.startswith("spr-")}
        t.check(f"{what}: one domain at most, nothing foreign was touched", len(mine) <= 1 and foreign(before) == foreign(after), after["states"])
        again = old("reserve", shard, 9)
        t.check(f"{what}: its next request is refused", not done(again) and "fence" in again["text"], (late, again))
        told = new.shards()
        t.check(f"{what}: the newer one sees what came of it", (shard in told) == bool(mine), (told, mine))
        t.check(f"{what}: and gives it back, nothing is left", done(new("release", shard)) and done(new("release", shard + 1000)) and
                self.seen() == self.clean, (self.clean, self.seen()))
        return f"{', '.join(changed) if changed else 'nothing'} ({late['outcome']})"


def at_every_act(t, l):
    """Before the check it is refused. After it, which is the window that remains, one act goes through: harmless, and the last one."""
    with drive(l, 1000, "older", lease=1, vm="disk") as old, drive(l, 1001, "newer", lease=1, vm="disk") as new:
        pair = Pair(t, l, old, new)
        for verb in ("allocate", "resize", "release"):
            number, seen = 0, []
            while not seen or seen[-1] is not None:
                number += 1
                seen.append(pair.case(verb, number, "late", "release" if verb == "allocate" or number % 2 else "adopt"))
                if seen[-1] is not None:
                    pair.case(verb, number, "early", "adopt")
            t.check(f"{verb} has acts to be stopped at", number > 1, seen)
            t.note(f"{verb}: what an act changed that came too late, one by one: {'; '.join(map(str, seen[:-1]))}")
    t.check("nobody sits there any more", not seats(l), seats(l))


def stopped(t, l):
    """The older one is stopped at every act of an allocation, as by a debugger or a starved machine; the newer one gives back what it
    finds and reserves the same shard anew. Stopped before the look at the time nothing changes. After it one act goes through: it may
    define or start that domain (both are one shard's), and is the last; the newer one sees it and takes it back."""
    with drive(l, 100, "stopped", lease=1) as old, drive(l, 101, "awake", lease=1) as new:
        pair, turn, late = Pair(t, l, old, new), 0, []
        while stopped_at(t, pair, 10 + 2 * turn, turn + 1, "late", late):
            turn += 1
            stopped_at(t, pair, 9 + 2 * turn, turn, "early", [])
        t.check("an allocation has acts to be stopped at, and only after the last of them nothing is left to refuse", len(late) > 1 and
                all(a["outcome"] == "failed" and "fence" in a["text"] for a in late[:-1]), late)
        t.note(f"stopped at an act and replaced by the same shard: {'; '.join(a['outcome'] + ' ' + a['fence'] for a in late)}")


def stopped_at(t, pair, shard, number, when, answers):
    """False: there are fewer acts."""
    old, new, what = pair.old, pair.new, f"stopped at act {number}, {when}, and replaced by the same shard"
    old.fence, new.fence = old.fence + 2, new.fence + 2
    old.process.stdin.write(f"arm {number} {when}\n")
    old.send("allocate", shard, 1)
    if not pair.stops():
        a = old.answer()
        old.process.stdin.write("arm 0 late\n")
        t.check("an allocation that nobody stops is done", done(a) and done(old("release", shard)), a)
        return False
    found = new.shards()
    a = new("release", shard) if shard in found else None
    b = new("reserve", shard, 7)
    before = pair.seen()
    os.kill(old.process.pid, signal.SIGCONT)
    late, seen, after = old.answer(), new.shards(), pair.seen()
    t.check(f"{what}: the newer one got what it asked for", (a is None or done(a)) and done(b), (found, a, b))
    t.check(f"{what}: one domain, nothing else was touched", after["images"] == before["images"] and
            dict(after["states"], **{SHARD.format(shard): "any"}) == dict(before["states"], **{SHARD.format(shard): "any"}), (before, after))
    if when == "early":
        t.check(f"{what}: it is the newer one's, as it made it", late["outcome"] == "failed" and before == after and
                seen[shard]["fence"] == new.fence and seen[shard]["state"] == "reserved" and seen[shard]["pending"] == 0.5, (late, seen))
    again = old("reserve", shard, 9)
    t.check(f"{what}: its next request is refused", not done(again) and "fence" in again["text"], again)
    t.check(f"{what}: the newer one has it", done(new("adopt", shard)) and new.shards()[shard]["fence"] == new.fence, seen)
    t.check(f"{what}: and gives it back, nothing is left", done(new("release", shard)) and pair.seen() == pair.clean, pair.seen())
    answers.append(dict(late, fence="the older one's" if seen[shard]["fence"] == old.fence else "the newer one's"))
    return True


def test(t, l):
    l.guest("hv1", "web", "10.78.1.1", start=False, META='replica="image"')
    base = l.disk("base.img", 4)
    l.define("hv1", l.domain_xml("disk", "10.78.1.3", DISK=l.disk("over.qcow2", backing=base), META='replica="image"'))
    l.virsh("hv1", "pool-refresh", "shared")
    l.guest("hv2", "foreign", "10.78.1.4", start=False)
    begin = l.state("hv2")
    at_every_act(t, l)
    taken_over(t, l)
    alike(t, l)
    stopped(t, l)
    for turn, after_s in enumerate((0.01, 0.03, 0.1, 0.3)):
        killed(t, l, turn, after_s)
    expired(t, l)
    t.same("the host is as it was", begin, l.state("hv2"))


lab.main(test, hosts=2)
