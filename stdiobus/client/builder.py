"""A bus, spelled step by step.  No validation of its own: the constructors do that."""

from __future__ import annotations

import os
from typing import Any

from ..backends.base import Backend
from ..config import BusConfig, DockerOptions, NativeOptions, SubprocessOptions
from .aio import AsyncStdioBus
from .sync import StdioBus


class StdioBusBuilder:
    """Collects arguments for `AsyncStdioBus` and `StdioBus`; every step returns the builder.

    Nothing is checked before `build` or `build_sync`.  ``native``, ``subprocess`` and
    ``docker`` are short for the steps with ``_options``.
    """

    def __init__(self) -> None:
        self._arguments: dict[str, Any] = {}

    def config(self, config: BusConfig) -> StdioBusBuilder:
        """The pools and limits.

        Args:
            config: As in `AsyncStdioBus`.
        """
        return self._with(config=config)

    def config_path(self, path: str | os.PathLike[str]) -> StdioBusBuilder:
        """Or a JSON file with them.

        Args:
            path: The file.
        """
        return self._with(config_path=path)

    def backend(self, backend: str | Backend) -> StdioBusBuilder:
        """What moves the bytes.

        Args:
            backend: ``auto``, ``native``, ``subprocess`` or ``docker``, or a backend of your own.
        """
        return self._with(backend=backend)

    def timeout_ms(self, timeout_ms: float) -> StdioBusBuilder:
        """Deadline of calls that name none.

        Args:
            timeout_ms: Milliseconds; ``math.inf`` for none.
        """
        return self._with(timeout_ms=timeout_ms)

    def native_options(self, options: NativeOptions) -> StdioBusBuilder:
        """Options of the native backend.

        Args:
            options: The options.
        """
        return self._with(native=options)

    def subprocess_options(self, options: SubprocessOptions) -> StdioBusBuilder:
        """Options of the subprocess backend.

        Args:
            options: The options.
        """
        return self._with(subprocess=options)

    def docker_options(self, options: DockerOptions) -> StdioBusBuilder:
        """Options of the docker backend.

        Args:
            options: The options.
        """
        return self._with(docker=options)

    def strict(self, strict: bool) -> StdioBusBuilder:
        """Whether one pool that cannot start makes the start fail.

        Args:
            strict: As in `AsyncStdioBus`.
        """
        return self._with(strict=strict)

    native = native_options
    subprocess = subprocess_options
    docker = docker_options

    def build(self) -> AsyncStdioBus:
        """The asyncio client.

        Raises:
            InvalidArgumentError: Something in the arguments is wrong.
        """
        return AsyncStdioBus(**self._arguments)

    def build_sync(self) -> StdioBus:
        """The client for synchronous code.

        Raises:
            InvalidArgumentError: Something in the arguments is wrong.
        """
        return StdioBus(**self._arguments)

    def _with(self, **arguments: Any) -> StdioBusBuilder:
        self._arguments.update(arguments)
        return self
