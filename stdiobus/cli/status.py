"""How a command ends: its exit status, and the failures that are the command line's own.

Imports nothing but the exceptions of the package.
"""

from __future__ import annotations

from enum import IntEnum

from ..errors import InvalidArgumentError, RemoteError, StdioBusError, UnavailableError


class Status(IntEnum):
    """Exit statuses; those up to 4 mean the same as for the program ``stdio_bus``.

    Attributes:
        DONE: All is well.
        FAILED: The worker answered with an error; a self-test failed; nobody reads stdout.
        USAGE: The command line is wrong.
        CONFIG: The configuration is wrong.
        UNAVAILABLE: Nothing could be started, or no bus is there to connect to.
        NO_ANSWER: The call has no answer: it took too long, its worker ended.
        NO_EXTRA: The libraries of ``stdiobus[cli]`` are not installed.
        INTERRUPTED: Ctrl-C.
    """

    DONE = 0
    FAILED = 1
    USAGE = 2
    CONFIG = 3
    UNAVAILABLE = 4
    NO_ANSWER = 5
    NO_EXTRA = 6
    INTERRUPTED = 130


class NoBusError(UnavailableError):
    """No running bus answers where one was looked for, or it has gone."""


def status_of(error: StdioBusError) -> Status:
    """The exit status for an error that ended a command."""
    if isinstance(error, InvalidArgumentError):
        return Status.CONFIG
    if isinstance(error, UnavailableError):
        return Status.UNAVAILABLE
    if isinstance(error, RemoteError):
        return Status.FAILED
    return Status.NO_ANSWER
