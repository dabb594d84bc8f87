"""What must be true of the files of a release: their names, what is in them, how large they are.

Here: the rules of a wheel and of the sdist, each from their bytes to what is wrong with them.
Not here: the binaries inside (binary_rules), what other tools say of the files (artifact_checks).
"""

from __future__ import annotations

import email.parser
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import targets
import wheel_build

PLATFORM_LIMIT = 600_000
UNIVERSAL_LIMIT = 3_000_000

_INSIDE = "stdiobus/_libs"


def check_folder(folder: Path, version: str) -> list[str]:
    """Tell what is missing in a folder of release files, and what does not belong there."""
    expected = {*wheel_build.wheel_names(version).values(), wheel_build.sdist_name(version)}
    found = {path.name for path in folder.iterdir()}
    return [f"{name}: missing" for name in sorted(expected - found)] + [
        f"{name}: is not part of a release" for name in sorted(found - expected)
    ]


def library_member(target: targets.Target) -> str:
    """Return the path of a platform's library in its wheel."""
    return f"{_INSIDE}/{target.library}"


def check_wheel(path: Path, target: Optional[targets.Target]) -> list[str]:
    """Tell what is wrong with a wheel.

    Args:
        path: The wheel.
        target: Its platform, None for the universal wheel.
    """
    limit = UNIVERSAL_LIMIT if target is None else PLATFORM_LIMIT
    size = path.stat().st_size
    problems = [] if size <= limit else [f"{size:,} bytes, more than {limit:,}"]
    with zipfile.ZipFile(path) as wheel:
        return [*problems, *_tags(wheel, path.stem, pure=target is None), *_contents(wheel, target)]


def _tags(wheel: zipfile.ZipFile, stem: str, *, pure: bool) -> Iterator[str]:
    name, version, pythons, abis, platforms = stem.split("-")
    record = email.parser.Parser().parsestr(wheel.read(f"{name}-{version}.dist-info/WHEEL").decode())
    expected = {f"{python}-{abis}-{tag}" for python in pythons.split(".") for tag in platforms.split(".")}
    if set(record.get_all("Tag", [])) != expected:
        yield f"WHEEL has the tags {record.get_all('Tag')}, the file name {sorted(expected)}"
    if record["Root-Is-Purelib"] != str(pure).lower():
        yield f"Root-Is-Purelib is {record['Root-Is-Purelib']}"


def _contents(wheel: zipfile.ZipFile, target: Optional[targets.Target]) -> Iterator[str]:
    rows = targets.TARGETS if target is None else (target,)
    copied = {_inside(name): name for name in (targets.LAUNCHER, *(row.program_file for row in rows))}
    package = targets.ROOT / "stdiobus"
    sources = [*package.rglob("*.py"), package / "py.typed"]
    expected = {path.relative_to(targets.ROOT).as_posix() for path in sources} | copied.keys()
    if target is not None:
        expected.add(library_member(target))
    members = {member.filename: member for member in wheel.infolist() if ".dist-info/" not in member.filename}
    yield from (f"{name}: missing" for name in sorted(expected - members.keys()))
    yield from (f"{name}: does not belong there" for name in sorted(members.keys() - expected))
    for name in sorted(members.keys() & copied.keys()):
        if members[name].external_attr >> 16 & 0o777 != 0o755:
            yield f"{name}: not executable by everyone"
        if wheel.read(name) != (targets.ROOT / copied[name]).read_bytes():
            yield f"{name}: not the committed file"


def _inside(name: str) -> str:
    return f"{_INSIDE}/dist/{name[len(targets.DIST) + 1 :]}"


def check_sdist(path: Path) -> list[str]:
    """Tell how the sdist differs from what git has of the tree.

    Raises:
        subprocess.CalledProcessError: There is no git, or this is no checkout.
    """
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=targets.ROOT, check=True, stdout=subprocess.PIPE)
    expected = {*listed.stdout.decode().split("\0"), "PKG-INFO"} - {""}
    with tarfile.open(path) as sdist:
        found = {member.name.partition("/")[2]: member for member in sdist.getmembers()}
        problems = [f"{name}: missing" for name in sorted(expected - found.keys())]
        problems += [f"{name}: git does not know it" for name in sorted(found.keys() - expected)]
        for target in targets.TARGETS:
            for name in {target.archive, target.program_file} & found.keys():
                member = sdist.extractfile(found[name])
                if member is None or member.read() != (targets.ROOT / name).read_bytes():
                    problems.append(f"{name}: not the committed file")
    return problems
