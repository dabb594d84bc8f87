"""The ``stdio_bus`` program as a process: finding it, starting it, ending it.

What goes over its pipes is the business of ``subprocess.py``, how it comes to run in a
container that of ``docker.py``.
"""

from __future__ import annotations

import _thread
import asyncio
import atexit
import logging
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Callable, NamedTuple

from ..config import SubprocessOptions
from ..errors import UnavailableError
from ..platforms import unsupported

NAME = "stdio_bus"

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
"""The levels of the program's log, as ``logging`` numbers them."""

FORCED_END_SEC = 1.0
"""How long the program may take to end its workers by force."""

_UNDO_SEC = 30.0
"""How long a command may take that removes what the program has left."""

_BRIEF_SEC = 0.05
"""How long an end is waited for on a loop: a program that is well needs a few milliseconds."""

POLL_SEC = 0.005

_log = logging.getLogger("stdiobus")


def arguments() -> list[str]:
    """What the program is told; it logs what the logger ``stdiobus.kernel`` takes.

    The configuration is the first line of its stdin: a pipe is all that it needs of its host.
    """
    wanted = logging.getLogger("stdiobus.kernel").getEffectiveLevel()
    level = next((name for name, number in LEVELS.items() if wanted <= number), "error")
    return ["--config-fd", "0", "--stdio", "--tagged", "--log-level", level]


@dataclass(frozen=True)
class Launch:
    """How a ``stdio_bus`` comes to run.

    Attributes:
        command: Its whole command line.
        name: What messages call it.
        remedy: What a user can do when it does not start in time.
        env: Changes to this process's environment; ``None`` as value removes a variable.
        undo: A command that removes what it leaves when it is killed.
        start_timeout_sec: How long it may take to report that it runs.
        drain_timeout_sec: How long it may take to end once it was asked to.
        stderr_buffer_lines: How many lines of its stderr are kept for error messages.
    """

    command: Sequence[str]
    name: str
    remedy: str
    env: Mapping[str, str | None] = field(default_factory=dict)
    undo: Sequence[str] = ()
    start_timeout_sec: float = 30.0
    drain_timeout_sec: float = 30.0
    stderr_buffer_lines: int = 64


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
    package and the checkout's ``kernel/dist``, which have none for an unsupported system, then
    ``PATH``.

    Raises:
        UnavailableError: None is there; the message lists each place with the reason,
            and ``details["tried"]`` has the pairs.
    """
    foreign = unsupported()
    if options.binary_path:
        candidates = [(options.binary_path, "binary_path of SubprocessOptions")]
    else:
        inside = os.path.join(_PACKAGE, "_libs", "dist", NAME)
        checkout = os.path.join(os.path.dirname(_PACKAGE), "kernel", "dist", NAME)
        candidates = [(inside, "the program inside the package"), (checkout, "the checkout's launcher")]
        candidates = [] if foreign else candidates
        candidates.append((shutil.which(NAME) or "", "PATH"))
    tried: list[tuple[str, str]] = []
    for path, reason in candidates:
        problem = _problem(path)
        if problem is None:
            return Binary(path, reason)
        tried.append((path or reason, problem))
    listing = "".join(f"\n  {place}: {problem}" for place, problem in tried)
    remedy = foreign or "set SubprocessOptions.binary_path or put it on PATH"
    raise UnavailableError(
        f"no {NAME} program was found; {remedy}. Tried:{listing}",
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


def local(binary: Binary, options: SubprocessOptions) -> Launch:
    """The program as a child process."""
    return Launch(
        command=[binary.path, *arguments()],
        name=f"{binary.path} ({binary.reason})",
        remedy="check that it is a stdio_bus of this version",
        env=options.env,
        start_timeout_sec=options.start_timeout_sec,
        drain_timeout_sec=options.drain_timeout_sec,
        stderr_buffer_lines=options.stderr_buffer_lines,
    )


class Program:
    """A running command, in a session of its own so that Ctrl-C is the host's alone.

    Args:
        launch: The command.

    Raises:
        UnavailableError: It cannot be executed.
    """

    def __init__(self, launch: Launch) -> None:
        self._owner = os.getpid()
        self._name = launch.name
        self._undo = launch.undo
        self._deadline: float | None = None
        self._advancing = threading.Lock()
        try:
            self._process = subprocess.Popen(
                launch.command,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                env=_environment(launch.env),
            )
        except OSError as error:
            raise UnavailableError(
                f"{launch.name} cannot be executed: {error.strerror}", {"path": launch.command[0]}
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
        one makes the program skip the orderly part. Idempotent; after `FORCED_END_SEC`
        `advance` kills it.
        """
        if self._deadline is None and os.getpid() == self._owner:
            self._deadline = time.monotonic() + FORCED_END_SEC
            for number in (signal.SIGTERM, signal.SIGINT):
                self._process.send_signal(number)

    def advance(self) -> bool:
        """Does what is due on the way to its end, after `end_by_force`; never waits.

        From any thread, and from a finalizer that runs amid any other code, this included.

        Returns:
            Whether all is done: it was reaped, and what it has left is removed.
        """
        if os.getpid() != self._owner:
            return True  # a forked child: the process is the parent's
        # Nobody waits for this lock: whoever holds it may be the code that a finalizer interrupts.
        if not self._advancing.acquire(blocking=False):
            return False
        try:
            return self._advance()
        finally:
            self._advancing.release()

    def _advance(self) -> bool:
        assert self._deadline is not None, "it was not asked to end"
        if self._process.poll() is None:
            if time.monotonic() >= self._deadline:
                self._process.kill()
            return False
        if not self._undo or self._process.returncode >= 0:
            return True  # it has ended by itself, and left nothing
        command, self._undo = self._undo, ()
        try:
            nothing = subprocess.DEVNULL
            self._process = subprocess.Popen(
                command, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True
            )
        except OSError as error:
            _log.warning("%s may have left something: %s: %s", self._name, command[0], error.strerror)
            return True
        self._deadline = time.monotonic() + _UNDO_SEC
        return False

    def finish(self, wait: bool) -> None:
        """Ends it for certain and reaps it.  Idempotent; does nothing in a forked child.

        Args:
            wait: Whether to wait for the end, unless not even killing brings it about.
                Otherwise, as on a loop, what takes longer than a moment is left to a thread.
        """
        self.end_by_force()
        _unfinished.add(self)
        moment = time.monotonic() + _BRIEF_SEC
        while not self.advance():
            assert self._deadline is not None
            now, last = time.monotonic(), self._deadline + FORCED_END_SEC
            # At interpreter exit threads are stopped: nobody else would see to it.
            enough = last if wait or _exiting else moment
            if now >= enough and (_see_to_the_rest() or now >= last):
                return
            time.sleep(POLL_SEC / 5)
        _unfinished.discard(self)


