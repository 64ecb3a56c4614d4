#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Builds the binding against the library of a meson build folder, installed aside, and runs its tests.
# usage: run-tests.sh BUILD [COUNTS [PYTEST ARGUMENT...]]    COUNTS: file for a line "passed failed skipped"
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "$1" && pwd)
counts=${2:-/dev/null}
shift $(($# > 1 ? 2 : 1))
python=${PYTHON:-/usr/bin/python3}
work=$build/python
export PYTHONDONTWRITEBYTECODE=1 PYTHONSAFEPATH=1

"$python" -c 'import cffi, numpy, pytest, setuptools' 2>/dev/null ||
    { echo "cffi, numpy, pytest or setuptools of $python is missing"; exit 77; }

rm -rf "$work/root"
meson install -C "$build" --no-rebuild --destdir "$work/root" >/dev/null
pc=$(dirname "$(find "$work/root" -name shardpredict.pc)")
export PKG_CONFIG_PATH=$pc PKG_CONFIG_SYSROOT_DIR=$work/root
# A copy, so that the source folder stays as git has it.
rm -rf "$work/source" "$work/lib"
mkdir -p "$work/source"
cp -r "$here"/*.py "$here"/pyproject.toml "$here"/README.md "$here"/shardpredict "$work/source"
(cd "$work/source" && CFLAGS="-O1 -Wno-missing-field-initializers" "$python" -W ignore setup.py -q build --build-base "$work/objects" --build-lib "$work/lib")

export LD_LIBRARY_PATH=${pc%/pkgconfig} PYTHONPATH=$work/lib SPR_SOURCE_ROOT=${SPR_SOURCE_ROOT:-$(cd "$here/../.." && pwd)}
code=0
if command -v mypy >/dev/null; then
    if mypy --python-executable "$python" --config-file "$here/pyproject.toml" --cache-dir "$work/mypy" "$work/lib/shardpredict"; then
        echo 1 0 0 >>"$counts"
    else
        echo 0 1 0 >>"$counts"
        code=1
    fi
else
    echo "mypy is missing: the types are not checked"
    echo 0 0 1 >>"$counts"
fi
"$python" -m pytest -q -p no:cacheprovider --rootdir "$here" --junitxml "$work/tests.xml" "$@" "$here/tests" || code=$?
"$python" - "$work/tests.xml" >>"$counts" <<'END'
import sys, xml.etree.ElementTree as xml
s = xml.parse(sys.argv[1]).getroot().find("testsuite")
bad, skipped = int(s.get("failures")) + int(s.get("errors")), int(s.get("skipped"))
print(int(s.get("tests")) - bad - skipped, bad, skipped)
END
exit $code
