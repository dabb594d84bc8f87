"""Choosing a backend: the one that was asked for, or the first that works.

Order of ``auto``: native where the library loads, subprocess where the program is found,
docker where an engine answers and has the image.
``STDIOBUS_BACKEND`` overrides ``auto``, never an explicit choice.  Starting the chosen one
is the client's business.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

from ..config import DockerOptions, NativeOptions, SubprocessOptions
from ..errors import InvalidArgumentError, UnavailableError
from ..messages import BackendMode, ListenMode
from ..platforms import refuse_windows
from .base import Backend

ENVIRONMENT = "STDIOBUS_BACKEND"

_log = logging.getLogger("stdiobus")


def resolve_mode(backend: str | Backend, native: NativeOptions) -> BackendMode:
    """The mode that was asked for, the environment considered.

    Args:
        backend: ``auto``, ``native``, ``subprocess`` or ``docker``; or a backend, which has its mode.
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


async def choose(
    mode: BackendMode, native: NativeOptions, subprocess: SubprocessOptions, docker: DockerOptions
) -> Backend:
    """Makes the backend for a mode that `resolve_mode` returned.

    Raises:
        UnavailableError: It cannot work here; for ``auto``, none can, and the message
            lists what was tried and why it failed.
    """
    refuse_windows()
    if mode is BackendMode.NATIVE:
        return _native(native)
    if mode is BackendMode.SUBPROCESS:
        return _subprocess(subprocess)
    if mode is BackendMode.DOCKER:
        return await _docker(docker, fetch=True)
    failed: dict[BackendMode, UnavailableError] = {}
    try:
        return _native(native)
    except UnavailableError as error:
        if native.listen_mode is not ListenMode.NONE:
            raise UnavailableError(
                f"the listener needs the native backend, which is not available: {error.message}",
                error.details,
            ) from error
        failed[BackendMode.NATIVE] = error
    try:
        return _instead(_subprocess(subprocess), failed)
    except UnavailableError as error:
        failed[BackendMode.SUBPROCESS] = error
    try:
        return _instead(await _docker(docker, fetch=False), failed)
    except UnavailableError as error:
        failed[BackendMode.DOCKER] = error
        listing = "".join(f"\n{mode.value}: {each.message}" for mode, each in failed.items())
        raise UnavailableError(
            f"no backend is available.{listing}", {mode.value: each.details for mode, each in failed.items()}
        ) from error


def _instead(backend: Backend, failed: Mapping[BackendMode, UnavailableError]) -> Backend:
    reasons = "; ".join(f"{mode.value}: {_in_one_line(error.message)}" for mode, error in failed.items())
    _log.warning("using the %s backend, because others are not available: %s", backend.mode.value, reasons)
    return backend


def _in_one_line(message: str) -> str:
    """A message with a listing, for a log that is read line by line."""
    return message.replace(":\n  ", ": ").replace("\n  ", "; ")


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
    from .program import local, resolve_binary
    from .subprocess import SubprocessBackend

    return SubprocessBackend(local(resolve_binary(options), options))


async def _docker(options: DockerOptions, *, fetch: bool) -> Backend:
    from .docker import DockerBackend, find_engine, require_image

    engine = await find_engine(options)
    if not fetch or options.pull_policy == "never":
        await require_image(engine, options.image)
    return DockerBackend(engine, options)
