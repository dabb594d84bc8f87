"""Where wheels are proven: Pythons of this machine, and Debian systems unpacked from packages.

Here: making a place, with an interpreter and an empty folder, and running Python there. A system of
another processor runs under qemu, by a handler in a user namespace of its own: nothing is registered
with, or installed into, the machine itself.
Not here: which places there are and what is run there (wheel_runs).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import targets

SMOKE = targets.ROOT / "tests/smoke/smoke.py"

_ROOTS = targets.CACHE / "roots"
_unpacking = threading.Lock()
_TIMEOUT_SEC = 600
_COMPILE_TIMEOUT_SEC = 3600

# Neither the caller's settings nor an index: pip has the folder of wheels alone, and must choose from it.
_ENVIRONMENT = {
    "HOME": "/nonexistent",
    "LANG": "C.UTF-8",
    "PATH": "/usr/bin:/bin",
    "PIP_BREAK_SYSTEM_PACKAGES": "1",
    "PIP_CONFIG_FILE": "/dev/null",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_CACHE_DIR": "1",
    "PIP_NO_INDEX": "1",
    "PIP_ROOT_USER_ACTION": "ignore",
}

# The processors that are emulated: bytes 4 and 18 of their ELF programs, and the emulator.
_EMULATED = {
    "amd64": (2, 0x3E, "qemu-x86_64-static"),
    "arm64": (2, 0xB7, "qemu-aarch64-static"),
    "armhf": (1, 0x28, "qemu-arm-static"),
}

# $1: the system, $2: what registers its emulator, "" for none; then what is run there.
# binfmt_misc is that of the user namespace (Linux 6.7): the machine's own stays as it is.
_ENTER = """
set -eu
root=$1 handler=$2
shift 2
if [ -n "$handler" ]; then
    mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
    printf %s "$handler" >/proc/sys/fs/binfmt_misc/register
fi
[ "$root" = / ] || mount --rbind /dev "$root/dev"
[ "$root" = / ] || mount --rbind /proc "$root/proc"
exec chroot "$root" env -i "$@"
"""
_ENTER_COMMAND = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _ENTER, "sh")

# Unpacked as it would be installed, /bin being /usr/bin; one archive is one that can be half-way through
# an update of its mirror.
_SETUP = (
    'cd "$1" && sed -i "/security/d;/updates/d" etc/apt/sources.list'
    " && for each in bin sbin lib lib64; do mkdir -p usr/$each && ln -s usr/$each $each; done"
    " && mkdir -p dev proc srv/empty srv/wheels"
)
# What ca-certificates would do when it is configured; pip does not start without.
_CERTIFICATES = (
    'cd "$1" && if [ -d usr/share/ca-certificates ]; then'
    " mkdir -p etc/ssl/certs && cat usr/share/ca-certificates/*/*.crt >etc/ssl/certs/ca-certificates.crt; fi"
)


class NotHereError(Exception):
    """Something cannot be run on this machine; the message says what is missing."""


class FailedError(Exception):
    """Something was run and failed; the message has what it printed."""


@dataclass(frozen=True)
class Place:
    """A Python with nothing but its own library.

    Attributes:
        command: What runs it.
        wheels: The folder of wheels, as it sees it.
        smoke: The smoke suite, as it sees it.
        folder: The working directory, which is empty.
        environment: The only variables it gets.
    """

    command: Sequence[str]
    wheels: str
    smoke: str
    folder: Path
    environment: dict[str, str] = field(default_factory=lambda: dict(_ENVIRONMENT))

    def python(self, *arguments: str) -> str:
        """Run it; return what it printed.

        Raises:
            FailedError: It ended with another status than 0, or did not end.
        """
        return run([*self.command, *arguments], cwd=self.folder, env=self.environment)


def run(command: Sequence[str], timeout: float = _TIMEOUT_SEC, **options: object) -> str:
    """Run a command to its end; return what it printed, errors included.

    Raises:
        FailedError: It ended with another status than 0, or took too long.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            **options,  # type: ignore[call-overload]
        )
    except subprocess.TimeoutExpired as error:
        printed = (error.stdout or b"").decode(errors="replace")
        raise FailedError(f"{printed}\n{command[0]}: not done after {timeout:.0f} s") from error
    if done.returncode != 0:
        raise FailedError(f"{done.stdout.strip()}\n{command[0]}: status {done.returncode}")
    return str(done.stdout)


