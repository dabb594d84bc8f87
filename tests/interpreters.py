"""The Python of programs that tests run and that are not what is tested: workers, engines.

CPython where there is one: it starts in a tenth of the time that PyPy needs.
"""

from __future__ import annotations

import shutil
import sys

PYTHON = sys.executable
if sys.implementation.name != "cpython":
    PYTHON = shutil.which("python3") or PYTHON
