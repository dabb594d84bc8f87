"""``stdiobus doctor``: what works here, what ``auto`` would choose, and a self-test."""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import os
import platform
import subprocess
import sys
import sysconfig
import time
from typing import TYPE_CHECKING, Any

import click

from .. import __version__
from ..backends import selection
from ..backends.docker import find_engine, require_image
from ..backends.program import resolve_binary
from ..client.aio import AsyncStdioBus
from ..config import BusConfig, DockerOptions, NativeOptions, PoolConfig, SubprocessOptions
from ..errors import StdioBusError
from .output import json_option, print_json, wants_json
from .status import Status

if TYPE_CHECKING:
    from rich.text import Text

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_PATIENCE_SEC = 10.0

_WORKER = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    answer = {"jsonrpc": "2.0", "id": message["id"], "result": message["params"]}
    print(json.dumps(answer), flush=True)
"""


@click.command()
@json_option
def doctor(as_json: bool) -> Status:
    """Says what works here, and tests it.

    The exit status is 0 when the backend that "auto" chooses, and every other that can be tested here,
    starts a worker and gets its answer.
    """
    report = examine()
    if wants_json(as_json):
        print_json(report)
    else:
        _print_table(report)
    return Status.DONE if report["ok"] else Status.FAILED


def examine() -> dict[str, Any]:
    """Everything there is to say, as JSON data."""
    backends = {"native": _native(), "subprocess": _subprocess()}
    auto = asyncio.run(_try(backends))
    tests = [each["self_test"]["ok"] for each in backends.values() if "self_test" in each]
    return {
        "ok": auto["backend"] is not None and all(tests),
        "version": __version__,
        "package": _PACKAGE,
        "python": f"{platform.python_implementation()} {platform.python_version()} ({sys.executable})",
        "platform": " ".join([sysconfig.get_platform(), *filter(None, platform.libc_ver())]),
        "wheel": _wheel(),
        "auto": auto,
        "backends": backends,
    }


async def _try(backends: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Adds self-tests and the docker backend to what was found; returns the choice of ``auto``."""
    for mode, found in backends.items():
        if found["available"]:
            found["self_test"] = await _self_test(mode)
    backends["docker"] = await _docker()
    return await _auto()


def _unavailable(error: StdioBusError) -> dict[str, Any]:
    return {"available": False, "reason": error.message}


def _native() -> dict[str, Any]:
    from ..native.library import load

    try:
        library = load()
    except StdioBusError as error:
        return _unavailable(error)
    return {
        "available": True,
        "path": library.path,
        "version": f"{library.version} (ABI {library.functions.stdio_bus_abi()})",
    }


def _subprocess() -> dict[str, Any]:
    try:
        binary = resolve_binary(SubprocessOptions())
    except StdioBusError as error:
        return _unavailable(error)
    found = {"path": binary.path, "found_as": binary.reason}
    try:
        run = subprocess.run(
            [binary.path, "--version"], capture_output=True, text=True, timeout=_PATIENCE_SEC, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        words = str(getattr(error, "stderr", None) or "").strip()
        return {"available": False, **found, "reason": f"{error} {words}".strip()}
    return {"available": True, **found, "version": run.stdout.strip()}


async def _docker() -> dict[str, Any]:
    options = DockerOptions()
    try:
        engine = await find_engine(options)
        await require_image(engine, options.image)
    except StdioBusError as error:
        return _unavailable(error)
    return {"available": True, "path": engine, "version": options.image}


async def _auto() -> dict[str, Any]:
    """What ``auto`` chooses here; the warning of a fallback is left out, for the reasons are told beside."""
    override = os.environ.get(selection.ENVIRONMENT)
    why = (
        f"{selection.ENVIRONMENT}={override}"
        if override
        else "the first of native, subprocess, docker that works"
    )
    logger = logging.getLogger("stdiobus")
    quiet = logger.disabled
    logger.disabled = True
    try:
        native = NativeOptions()
        mode = selection.resolve_mode("auto", native)
        backend = await selection.choose(mode, native, SubprocessOptions(), DockerOptions())
    except StdioBusError as error:
        return {"backend": None, "why": error.message if override else "none works"}
    finally:
        logger.disabled = quiet
    return {"backend": backend.mode.value, "why": why}


async def _self_test(mode: str) -> dict[str, Any]:
    """A pool of one tiny worker, one request, its answer."""
    pool = PoolConfig(id="self-test", command=sys.executable, args=["-c", _WORKER], protocol="jsonrpc")
    started = time.perf_counter()
    try:
        async with AsyncStdioBus(BusConfig(pools=[pool]), backend=mode) as bus:
            answer = await bus.request("echo", {"text": "\u2028"}, pool="self-test")
    except StdioBusError as error:
        return {"ok": False, "reason": error.message}
    milliseconds = round((time.perf_counter() - started) * 1000, 1)
    if answer != {"text": "\u2028"}:
        return {"ok": False, "reason": f"its answer is wrong: {answer!r}"}
    return {"ok": True, "milliseconds": milliseconds}


def _wheel() -> str:
    """The tags of the wheel that this package was installed from."""
    try:
        lines = (importlib.metadata.distribution("stdiobus").read_text("WHEEL") or "").splitlines()
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
    return ", ".join(line[len("Tag: ") :] for line in lines if line.startswith("Tag: ")) or "unknown"


def _told(test: dict[str, Any] | None) -> Text:
    from rich.text import Text

    if test is None:
        return Text("")
    return Text(f"{test['milliseconds']} ms", "green") if test["ok"] else Text(test["reason"], "red")


def _print_table(report: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    facts = Table(box=None, show_header=False, pad_edge=False)
    for name in ("version", "package", "python", "platform", "wheel"):
        facts.add_row(Text(name, "bold"), Text(report[name]))
    facts.add_row(Text("auto", "bold"), Text(f"{report['auto']['backend']}: {report['auto']['why']}"))
    backends = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("backend", "available", "self-test", "which"):
        backends.add_column(column)
    for name, found in report["backends"].items():
        backends.add_row(
            Text(name, "bold"),
            Text("yes", "green") if found["available"] else Text("no", "yellow"),
            _told(found.get("self_test")),
            Text("\n".join(found[key] for key in ("version", "path", "found_as", "reason") if key in found)),
        )
    console.print(facts, backends)
    console.print(Text("all is well", "green") if report["ok"] else Text("something does not work", "red"))
