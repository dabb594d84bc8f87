"""Each rule of a wheel and of the sdist sees the file that breaks it."""

from __future__ import annotations

import io
import tarfile
import zipfile

import pytest

import targets
import wheel_build
import wheel_rules

LINUX = targets.find("x86_64-unknown-linux-gnu")
INSIDE = f"stdiobus/_libs/dist/{LINUX.program}/stdio_bus"


def rewritten(wheel, folder, change):
    """A copy of a wheel in which `change(info, content)` says what becomes of each file; None removes it."""
    copy = folder / wheel.name
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(copy, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            content = change(info, old.read(info))
            if content is not None:
                new.writestr(info, content)
    return copy


@pytest.fixture
def broken(wheel, tmp_path):
    def check(change, target=LINUX):
        return wheel_rules.check_wheel(rewritten(wheel(LINUX.triple), tmp_path, change), target)

    return check


def test_what_is_built_breaks_none(wheel, sdist, release):
    assert wheel_rules.check_folder(release, wheel_build.version(targets.ROOT)) == []
    for target in targets.TARGETS:
        assert wheel_rules.check_wheel(wheel(target.triple), target) == []
    assert wheel_rules.check_wheel(wheel(targets.UNIVERSAL), None) == []


def test_the_files_of_a_release(tmp_path):
    wheels = wheel_build.wheel_names("1.0")
    assert len(wheels) == 8
    for name in [*wheels.values(), "stdiobus-0.9.tar.gz"]:
        (tmp_path / name).touch()
    assert wheel_rules.check_folder(tmp_path, "1.0") == [
        "stdiobus-1.0.tar.gz: missing",
        "stdiobus-0.9.tar.gz: is not part of a release",
    ]


def test_a_missing_and_a_stray_file(broken):
    assert broken(lambda info, content: None if info.filename == "stdiobus/py.typed" else content) == [
        "stdiobus/py.typed: missing"
    ]

    def add(info, content):
        if info.filename == "stdiobus/py.typed":
            info.filename = "secrets.txt"
        return content

    assert "secrets.txt: does not belong there" in broken(add)


def test_the_library_is_that_of_the_platform(broken):
    assert broken(lambda info, content: None if info.filename.endswith(".so") else content) == [
        "stdiobus/_libs/libstdio_bus.so: missing"
    ]
    problems = broken(lambda info, content: content, None)
    assert "stdiobus/_libs/libstdio_bus.so: does not belong there" in problems
    assert "stdiobus/_libs/dist/darwin-arm64/stdio_bus: missing" in problems


def test_a_program_that_cannot_be_run_and_another_one(broken):
    def plain(info, content):
        if info.filename == INSIDE:
            info.external_attr = 0o100644 << 16
        return content

    assert broken(plain) == [f"{INSIDE}: not executable by everyone"]
    assert broken(lambda info, content: content[:-1] if info.filename == INSIDE else content) == [
        f"{INSIDE}: not the committed file"
    ]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (b"manylinux2014", b"manylinux2010", "WHEEL has the tags "),
        (b"Purelib: false", b"Purelib: true", "Root-Is-Purelib is true"),
    ],
)
def test_tags(broken, old, new, problem):
    def change(info, content):
        if not info.filename.endswith("/WHEEL"):
            return content
        assert old in content
        return content.replace(old, new)

    [found] = broken(change)
    assert found.startswith(problem)


@pytest.mark.parametrize("limit", ["PLATFORM_LIMIT", "UNIVERSAL_LIMIT"])
def test_size(wheel, monkeypatch, limit):
    path, target = (wheel(targets.UNIVERSAL), None) if limit[0] == "U" else (wheel(LINUX.triple), LINUX)
    monkeypatch.setattr(wheel_rules, limit, 1000)
    [problem] = wheel_rules.check_wheel(path, target)
    assert problem.endswith(" bytes, more than 1,000")


def test_sdist(sdist, tmp_path):
    changed = tmp_path / "changed.tar.gz"
    archive = LINUX.archive
    with tarfile.open(sdist) as old, tarfile.open(changed, "w:gz", compresslevel=1) as new:
        for member in old.getmembers():
            content = old.extractfile(member)
            assert content is not None
            data, name = content.read(), member.name.partition("/")[2]
            if name == archive:
                data = data[:-1]
            member.size = len(data)
            if name == "README.md":
                member.name += ".orig"
            new.addfile(member, io.BytesIO(data))
    before = wheel_rules.check_sdist(sdist)
    assert all("git does not know it" in problem for problem in before), before  # a file that is just written
    assert set(wheel_rules.check_sdist(changed)) - set(before) == {
        "README.md: missing",
        "README.md.orig: git does not know it",
        f"{archive}: not the committed file",
    }
