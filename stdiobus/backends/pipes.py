"""Non-blocking pipes on an event loop: a reader and a writer of bytes.

They know descriptors and the loop, not processes and not messages.  Used instead of
asyncio's transports because those need a child watcher of the loop, and because a write
here never copies what the pipe takes at once.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from typing import Callable

# What is read at once is handled at once, hundreds of small answers: half of what a pipe holds, so that the
# loop has a turn in between.
_READ_SIZE = 32 * 1024


class PipeReader:
    """Reads a descriptor whenever it is readable, until its end or `close`.

    Args:
        loop: A loop with ``add_reader``.
        fd: The descriptor, which the reader owns from now on.
        on_data: Gets each block of bytes, on the loop.
        on_end: Called once when the other side has closed; not after `close`.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fd: int,
        on_data: Callable[[bytes], None],
        on_end: Callable[[], None],
    ) -> None:
        os.set_blocking(fd, False)
        self._loop = loop
        self._fd = fd
        self._on_data = on_data
        self._on_end = on_end
        loop.add_reader(fd, self._readable)

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, _READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if data:
            self._on_data(data)
        else:
            self.close()
            self._on_end()

    def drain(self) -> None:
        """Reads what is there now, without waiting for more."""
        while self._fd >= 0:
            try:
                data = os.read(self._fd, _READ_SIZE)
            except OSError:
                return
            if not data:
                return
            self._on_data(data)

    def close(self) -> None:
        """Ends the reading and closes the descriptor.  Idempotent."""
        if self._fd >= 0:
            if not self._loop.is_closed():
                self._loop.remove_reader(self._fd)
            fd, self._fd = self._fd, -1  # first: Ctrl-C may come when it is closed already
            os.close(fd)


class PipeWriter:
    """Writes to a descriptor as fast as the other side reads, and never blocks.

    What is left when the other side closes is dropped: whoever owns the writer learns of
    the end from the process or from a reader.

    Args:
        loop: A loop with ``add_writer``.
        fd: The descriptor, which the writer owns from now on.

    Attributes:
        backlog: Bytes that wait for the other side.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int) -> None:
        os.set_blocking(fd, False)
        self.backlog = 0
        self._loop = loop
        self._fd = fd
        self._queue: deque[memoryview] = deque()
        self._closing = False

    def write(self, data: bytes) -> None:
        """Takes bytes to write; ignored after the end."""
        if self._fd < 0 or self._closing:
            return
        rest = memoryview(data)
        if not self._queue:
            rest = rest[self._write_some(rest) :]
        if rest and self._fd >= 0:
            if not self._queue:
                self._loop.add_writer(self._fd, self._writable)
            self._queue.append(rest)
            self.backlog += len(rest)

    def close_after_flush(self) -> None:
        """Closes once everything taken so far is written."""
        self._closing = True
        if not self._queue:
            self.close()

    def close(self) -> None:
        """Drops what waits and closes the descriptor.  Idempotent."""
        if self._fd >= 0:
            if not self._loop.is_closed():
                self._loop.remove_writer(self._fd)
            fd, self._fd = self._fd, -1  # first: Ctrl-C may come when it is closed already
            os.close(fd)
        self._queue.clear()
        self.backlog = 0

    def _write_some(self, data: memoryview) -> int:
        try:
            return os.write(self._fd, data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self.close()
            return len(data)

    def _writable(self) -> None:
        while self._queue:
            data = self._queue[0]
            written = self._write_some(data)
            if not self._queue:
                return  # the other side is gone
            self.backlog -= written
            if written < len(data):
                self._queue[0] = data[written:]
                return
            self._queue.popleft()
        self._loop.remove_writer(self._fd)
        if self._closing:
            self.close()
