"""Finding and loading ``libstdio_bus``, once per process.

The places that are looked at, in order: the path in ``STDIOBUS_LIBRARY`` (and then no
other), the package's ``_libs`` folder.  What the library contains is declared in
``bindings.py``.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any, NamedTuple

from ..errors import UnavailableError
from ..platforms import unsupported
from . import bindings, elf

ENVIRONMENT = "STDIOBUS_LIBRARY"

_LIBS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "_libs")


class Library(NamedTuple):
    """A loaded library.

    Attributes:
        functions: The ``ctypes.CDLL``, every function declared.
        path: The file it comes from.
        version: Its version.
    """

    functions: Any
    path: str
    version: str


_loaded: dict[str, Library] = {}


def candidates() -> list[str]:
    """The paths where the library may be, in the order in which they are tried."""
    explicit = os.environ.get(ENVIRONMENT)
    if explicit:
        return [explicit]
    suffix = "dylib" if sys.platform == "darwin" else "so"
    return [os.path.join(_LIBS, f"libstdio_bus.{suffix}")]


def load() -> Library:
    """Loads the library, or returns the one that is loaded already.

    Raises:
        UnavailableError: No candidate works; the message lists each with its reason, and
            ``details["tried"]`` has the pairs.
    """
    tried: list[tuple[str, str]] = []
    for path in candidates():
        if path in _loaded:
            return _loaded[path]
        try:
            _loaded[path] = _open(path)
            return _loaded[path]
        except UnavailableError as error:
            tried.append((path, error.message))
        except OSError as error:
            tried.append((path, _why(path, error)))
    listing = "".join(f"\n  {path}: {reason}" for path, reason in tried)
    remedy = unsupported() or f"set {ENVIRONMENT} to its path or reinstall the package"
    raise UnavailableError(
        f"libstdio_bus could not be loaded; {remedy}. Tried:{listing}",
        {"tried": tried},
    )


def _open(path: str) -> Library:
    missing = elf.missing_bytes(path)
    if missing:
        raise UnavailableError(f"truncated: {missing} bytes are missing")
    functions = ctypes.CDLL(path)
    bindings.declare(functions, path)
    return Library(functions, path, functions.stdio_bus_version().decode())


def _why(path: str, error: OSError) -> str:
    if not os.path.exists(path):
        return "no such file"
    machine = elf.machine(path) if os.path.isfile(path) and os.access(path, os.R_OK) else None
    return f"{error} (this file is for {machine})" if machine else str(error)
