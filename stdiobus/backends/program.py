"""The ``stdio_bus`` program as a process: finding it, starting it, ending it.

What goes over its pipes is the business of ``subprocess.py``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from typing import NamedTuple

from ..config import SubprocessOptions
from ..errors import UnavailableError

NAME = "stdio_bus"

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

FORCED_END_SEC = 1.0
"""How long the program may take to end its workers by force."""


class Binary(NamedTuple):
    """Which program is used.

    Attributes:
        path: Its path.
        reason: Why this one: where it was found.
    """

    path: str
    reason: str


def resolve_binary(options: SubprocessOptions) -> Binary:
    """Finds the ``stdio_bus`` program.

    An explicit ``binary_path`` is the only candidate.  Otherwise: the copy inside the
    package, the checkout's ``kernel/dist``, ``PATH``.

    Raises:
        UnavailableError: None is there; the message lists each place with the reason,
            and ``details["tried"]`` has the pairs.
    """
    if options.binary_path:
        candidates = [(options.binary_path, "binary_path of SubprocessOptions")]
    else:
        candidates = [
            (os.path.join(_PACKAGE, "_libs", "dist", NAME), "the program inside the package"),
            (
                os.path.join(os.path.dirname(_PACKAGE), "kernel", "dist", NAME),
                "the checkout's launcher",
            ),
            (shutil.which(NAME) or "", "PATH"),
        ]
    tried: list[tuple[str, str]] = []
    for path, reason in candidates:
        problem = _problem(path)
        if problem is None:
            return Binary(path, reason)
        tried.append((path or reason, problem))
    listing = "".join(f"\n  {place}: {problem}" for place, problem in tried)
    raise UnavailableError(
        f"no {NAME} program was found; set SubprocessOptions.binary_path or put it on PATH. Tried:{listing}",
        {"tried": tried},
    )


def _problem(path: str) -> str | None:
    if not path:
        return f"no {NAME} there"
    if not os.path.isfile(path):
        return "no such file"
    if not os.access(path, os.X_OK):
        return "not executable"
    return None


class Program:
    """A running ``stdio_bus``, in a session of its own so that Ctrl-C is the host's alone.

    Args:
        path: The program.
        config_json: The configuration, handed over in an unlinked file: a pipe could
            fill up before the program reads it, and a named file could stay behind.
        env: Changes to this process's environment; ``None`` as value removes a variable.

    Raises:
        UnavailableError: It cannot be executed.
    """

    def __init__(self, path: str, config_json: str, env: Mapping[str, str | None]) -> None:
        self._pid = os.getpid()
        with tempfile.TemporaryFile() as config:
            config.write(config_json.encode())
            config.seek(0)
            fd = config.fileno()
            command = [path, "--config-fd", str(fd), "--stdio", "--tagged", "--log-level", "warning"]
            try:
                self._process = subprocess.Popen(
                    command,
                    bufsize=0,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    pass_fds=(fd,),
                    start_new_session=True,
                    env=_environment(env),
                )
            except OSError as error:
                raise UnavailableError(
                    f"{path} cannot be executed: {error.strerror}", {"path": path}
                ) from error

    def take_pipes(self) -> tuple[int, int, int]:
        """Its stdin, stdout and stderr; the caller owns the descriptors from now on."""
        pipes = (self._process.stdin, self._process.stdout, self._process.stderr)
        descriptors = []
        for pipe in pipes:
            assert pipe is not None
            descriptors.append(os.dup(pipe.fileno()))
            pipe.close()
        return descriptors[0], descriptors[1], descriptors[2]

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def poll(self) -> int | None:
        """Its return code, ``None`` while it runs; reaps it."""
        return self._process.poll()

    def end_by_force(self) -> None:
        """Asks it to end its workers and itself at once; returns immediately.

        Two different signals, because two of the same kind can arrive as one: the second
        one makes the program skip the orderly part.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            self._process.send_signal(number)

    def kill(self, *, patient: bool = True) -> None:
        """Ends it for certain and reaps it.  Idempotent; does nothing in a forked child.

        Args:
            patient: Give it a moment to end its workers first.  It blocks for that
                moment, which is `FORCED_END_SEC` at most and usually milliseconds.
        """
        if os.getpid() != self._pid or self._process.poll() is not None:
            return
        if patient:
            self.end_by_force()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(FORCED_END_SEC)
                return
        self._process.kill()
        self._process.wait()


def _environment(changes: Mapping[str, str | None]) -> dict[str, str] | None:
    if not changes:
        return None
    merged = {**os.environ, **changes}
    return {name: value for name, value in merged.items() if value is not None}
