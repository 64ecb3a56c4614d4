# SPDX-License-Identifier: MIT OR Apache-2.0
"""Counts the tests of meson's JUnit file, subtests one by one. usage: count.py BUILD -> "passed failed skipped"."""
import glob
import sys
import xml.etree.ElementTree as xml

passed = failed = skipped = 0
# A wrapped run has its own name: testlog-valgrind.junit.xml. Old files are removed before a run.
for suite in (s for f in glob.glob(sys.argv[1] + "/meson-logs/testlog*.junit.xml") for s in xml.parse(f).getroot()):
    cases = suite.findall("testcase")
    bad = 0
    for case in cases:
        if case.find("failure") is not None or case.find("error") is not None:
            bad += 1
        elif case.find("skipped") is not None:
            skipped += 1
        else:
            passed += 1
    # A program that dies between two subtests, or prints none, fails as a whole.
    failed += max(bad, int(suite.get("errors", 0)) + int(suite.get("failures", 0)))
print(passed, failed, skipped)
