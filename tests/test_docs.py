"""The documentation holds: its code runs, its commands exist, its reference is complete.

Every fenced block of README.md and docs/ is checked, by its language:

- `python` runs. The blocks of a page share one namespace and one event loop, as in
  `python -m asyncio`: `await` may stand outside a function. Lines are printed in the order of
  their comments `# -> text`.
- `python title="name.py"` (any language) is written to a file that later blocks may use.
- `sh` runs too, comments `# -> text` as above.
- `json` parses, and a document with `pools` is a valid configuration.
- blocks without a language are drawings.

A comment `<!-- not run: reason -->` before a block keeps it from running; its commands and their
options must exist all the same.
"""

from __future__ import annotations

import ast
import asyncio
import importlib.metadata
import importlib.util
import inspect
import json
import logging
import os
import re
import shlex
import subprocess
import sys
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import pytest

import stdiobus
from stdiobus.backends.memory import MemoryBackend, MemoryCall

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LANGUAGES = ("python", "sh", "json", "dockerfile", "")
# What a page's code needs beyond the package; its server does not exist for the oldest Python.
NEEDS = {"README.md": "mcp_server_time", "cli.md": "mcp_server_time"}


class Block(NamedTuple):
    line: int  # of the opening fence, from 1
    language: str
    title: str | None
    not_run: str | None
    text: str


def blocks(page: Path) -> list[Block]:
    found: list[Block] = []
    lines: list[str] = []
    reason = opened = None
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = re.fullmatch(r'```(\w*)(?: title="([^"]+)")?', line)
        if opened is not None:
            if line == "```":
                found.append(opened._replace(text="\n".join(lines) + "\n"))
                opened = reason = None
            else:
                lines.append(line)
        elif line.lstrip().startswith("```"):
            assert fence, f"{page.name}:{number}: not a fence that this test understands: {line}"
            opened = Block(number, fence[1], fence[2], reason, "")
            lines.clear()
        elif line.startswith("<!-- not run: "):
            reason = line[len("<!-- not run: ") : -len(" -->")]
        elif line:
            reason = None
    assert opened is None, f"{page.name}: a block is not closed"
    return found


def check_output(block: Block, output: str) -> None:
    """Each `# -> text` was printed, in this order."""
    position = 0
    for expected in re.findall(r"# -> (.*)", block.text):
        at = output.find(expected, position)
        assert at >= 0, f"line {block.line}: {expected!r} is not in the rest of {output!r}"
        position = at + len(expected)


