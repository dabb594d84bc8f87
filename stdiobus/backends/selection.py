"""Choosing a backend: the one that was asked for, or the first that works.

Order of ``auto``: native where the library loads, subprocess where the program is found.
``STDIOBUS_BACKEND`` overrides ``auto``, never an explicit choice.  Starting the chosen one
is the client's business.
"""

from __future__ import annotations

import logging
import os

from ..config import NativeOptions, SubprocessOptions
from ..errors import InvalidArgumentError, UnavailableError
from ..messages import BackendMode, ListenMode
from .base import Backend

ENVIRONMENT = "STDIOBUS_BACKEND"

_log = logging.getLogger("stdiobus")


def resolve_mode(backend: str | Backend, native: NativeOptions) -> BackendMode:
    """The mode that was asked for, the environment considered.

    Args:
        backend: ``auto``, ``native`` or ``subprocess``; or a backend, which has its mode.
        native: Its listener rules out every other backend.

    Raises:
        InvalidArgumentError: No such mode, or a listener on a backend without one.
    """
    mode = backend.mode if isinstance(backend, Backend) else _parse(backend, "backend")
    origin = f'backend "{mode.value}"'
    override = os.environ.get(ENVIRONMENT, "")
    if mode is BackendMode.AUTO and override:
        mode = _parse(override, ENVIRONMENT)
        origin = f"{ENVIRONMENT}={override}"
    if native.listen_mode is not ListenMode.NONE and mode not in (BackendMode.AUTO, BackendMode.NATIVE):
        raise InvalidArgumentError(
            f"native.listen_mode: a listener needs the native backend, but {origin} is asked for; "
            'use "native" or leave the listener out',
            {"field": "native.listen_mode"},
        )
    return mode


def choose(mode: BackendMode, native: NativeOptions, subprocess: SubprocessOptions) -> Backend:
    """Makes the backend for a mode that `resolve_mode` returned.

    Raises:
        UnavailableError: It cannot work here; for ``auto``, none can, and the message
            lists what was tried and why it failed.
    """
    if mode is BackendMode.NATIVE:
        return _native(native)
    if mode is BackendMode.SUBPROCESS:
        return _subprocess(subprocess)
    try:
        return _native(native)
    except UnavailableError as error:
        if native.listen_mode is not ListenMode.NONE:
            raise UnavailableError(
                f"the listener needs the native backend, which is not available: {error.message}",
                error.details,
            ) from error
        reason = error
    try:
        backend = _subprocess(subprocess)
    except UnavailableError as error:
        raise UnavailableError(
            f"no backend is available.\nnative: {reason.message}\nsubprocess: {error.message}",
            {"native": reason.details, "subprocess": error.details},
        ) from error
    _log.warning("using the subprocess backend, because the native one is not available: %s", reason.message)
    return backend


def _parse(value: str, where: str) -> BackendMode:
    names = [mode.value for mode in BackendMode if mode is not BackendMode.MEMORY]
    if value in names:
        return BackendMode(value)
    raise InvalidArgumentError(f"{where}: must be one of {', '.join(names)}", {"field": where})


def _native(options: NativeOptions) -> Backend:
    # Imported here, so that a process without the library never loads ctypes.
    from ..native.library import load
    from .native import NativeBackend

    return NativeBackend(load(), options)


def _subprocess(options: SubprocessOptions) -> Backend:
    from .program import resolve_binary
    from .subprocess import SubprocessBackend

    return SubprocessBackend(resolve_binary(options), options)
