"""Wheels and sdist: one run of the build backend for each, into one folder.

Here: which files a release consists of, and building them all, the same bytes wherever it is done.
Not here: what goes into a wheel (hatch_build.py), what must be true of it (artifact_rules).
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import targets

# What a user's environment may say to the build backend, to the hook and to zip: a release listens to none.
_LEAKS = ("SOURCE_DATE_EPOCH", "STDIOBUS_CC", "STDIOBUS_TARGET")


class WheelBuildError(Exception):
    """The build backend failed; the message has what it printed."""


def version(root: Path) -> str:
    """Return the version of the package in a tree."""
    text = (root / "stdiobus/__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    if found is None:
        raise WheelBuildError("stdiobus/__init__.py: no line __version__ = ...")
    return found[1]


def sdist_name(version: str) -> str:
    """Return the file name of the sdist."""
    return f"stdiobus-{version}.tar.gz"


def wheel_names(version: str) -> dict[str, str]:
    """Return the file name of each wheel, by its STDIOBUS_TARGET."""
    tags = {target.triple: target.wheel for target in targets.TARGETS}
    tags[targets.UNIVERSAL] = "any"
    return {name: f"stdiobus-{version}-py3-none-{tag}.whl" for name, tag in tags.items()}


def build_all(python: Path, root: Path, folder: Path) -> list[Path]:
    """Build every wheel and the sdist; what an earlier run has left in the folder goes.

    Args:
        python: An interpreter with the tools of the extra `wheels`.
        root: The tree to build: a checkout or an unpacked sdist.
        folder: Where the files go; made when missing.

    Returns:
        The files, sorted by name.

    Raises:
        WheelBuildError: One could not be built.
    """
    wheels = wheel_names(version(root))
    expected = {*wheels.values(), sdist_name(version(root))}
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=folder) as name:
        work = Path(name)

        def wheel(target: str) -> None:
            _hatchling(python, root, "wheel", work, {"STDIOBUS_TARGET": target})

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            sdist = pool.submit(_hatchling, python, root, "sdist", work, {})
            list(pool.map(wheel, wheels))
            sdist.result()
        built = {path.name for path in work.iterdir()}
        if built != expected:
            raise WheelBuildError(f"built {sorted(built)}, expected {sorted(expected)}")
        for old in folder.glob("stdiobus-*"):
            old.unlink()
        return [(work / name).rename(folder / name) for name in sorted(built)]


def _hatchling(python: Path, root: Path, kind: str, folder: Path, extra: dict[str, str]) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in _LEAKS}
    command = [str(python), "-m", "hatchling", "build", "--target", kind, "--directory", str(folder)]
    done = subprocess.run(
        command,
        cwd=root,
        env={**environment, **extra},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode != 0:
        what = " ".join([kind, *extra.values()])
        raise WheelBuildError(f"{what}: failed with status {done.returncode}:\n{done.stdout.strip()}")
