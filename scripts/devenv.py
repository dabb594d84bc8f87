"""The virtual environment of the developer commands, in `.cache/venv`.

Here: making it from nothing but python3, with the tools of the `dev` extra and the package
installed editable, and keeping the linked library in step with its archive.
Not here: running the tools (scripts/test, scripts/lint).
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import venv
from pathlib import Path

import link_libs
import targets
import zig_tool

_HOME = targets.CACHE / "venv"
_STAMP = _HOME / "installed"


class EnvironmentSetupError(Exception):
    """The environment cannot be made; the message says what is missing."""


def ensure() -> Path:
    """Return the environment's Python, making or renewing the environment when needed.

    Raises:
        EnvironmentSetupError: Something could not be installed or linked.
    """
    python = _HOME / "bin/python"
    try:
        if not python.exists() or not _STAMP.exists() or _STAMP.read_text(encoding="utf-8") != _wanted():
            _make(python)
        elif _library_is_old():
            _link()
    except (OSError, subprocess.CalledProcessError, zig_tool.ZigError, link_libs.LinkError) as error:
        raise EnvironmentSetupError(str(error)) from error
    return python


def _make(python: Path) -> None:
    print("preparing .cache/venv", flush=True)
    try:
        venv.create(_HOME, clear=True, with_pip=True)
    except subprocess.CalledProcessError as error:
        raise EnvironmentSetupError(
            "this python3 cannot make virtual environments with pip (on Debian: apt-get install python3-venv)"
        ) from error
    if link_libs.own_linker() is None:
        zig_tool.install()
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--editable", f"{targets.ROOT}[dev]"], check=True)
    _STAMP.write_text(_wanted(), encoding="utf-8")


def _wanted() -> str:
    """Describe the environment that should be there."""
    digest = hashlib.sha256(f"{sys.version} {sys.base_prefix}".encode())
    for name in ("pyproject.toml", "hatch_build.py"):
        digest.update((targets.ROOT / name).read_bytes())
    return digest.hexdigest()


def _library_is_old() -> bool:
    target = targets.host()
    if target is None:
        return False
    library = link_libs.IN_PLACE / target.library
    made_from = [targets.ROOT / target.archive, Path(link_libs.__file__)]
    return not library.exists() or any(
        path.exists() and path.stat().st_mtime > library.stat().st_mtime for path in made_from
    )


def _link() -> None:
    target = targets.host()
    if target is not None:
        print(f"linking {target.library}", flush=True)
        if link_libs.own_linker() is None:
            zig_tool.install()
        link_libs.link(target, link_libs.IN_PLACE, targets.CACHE / "zig")
