"""Which systems the package has a kernel for, and what to say on all others."""

from __future__ import annotations

import os
import sys

from .errors import UnavailableError

SUPPORTED = "Linux on x86_64, aarch64 and armv7, and macOS on x86_64 and arm64"

_MACHINES = {"Linux": {"x86_64", "aarch64", "armv7l", "armv8l"}, "Darwin": {"x86_64", "arm64"}}


def refuse_windows() -> None:
    """Nothing works there, whatever is installed: loops watch no pipes, and the kernel needs POSIX.

    Raises:
        UnavailableError: This is Windows.
    """
    if sys.platform == "win32":
        raise UnavailableError(
            f"stdiobus does not run on Windows, only on {SUPPORTED}; "
            "in the Windows Subsystem for Linux (wsl --install) it does"
        )


def unsupported() -> str | None:
    """Why the package has no kernel here, and what to do; ``None`` where it has one."""
    system = os.uname()
    if system.machine in _MACHINES.get(system.sysname, ()):
        return None
    return (
        f"stdiobus has no kernel for {system.sysname} on {system.machine}, only for {SUPPORTED}; "
        'use backend="docker" with an image for this machine, or build kernel/ of the sources and name the '
        "program in SubprocessOptions.binary_path or the library in STDIOBUS_LIBRARY"
    )