class Reader:
    """Somebody who types what a page says, block by block, in an empty folder."""

    def __init__(self, page: Path, folder: Path, capsys) -> None:
        self.page = page
        self.folder = folder
        self.capsys = capsys
        self.namespace = {"__name__": "__main__"}
        self.loop = asyncio.new_event_loop()

    def python(self, block: Block) -> None:
        # As many empty lines in front as the page has, so that a traceback names its line.
        source = "\n" * block.line + block.text
        code = compile(
            source, str(self.page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True
        )
        if block.not_run:
            return
        if code.co_flags & inspect.CO_COROUTINE:
            self.loop.run_until_complete(eval(code, self.namespace))
        else:
            exec(code, self.namespace)
        check_output(block, self.capsys.readouterr().out)

    def sh(self, block: Block) -> None:
        if block.not_run:
            subprocess.run(["sh", "-n"], input=block.text, text=True, check=True)
            for line in block.text.splitlines():
                check_command(line)
            return
        run = subprocess.run(
            ["sh", "-e"], input=block.text, capture_output=True, text=True, timeout=60, cwd=self.folder
        )
        assert run.returncode == 0, f"{self.page.name}:{block.line}: exit {run.returncode}: {run.stderr}"
        check_output(block, run.stdout + run.stderr)

    def json(self, block: Block) -> None:
        document = json.loads(block.text)
        if "pools" in document:
            stdiobus.BusConfig.from_dict(document)

    def dockerfile(self, block: Block) -> None:
        """Cannot be run without an engine and a network; what it copies is checked for all pages."""
        assert block.text.startswith("FROM ")


def check_command(line: str) -> None:
    """The command of a line that is not run exists, with its options."""
    words = shlex.split(line, comments=True)
    if not words:
        return
    if words[:2] == ["pip", "install"]:
        extras = importlib.metadata.metadata("stdiobus").get_all("Provides-Extra") or []
        for extra in re.findall(r"\[(.*?)\]", line):
            assert set(extra.split(",")) <= set(extras), line
        return
    found = subprocess.run(["sh", "-c", 'command -v "$0"', words[0]], cwd=ROOT, capture_output=True)
    assert found.returncode == 0, f"{words[0]} is no command: {line}"
    if words[0] in ("stdio_bus", "stdiobus") or words[0].startswith("scripts/"):
        command = words[:2] if words[0] == "stdiobus" else words[:1]  # each of its commands has options
        run = subprocess.run([*command, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60)
        options = [word for word in words[1:] if word.startswith("--")]
        assert run.returncode == 0, run.stderr
        assert all(option in run.stdout for option in options), line


@pytest.fixture
def reader(request, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    programs = [str(Path(sys.executable).parent), str(ROOT / "kernel/dist")]
    monkeypatch.setenv("PATH", os.pathsep.join([*programs, os.environ["PATH"]]))
    monkeypatch.delenv("STDIOBUS_BACKEND", raising=False)
    page = request.param
    if page.name in NEEDS and importlib.util.find_spec(NEEDS[page.name]) is None:
        pytest.skip(f"{page.name} needs {NEEDS[page.name]}")
    reader = Reader(page, tmp_path, capsys)
    logger = logging.getLogger("stdiobus")
    level = logger.level
    yield reader
    logger.setLevel(level)
    reader.loop.run_until_complete(reader.loop.shutdown_asyncgens())
    reader.loop.close()


@pytest.mark.parametrize("reader", PAGES, ids=lambda page: page.name, indirect=True)
def test_code_of_page_runs(reader):
    for block in blocks(reader.page):
        assert block.language in LANGUAGES, f"{reader.page.name}:{block.line}: language {block.language}"
        if block.title:
            (reader.folder / block.title).write_text(block.text, encoding="utf-8")
        if block.language and not (block.title and block.language == "python"):
            getattr(reader, block.language)(block)


def test_few_blocks_are_not_run():
    everything = [block for page in PAGES for block in blocks(page) if block.language]
    not_run = [block for block in everything if block.not_run is not None]
    assert all(block.not_run for block in not_run)
    assert len(not_run) <= len(everything) / 8


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_in_running_text_exist(page):
    text = page.read_text(encoding="utf-8")
    for script in set(re.findall(r"`(scripts/\w+)", text)):
        assert (ROOT / script).exists(), script
    for image in set(re.findall(r"stdiobus/stdio_bus:[\w.]+", text)):
        assert image == stdiobus.DockerOptions().image
    for link in re.findall(r"\]\(([^)#:]+)", text):  # scripts/docs checks those of docs/, but not README's
        assert (page.parent / link).exists(), link


# ---- The reference


def referred() -> list[str]:
    pages = sorted((ROOT / "docs/reference").glob("*.md"))
    return [name for page in pages for name in re.findall(r"^::: (\S+)", page.read_text(), re.MULTILINE)]


def test_reference_has_every_public_name_once():
    names = referred()
    assert len(names) == len(set(names))
    public = {f"stdiobus.{name}" for name in stdiobus.__all__ if name != "__version__"}
    assert public == {name for name in names if name.count(".") == 1}
    assert {f"stdiobus.native.{name}" for name in ("library", "bus", "loop", "bindings")} <= set(names)
    assert "stdiobus.backends.memory.MemoryBackend" in names


PUBLIC = [getattr(stdiobus, name) for name in stdiobus.__all__ if name != "__version__"]
# A docstring with one of these tells its arguments by naming another.
ELSEWHERE = re.compile(r"See `|As `|As ``|as in `|Arguments and errors|arguments and errors")


@pytest.mark.parametrize("cls", [*PUBLIC, MemoryBackend, MemoryCall], ids=lambda cls: cls.__name__)
def test_docstrings_tell_every_member_and_argument(cls):
    text = inspect.getdoc(cls) or ""
    assert text
    if is_dataclass(cls):
        assert all(f"    {field.name}: " in text for field in fields(cls)), text
    if issubclass(cls, Enum):
        assert all(f"    {member.name}: " in text for member in cls), text
    for name, member in inspect.getmembers(cls):
        if name.startswith("_") or not hasattr(member, "__doc__") or name not in vars(cls):
            continue
        if inspect.isfunction(member) or inspect.ismethod(member):
            said = member.__doc__ or ""
            assert said, name
            for argument in inspect.signature(member).parameters:
                if argument != "self":
                    told = f"{argument}: " in said or f"``{argument}``" in said or ELSEWHERE.search(said)
                    assert told, f"{cls.__name__}.{name} does not tell {argument}"
        elif isinstance(member, property):
            assert member.__doc__, name
