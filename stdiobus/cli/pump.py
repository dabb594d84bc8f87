"""Lines between a host's descriptors and the socket of a bus, both ways at once.

Bytes only: routing fields are put in behind the first brace of each line towards the bus, and
taken out of lines that come back with them; nothing is parsed, and no line is held.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading

_BLOCK = 65536
_BLANK = b" \t\r"


class Inserter:
    """Puts members into the object on each line, however the lines are cut into blocks.

    Args:
        fields: The members, each with a comma behind it.
    """

    def __init__(self, fields: bytes) -> None:
        self._opening = b"{" + fields
        self._inside = False

    def feed(self, block: bytes) -> bytes:
        """What becomes of the next block."""
        done = []
        for number, piece in enumerate(block.split(b"\n")):
            if number:
                self._inside = False
            if not self._inside:
                piece = piece.lstrip(_BLANK)
                self._inside = bool(piece)
                if piece[:1] == b"{":
                    piece = self._opening + piece[1:]
            done.append(piece)
        return b"\n".join(done)


class Remover:
    """Takes those members out again where a line begins with them.

    Args:
        fields: The same.
    """

    def __init__(self, fields: bytes) -> None:
        self._opening = b"{" + fields
        self._inside = False
        self._start = b""  # of a line, as long as it may be that of the opening

    def feed(self, block: bytes) -> bytes:
        """What becomes of the next block, as far as that is known."""
        done = []
        pieces = (self._start + block).split(b"\n")
        self._start = b""
        for number, piece in enumerate(pieces):
            if number:
                done.append(b"\n")
                self._inside = False
            if not self._inside:
                text = piece.lstrip(_BLANK)
                if number == len(pieces) - 1 and text != self._opening and self._opening.startswith(text):
                    self._start = piece
                    break
                self._inside = True
                if text.startswith(self._opening):
                    piece = b"{" + text[len(self._opening) :]
            done.append(piece)
        return b"".join(done)


def pump(source: int, sink: int, connection: socket.socket, fields: bytes, first: bytes = b"") -> bool:
    """Moves lines until one side ends, and then ends the other.

    Each direction has a thread that blocks, so that a side that does not read holds back nothing
    but what is for it.

    Args:
        source: Where the host writes.
        sink: Where the host reads.
        connection: To the bus.
        fields: Members for each message to the bus, each with a comma behind it.
        first: What has come from the bus already.

    Returns:
        Whether the host has left; else the bus has.
    """
    left = threading.Event()
    threading.Thread(target=_to_bus, args=(source, connection, Inserter(fields), left), daemon=True).start()
    remover = Remover(fields)
    try:
        data = first or connection.recv(_BLOCK)
        while data:
            _write(sink, remover.feed(data))
            data = connection.recv(_BLOCK)
    except BrokenPipeError:  # the host reads no more
        left.set()
    except ConnectionResetError:  # the end of the bus, or ours, while something was under way to it
        pass
    return left.is_set()


def _to_bus(source: int, connection: socket.socket, inserter: Inserter, left: threading.Event) -> None:
    while True:
        block = os.read(source, _BLOCK)
        if not block:
            break
        try:
            connection.sendall(inserter.feed(block))
        except OSError:
            return  # the bus has gone: the other direction ends, too, and tells
    left.set()
    with contextlib.suppress(OSError):  # it has gone in this moment
        connection.shutdown(socket.SHUT_RDWR)


def _write(sink: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(sink, view) :]
