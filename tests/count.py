# SPDX-License-Identifier: MIT OR Apache-2.0
"""Counts the tests of meson's JUnit file, subtests one by one. usage: count.py BUILD -> "passed failed skipped"."""
import sys
import xml.etree.ElementTree as xml

passed = failed = skipped = 0
for suite in xml.parse(sys.argv[1] + "/meson-logs/testlog.junit.xml").getroot():
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
