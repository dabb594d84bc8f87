"""The command ``stdiobus``, which needs ``pip install "stdiobus[cli]"``.

Here: where it begins, which works without the extra, to say so.  ``app.py`` joins the
commands, one file each; only this folder imports the libraries of the extra.
"""

from __future__ import annotations

import importlib.util
import sys

from .status import Status

LIBRARIES = ("click", "rich")


def main() -> int:
    """Runs the command line of this process and returns its exit status."""
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"stdiobus: the command line needs {' and '.join(missing)}, which the extra brings: "
            'pip install "stdiobus[cli]"',
            file=sys.stderr,
        )
        return Status.NO_EXTRA
    from .app import run

    return run(sys.argv[1:])
