"""The files of a release, for what tests them; needs the tools of the extra `wheels`.

`scripts/test wheels` runs these tests; without the tools they are not collected.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

import targets
import wheel_build

if importlib.util.find_spec("lief") is None:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every wheel and the sdist: the one STDIOBUS_TEST_WHEELS names, or a fresh one."""
    ready = os.environ.get("STDIOBUS_TEST_WHEELS")
    if ready:
        return Path(ready)
    folder = tmp_path_factory.mktemp("release")
    wheel_build.build_all(Path(sys.executable), targets.ROOT, folder)
    return folder


@pytest.fixture(scope="session")
def wheel(release: Path):
    """`wheel(triple)`: the path of one of them; `universal` is a name too."""
    names = wheel_build.wheel_names(wheel_build.version(targets.ROOT))
    return lambda triple: release / names[triple]


@pytest.fixture(scope="session")
def sdist(release: Path) -> Path:
    return release / wheel_build.sdist_name(wheel_build.version(targets.ROOT))


@pytest.fixture(scope="session")
def host() -> targets.Target:
    found = targets.host()
    if found is None:
        pytest.skip("needs a platform of the table")
    return found
