"""The zig compiler: where it is, how to get it, how to run it.

Here: the pinned ziglang package, importable in this Python or installed into `.cache`.
Not here: what it compiles (kernel_build) and links (link_libs).
"""

from __future__ import annotations

import importlib.metadata
import os
import shlex
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Optional

import targets

_HOME = targets.CACHE / f"zig-{targets.ZIG_VERSION}"
# Compilers take search paths from these; the artefacts must not depend on them.
_LEAKS = ("CPATH", "C_INCLUDE_PATH", "LIBRARY_PATH")


class ZigError(Exception):
    """zig is missing, cannot be installed, or refused what it was given."""


def find() -> Optional[list[str]]:
    """Return the start of a zig command line, None when the pinned zig is not here."""
    try:
        if importlib.metadata.version("ziglang") == targets.ZIG_VERSION:
            return [sys.executable, "-m", "ziglang"]
    except importlib.metadata.PackageNotFoundError:
        pass
    python = _HOME / "bin/python"
    return [str(python), "-m", "ziglang"] if python.exists() else None


def install() -> list[str]:
    """Return the start of a zig command line, installing zig into `.cache` when needed.

    Raises:
        ZigError: It cannot be installed.
    """
    found = find()
    if found is not None:
        return found
    print(f"installing {targets.ZIG_REQUIREMENT} into {_HOME.relative_to(targets.ROOT)}", flush=True)
    # Made beside its place and moved there whole: an interruption leaves no half of a zig,
    # and of two simultaneous installations the first one stays.
    staging = _HOME.with_name(f"{_HOME.name}.{os.getpid()}")
    try:
        shutil.rmtree(_HOME, ignore_errors=True)
        venv.create(staging, with_pip=True)
        pip = [str(staging / "bin/python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, targets.ZIG_REQUIREMENT], check=True)
        if find() is None:
            staging.rename(_HOME)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ZigError(
            f"cannot install {targets.ZIG_REQUIREMENT}: {error}; a Python with venv and pip is needed "
            "(on Debian: python3-venv), and an index that pip can reach"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return [str(_HOME / "bin/python"), "-m", "ziglang"]


def environment(cache: Path) -> dict[str, str]:
    """Return the environment to run zig in.

    Args:
        cache: Folder in which zig may keep what it builds for itself; one that the user's
            environment names wins.
    """
    ours = {name: value for name, value in os.environ.items() if name not in _LEAKS}
    ours.setdefault("ZIG_GLOBAL_CACHE_DIR", str(cache))
    ours.setdefault("ZIG_LOCAL_CACHE_DIR", str(cache))
    return ours


def run(zig: list[str], arguments: list[str], cache: Path) -> None:
    """Run zig in the root of the repository.

    Args:
        zig: From `find` or `install`.
        arguments: What follows, e.g. `["cc", "-c", ...]`.
        cache: As for `environment`.

    Raises:
        ZigError: zig failed; the message has the command and what it printed.
    """
    done = subprocess.run(
        [*zig, *arguments],
        cwd=targets.ROOT,
        env=environment(cache),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode != 0:
        output = done.stdout.strip()
        raise ZigError(f"zig {shlex.join(arguments)}\nfailed with status {done.returncode}:\n{output}")