def poll_until(condition: Callable[[], bool]) -> asyncio.Future[None]:
    """Returns a future that is done when the condition holds; cancel it to stop looking.

    For the end of a child, which not every platform and loop can report.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[None] = loop.create_future()

    def look() -> None:
        if outcome.done():
            return
        if condition():
            outcome.set_result(None)
        else:
            loop.call_later(POLL_SEC, look)

    look()
    return outcome


_unfinished: set[Program] = set()
"""Programs whose end has begun."""

_seeing_to_it = threading.Lock()
"""Held by the thread that sees to the unfinished programs, if there is one."""

_exiting = False
"""Whether the interpreter exits."""


def _see_to_the_rest() -> bool:
    """Has a thread see to the unfinished programs; whether there is one.

    Not the loop, which may be closed at once.  Started without ``threading``, whose own locks
    the code may hold that a finalizer interrupts.
    """
    if not _seeing_to_it.locked():
        try:
            _thread.start_new_thread(_finish_unfinished, ())
        except RuntimeError:  # there are too many, or the interpreter exits
            return False
    return True


def _finish_unfinished() -> None:
    # Looks again after the release: whoever added a program before that has started no thread.
    while _unfinished and _seeing_to_it.acquire(blocking=False):
        try:
            while _unfinished:
                _finish_what_is_due()
                time.sleep(POLL_SEC)
        finally:
            _seeing_to_it.release()


def _finish_what_is_due() -> None:
    for program in list(_unfinished):
        if program.advance():
            _unfinished.discard(program)


@atexit.register
def _finish_everything() -> None:
    global _exiting
    _exiting = True  # first: `finish` adds the program before it looks at this
    for program in list(_unfinished):
        program.finish(wait=True)


def _forget_the_thread() -> None:
    """In a forked child, where the thread does not run."""
    global _seeing_to_it
    _seeing_to_it = threading.Lock()


os.register_at_fork(after_in_child=_forget_the_thread)


def _environment(changes: Mapping[str, str | None]) -> dict[str, str] | None:
    if not changes:
        return None
    merged = {**os.environ, **changes}
    return {name: value for name, value in merged.items() if value is not None}
