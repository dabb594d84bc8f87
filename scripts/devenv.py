"""The virtual environments of the developer commands, in `.cache/venv*`.

Here: making them from nothing but an interpreter, with the package installed editable and the
tools of an extra, and keeping the linked library in step with its archive.
Not here: running the tools (scripts/test, scripts/lint).
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import link_libs
import targets
import zig_tool

_STAMP = "installed"


class EnvironmentSetupError(Exception):
    """The environment cannot be made; the message says what is missing."""


def ensure(interpreter: str = "", extra: str = "") -> Path:
    """Return an environment's Python, making or renewing the environment when needed.

    Args:
        interpreter: A command to make the environment of, which gets the extra `test` alone;
            by default it is this Python, with the extra `dev`.
        extra: The extra to give to this Python instead, in an environment of its own.

    Raises:
        EnvironmentSetupError: Something could not be installed or linked.
    """
    suffix = Path(interpreter).name or extra
    home = targets.CACHE / (f"venv-{suffix}" if suffix else "venv")
    python, stamp = home / "bin/python", home / _STAMP
    extra = "test" if interpreter else extra or "dev"
    try:
        wanted = _wanted(interpreter or sys.executable)
        if not python.exists() or not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
            _make(interpreter or sys.executable, home, extra)
            stamp.write_text(wanted, encoding="utf-8")
        elif _library_is_old():
            _link()
    except (OSError, subprocess.CalledProcessError, zig_tool.ZigError, link_libs.LinkError) as error:
        raise EnvironmentSetupError(str(error)) from error
    return python


def _make(interpreter: str, home: Path, extra: str) -> None:
    print(f"preparing {home.relative_to(targets.ROOT)}", flush=True)
    try:
        subprocess.run([interpreter, "-m", "venv", "--clear", str(home)], check=True)
    except subprocess.CalledProcessError as error:
        name = Path(interpreter).name
        raise EnvironmentSetupError(
            f"{name} cannot make virtual environments with pip (on Debian: apt-get install {name}-venv)"
        ) from error
    if link_libs.own_linker() is None:
        zig_tool.install()
    pip = [str(home / "bin/python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--editable", f"{targets.ROOT}[{extra}]"], check=True)


def _wanted(interpreter: str) -> str:
    """Describe the environment that should be there."""
    ask = [interpreter, "-c", "import sys; print(sys.version, sys.base_prefix)"]
    digest = hashlib.sha256(subprocess.run(ask, check=True, stdout=subprocess.PIPE).stdout)
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
