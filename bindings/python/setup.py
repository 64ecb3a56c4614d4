# SPDX-License-Identifier: MIT OR Apache-2.0
"""Builds the extension modules and the enum classes from the headers that pkg-config finds."""
import os
import subprocess
import sys

from setuptools import setup
from setuptools.command.build_py import build_py

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
ENUMS = '''# SPDX-License-Identifier: MIT OR Apache-2.0
"""Made from the C headers by declarations.py; do not edit."""
import enum
'''


class build_enums(build_py):
    def run(self):
        super().run()
        import ffi_build

        # An editable install takes the package from the source folder.
        folder = "shardpredict" if self.editable_mode else os.path.join(self.build_lib, "shardpredict")
        with open(os.path.join(folder, "_enums.py"), "w", encoding="utf-8") as f:
            f.write(ENUMS + ffi_build.core.enums)


version = subprocess.run(["pkg-config", "--modversion", "shardpredict"], stdout=subprocess.PIPE, text=True, check=True)
setup(version=version.stdout.strip(), cffi_modules=["ffi_build.py:core", "ffi_build.py:io", "ffi_build.py:sim"],
      cmdclass={"build_py": build_enums})