# ---- Pythons of this machine


@dataclass(frozen=True)
class Interpreter:
    """A Python of this machine.

    Attributes:
        path: The command.
        name: Implementation and version, which tell one from another.
        free_threaded: Whether it is built without the GIL.
    """

    path: str
    name: str
    free_threaded: bool


def interpreters(minimum: tuple[int, int]) -> list[Interpreter]:
    """Find the Pythons: this one, those on PATH and those of pyenv; one of each version.

    Args:
        minimum: The oldest version that counts.
    """
    folders = [Path(folder) for folder in os.get_exec_path()]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    candidates = [Path(sys.executable)]
    for folder in [*folders, *sorted(pyenv.glob("versions/*/bin")), targets.CACHE / "python-t/bin"]:
        for pattern in ("python3.[0-9]", "python3.[0-9][0-9]", "python3.[0-9][0-9]t", "pypy3"):
            candidates += sorted(folder.glob(pattern))
    found: dict[str, Interpreter] = {}
    for path in candidates:
        version, interpreter = _ask(path)
        if version >= list(minimum):
            found.setdefault(interpreter.name, interpreter)
    return list(found.values())


def _ask(path: Path) -> tuple[list[int], Interpreter]:
    """Return the version of what may be an interpreter; an empty one when it does not work."""
    code = (
        "import json, platform as p, sys, sysconfig as s; t = bool(s.get_config_var('Py_GIL_DISABLED'));"
        "print(json.dumps([sys.version_info[:2], p.python_implementation(), p.python_version(), t]))"
    )
    done = subprocess.run([str(path), "-I", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if done.returncode != 0:  # what pyenv puts on PATH for a version that is not selected
        return [], Interpreter(str(path), "", False)
    version, implementation, text, free = json.loads(done.stdout)
    return version, Interpreter(str(path), f"{implementation} {text}{' free-threaded' * free}", free)


def environment_of(interpreter: Interpreter, wheels: Path, work: Path) -> Place:
    """Make a virtual environment.

    Args:
        interpreter: Its Python.
        wheels: The folder of wheels.
        work: An empty folder for it.

    Raises:
        NotHereError: The interpreter makes none: distributions have that in a package of its own.
    """
    try:
        run([interpreter.path, "-m", "venv", str(work / "venv")])
    except FailedError as error:
        raise NotHereError(f"{interpreter.path} makes no virtual environments: {error}") from error
    (work / "empty").mkdir()
    # By itself: no path of the checkout is in reach.
    smoke = shutil.copy(SMOKE, work)
    return Place([str(work / "venv/bin/python")], str(wheels), str(smoke), work / "empty")


def build_free_threaded() -> None:
    """Build CPython without the GIL from Debian's source; kept in `.cache`, takes some minutes.

    Raises:
        NotHereError: There is nothing to fetch or compile it with.
        FailedError: It does not compile.
    """
    home, work = targets.CACHE / "python-t", targets.CACHE / "python-t.build"
    if home.exists():
        return
    if not (shutil.which("gcc") and shutil.which("make")):
        raise NotHereError("there is no gcc or no make (on Debian: apt-get install gcc make)")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    fetch = f'cd "{work}" && APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get source --download-only python3.13'
    add_source = 'sed -i "s/^deb \\(.*\\)/&\\ndeb-src \\1/" "$1/etc/apt/sources.list"'
    hooks = [f"--setup-hook={add_source}", f"--extract-hook={fetch}"]
    _unpack("trixie", _debian_name(), ["base-files"], work / "root", hooks)
    [archive] = work.glob("python3.13_*.orig.tar.xz")
    run(["tar", "-xf", str(archive), "--strip-components=1"], cwd=work)
    run(
        ["./configure", "-q", "--disable-gil", "--disable-test-modules", f"--prefix={work / 'home'}"],
        cwd=work,
    )
    for goal in ("all", "install"):
        run(["make", "-s", f"-j{os.cpu_count()}", goal], _COMPILE_TIMEOUT_SEC, cwd=work)
    try:
        run([str(work / "home/bin/python3"), "-c", "import ctypes, zlib"])
    except FailedError as error:
        raise NotHereError(
            "CPython needs headers (on Debian: apt-get install libffi-dev zlib1g-dev)"
        ) from error
    (work / "home").rename(home)
    shutil.rmtree(work)


# ---- Systems unpacked from Debian packages


def system(suite: str, architecture: str, packages: Sequence[str]) -> Path:
    """Unpack a Debian system, kept in `.cache`; nothing of it is configured or started.

    Args:
        suite: E.g. `bookworm`.
        architecture: As Debian spells it; "" is this machine's.
        packages: What it is to have, beside a shell.

    Returns:
        Its root.

    Raises:
        NotHereError: It cannot be unpacked, entered or emulated on this machine.
        FailedError: Something went wrong with it.
    """
    if sys.platform != "linux":
        raise NotHereError("this is not Linux")
    architecture = architecture or _debian_name()
    handler = _handler(architecture)
    if os.geteuid() != 0:
        raise NotHereError("unpacking a system needs root")
    try:
        run([*_ENTER_COMMAND, "/", handler, "true"])
    except FailedError as error:
        raise NotHereError(f"this machine's user namespaces are not enough: {error}") from error
    root = _ROOTS / f"{suite}-{architecture}"
    with _unpacking:  # another run may want the same one
        if not root.exists():
            _unpack(suite, architecture, ["dash", "coreutils", *packages], root, [])
    return root


def place_in(root: Path, architecture: str, python: str, wheels: Path) -> Place:
    """Return a Python of an unpacked system, which gets copies of the wheels.

    Args:
        root: From `system`.
        architecture: As for `system`.
        python: Name of the interpreter.
        wheels: The folder of wheels.
    """
    for wheel in (root / "srv/wheels").iterdir():
        wheel.unlink()
    for wheel in wheels.glob("*.whl"):
        shutil.copy(wheel, root / "srv/wheels")
    shutil.copy(SMOKE, root / "srv")
    variables = [f"{name}={value}" for name, value in _ENVIRONMENT.items()]
    handler = _handler(architecture or _debian_name())
    enter = [*_ENTER_COMMAND, str(root), handler, "--chdir=/srv/empty", *variables, python]
    # chroot is where only root looks.
    outside = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    return Place(enter, "/srv/wheels", "/srv/smoke.py", root, outside)


def _unpack(suite: str, architecture: str, packages: Sequence[str], root: Path, hooks: Sequence[str]) -> None:
    if not shutil.which("mmdebstrap"):
        raise NotHereError("there is no mmdebstrap (on Debian: apt-get install mmdebstrap)")
    root.parent.mkdir(parents=True, exist_ok=True)
    staging = root.with_name(f"{root.name}.{os.getpid()}")
    command = [
        "mmdebstrap",
        "--quiet",
        "--variant=extract",
        f"--architectures={architecture}",
        f"--include={','.join(packages)}",
        # A mirror may keep an old state: what is signed will do, however old.
        '--aptopt=Acquire::Check-Valid-Until "false"',
        '--aptopt=Acquire::Retries "3"',
        f"--setup-hook={_SETUP}",
        f"--extract-hook={_CERTIFICATES}",
        *hooks,
        suite,
        str(staging),
    ]
    try:
        run(command)
        staging.rename(root)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def debian_name(machine: str) -> str:
    """Return how Debian spells a processor."""
    return {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "armhf"}.get(machine, machine)


def _debian_name() -> str:
    return debian_name(os.uname().machine)


def _handler(architecture: str) -> str:
    """Return what registers the emulator with binfmt_misc, "" where none is needed."""
    if architecture == _debian_name():
        return ""
    bits, machine, emulator = _EMULATED[architecture]
    path = shutil.which(emulator)
    if path is None:
        raise NotHereError("there is no qemu (on Debian: apt-get install qemu-user-static)")
    ident = b"\x7fELF" + bytes([bits, 1, 1]) + bytes(9)
    # Executables of both kinds (2 and 3), whatever their system.
    magic = ident + bytes([2, 0, machine, 0])
    mask = b"\xff" * 7 + b"\x00" + b"\xff" * 8 + b"\xfe\xff\xff\xff"
    escaped = ["".join(f"\\x{byte:02x}" for byte in each) for each in (magic, mask)]
    # F: the emulator is opened here and now, for it is not in the system.
    return f":stdiobus-{architecture}:M::{escaped[0]}:{escaped[1]}:{path}:F"
