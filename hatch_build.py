"""The build hook: what a wheel carries beside the Python files.

Here: which platform a wheel is for, its tag, and the place of library, launcher and
program inside it. An editable install gets its library in place.
Not here: the table of platforms and the link step, which live in scripts/.

STDIOBUS_TARGET names another platform than this machine (a triple of scripts/targets.py),
or `universal`: every program, no library. STDIOBUS_CC names a C compiler to link with.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Optional

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).resolve().parent / "scripts"))

import link_libs
import targets
import zig_tool

_INSIDE = "stdiobus/_libs"


class KernelHook(BuildHookInterface[Any]):
    """Links the library and puts it, the launcher and the program into the wheel."""

    def dependencies(self) -> list[str]:
        """Ask for zig only where something is linked with it, and it is not here yet."""
        if _target() is None or link_libs.own_linker() is not None or zig_tool.find() is not None:
            return []
        return [targets.ZIG_REQUIREMENT]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Link, and say what goes where.

        Args:
            version: `standard` or `editable`.
            build_data: hatchling's description of the wheel, changed in place.
        """
        target = _target()
        if target is None and os.environ.get("STDIOBUS_TARGET") != targets.UNIVERSAL:
            self.app.display_warning(
                "stdiobus: this system is not in the table of platforms (scripts/targets.py): what is built "
                "has no kernel for it, neither a library nor a program, and says so when a bus is started; "
                "STDIOBUS_TARGET names a platform to build for, or universal"
            )
        # Kept until the wheel is written; removed with the hook.
        self._work = tempfile.TemporaryDirectory(prefix="stdiobus-build-")
        work = Path(self._work.name)
        zig_cache = (targets.CACHE if targets.CACHE.is_dir() else work) / "zig"
        if version == "editable":
            if target is not None:
                link_libs.link(target, link_libs.IN_PLACE, zig_cache)
            return
        included = build_data["force_include"]
        included[str(targets.ROOT / targets.LAUNCHER)] = _inside(targets.LAUNCHER)
        for row in targets.TARGETS if target is None else (target,):
            included[_existing(row.program_file)] = _inside(row.program_file)
        if target is not None:
            included[str(link_libs.link(target, work, zig_cache))] = f"{_INSIDE}/{target.library}"
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{_platform_tag(target)}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was linked for the wheel."""
        self._work.cleanup()


def _target() -> Optional[targets.Target]:
    """Return the platform to build for; None is the universal wheel.

    A machine that is not in the table gets the universal wheel too: importing works there, and a container
    or a program of the user's own can do the rest.
    """
    name = os.environ.get("STDIOBUS_TARGET", "")
    if name == targets.UNIVERSAL:
        return None
    return targets.find(name) if name else targets.host()


def _platform_tag(target: targets.Target) -> str:
    # The user's own toolchain decides which libc a Linux library needs: no promise is
    # made for other machines. On macOS the minimum version is a linker flag.
    if link_libs.own_linker() is not None and target.os == "linux":
        return f"linux_{target.machine}"
    return target.wheel


def _inside(name: str) -> str:
    """Map a path under kernel/dist to its place in the wheel."""
    return f"{_INSIDE}/dist/{name[len(targets.DIST) + 1 :]}"


def _existing(name: str) -> str:
    path = targets.ROOT / name
    if not path.is_file():
        raise FileNotFoundError(f"{name} is missing: build it with scripts/kernel")
    return str(path)
