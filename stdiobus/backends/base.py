"""The contract between a client and whatever runs the kernel for it.

Every backend lives on one event loop: all methods are called on its thread, and all calls
into the `Sink` are made on it, from the loop itself and never from within a method that
the client called.  No backend that runs has a thread, and none blocks the loop.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Callable, Protocol

from ..config import BusConfig
from ..errors import StdioBusError
from ..messages import BackendMode, BusStats, ListenMode, WorkerEvent, WorkerInfo
from ..protocol.session import Record


class Sink(Protocol):
    """Where a backend delivers; the client implements it."""

    def batch(self, data: bytes, records: Iterable[Record]) -> None:
        r"""Takes incoming lines: ``data`` holds them, each followed by ``\n``, in record order."""

    def worker_event(self, event: WorkerEvent) -> None:
        """Takes a change in the life of a worker, in order with the lines."""

    def failed(self, error: StdioBusError) -> None:
        """Takes the news that the backend is dead; nothing follows it."""


class Backend(ABC):
    """One running kernel.

    Attributes:
        mode: Which backend this is.
    """

    mode: BackendMode

    @property
    def backlog(self) -> int:
        """Bytes taken by `send` that the kernel could not take over yet."""
        return 0

    @abstractmethod
    async def start(self, config: BusConfig, sink: Sink) -> None:
        """Starts the kernel and its workers; does not wait until they are ready.

        On failure the caller must still call `destroy`.

        Raises:
            InvalidArgumentError: The kernel refuses the configuration.
            UnavailableError: It cannot be started; the message says why.
            NotSupportedError: It lacks something that the options ask for.
        """

    @abstractmethod
    def send(self, data: bytes, client: int = 0) -> None:
        r"""Sends whole lines of one client, each ended by ``\n``.  Never blocks.

        Args:
            data: The lines.
            client: 0 for the host client, or the number that ``stdio_bus/open`` gave.

        What is wrong with a line comes back to the sink as a JSON-RPC error.
        """

    @abstractmethod
    async def stop(self, timeout_sec: float) -> None:
        """Ends workers in order, by force after ``timeout_sec``, then frees everything.

        Lines and worker events are delivered until it returns.  Idempotent.
        """

    @abstractmethod
    def destroy(self) -> None:
        """Ends everything now.  Idempotent; nothing is delivered afterwards."""

    @abstractmethod
    def finalizer(self) -> Callable[[], Any]:
        """What frees the processes and descriptors when the owner is garbage or exits.

        The callable refers neither to the sink nor to the owner, works from any thread
        and at interpreter exit, and does nothing in a forked child or a second time.
        """

    @abstractmethod
    def stats(self) -> BusStats:
        """The kernel's counters; after the end, the last known ones."""

    @abstractmethod
    def workers(self) -> list[WorkerInfo]:
        """One entry per worker, in the order of the configuration; empty after the end."""

    @abstractmethod
    def worker_count(self) -> int:
        """Workers whose process runs."""

    @abstractmethod
    def client_count(self) -> int:
        """External clients connected to the listener."""

    @property
    def listen_mode(self) -> ListenMode:
        """How other processes can connect."""
        return ListenMode.NONE
