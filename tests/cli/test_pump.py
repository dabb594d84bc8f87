"""Lines between a host and a bus: fields in and out, however the bytes are cut; and both ends."""

from __future__ import annotations

import os
import socket
import threading

import pytest

from stdiobus.cli.pump import Inserter, Remover, pump

FIELDS = b'"pool":"a","sessionId":"s",'
PATIENCE = 30
FROM_HOST = b'{"id":1}\n \t{"id":2,"x":"{"}\r\n\n  \n[{"a":1}]\n{}\nnoise {"y"\n{"last":1'
TO_BUS = (
    b'{"pool":"a","sessionId":"s","id":1}\n{"pool":"a","sessionId":"s","id":2,"x":"{"}\r\n\n\n[{"a":1}]\n'
    b'{"pool":"a","sessionId":"s",}\nnoise {"y"\n{"pool":"a","sessionId":"s","last":1'
)
FROM_BUS = (
    b'{"pool":"a","sessionId":"s","id":1}\n {"pool":"a","sessionId":"s","id":2}\n{"pool":"a","x":1}\n\n{\n'
    b'{"a":{"pool":"a","sessionId":"s","b":1}}\n'
)
TO_HOST = b'{"id":1}\n{"id":2}\n{"pool":"a","x":1}\n\n{\n{"a":{"pool":"a","sessionId":"s","b":1}}\n'


def fed(filter_, data, cuts):
    ends = [0, *cuts, len(data)]
    return b"".join(filter_.feed(data[start:end]) for start, end in zip(ends, ends[1:]))


@pytest.mark.parametrize(
    ("kind", "given", "expected"), [(Inserter, FROM_HOST, TO_BUS), (Remover, FROM_BUS, TO_HOST)]
)
def test_every_cut_gives_the_same(kind, given, expected):
    assert fed(kind(FIELDS), given, []) == expected
    for first in range(len(given)):
        for second in (first, first + 1, len(given) - 1):
            assert fed(kind(FIELDS), given, [first, second]) == expected, (first, second)
    assert fed(kind(FIELDS), given, range(len(given))) == expected


class Ends:
    """A pump in a thread, between the host's descriptors and the bus's socket."""

    def __init__(self, first: bytes = b"") -> None:
        source, self.to_pump = os.pipe()
        self.from_pump, sink = os.pipe()
        self.bus, inner = socket.socketpair()
        self.bus.settimeout(PATIENCE)
        self.owned = {source, sink, self.to_pump, self.from_pump}
        self.inner = inner
        self.result: list[bool] = []
        self.thread = threading.Thread(
            target=lambda: self.result.append(pump(source, sink, inner, FIELDS, first))
        )
        self.thread.start()

    def close(self, descriptor: int) -> None:
        self.owned.discard(descriptor)
        os.close(descriptor)

    def ended(self) -> bool:
        """What the pump returns."""
        self.thread.join(PATIENCE)
        [left] = self.result
        return left


@pytest.fixture
def ends():
    made = []

    def make(**arguments):
        made.append(Ends(**arguments))
        return made[-1]

    yield make
    for each in made:
        for end in (each.bus, each.inner):
            end.close()
        if each.to_pump in each.owned:
            each.close(each.to_pump)
        for thread in threading.enumerate():
            if thread.daemon:
                thread.join(PATIENCE)
        for descriptor in each.owned:
            os.close(descriptor)


def test_both_ways_until_the_host_leaves(ends):
    pumped = ends(first=b'{"pool":"a","sessionId":"s","early":1}\n')
    os.write(pumped.to_pump, b'{"id":1}\n')
    assert pumped.bus.recv(1000) == b"{" + FIELDS + b'"id":1}\n'
    pumped.bus.sendall(b'{"id":1,"result":1}\n')
    expected = b'{"early":1}\n{"id":1,"result":1}\n'
    received = b""
    while len(received) < len(expected):
        received += os.read(pumped.from_pump, 1000)
    assert received == expected
    pumped.close(pumped.to_pump)
    assert pumped.bus.recv(1000) == b"", "the bus sees the end"
    assert pumped.ended()


def test_bus_that_ends(ends):
    pumped = ends()
    pumped.bus.close()
    assert not pumped.ended()


def test_bus_that_ends_with_something_unread(ends):
    pumped = ends()
    os.write(pumped.to_pump, b'{"id":1}\n')
    pumped.bus.recv(1)
    pumped.bus.close()  # a reset for the other side
    assert not pumped.ended()


def test_host_that_reads_no_more(ends):
    pumped = ends()
    pumped.close(pumped.from_pump)
    pumped.bus.sendall(b'{"id":1}\n')
    assert pumped.ended()


def test_host_that_does_not_read_can_still_speak(ends):
    pumped = ends()
    answers = threading.Thread(target=pumped.bus.sendall, args=(b"x" * 1_000_000 + b"\n",))
    answers.start()  # more than pipes and sockets hold
    os.write(pumped.to_pump, b'{"id":1}\n')
    assert pumped.bus.recv(1000).endswith(b'"id":1}\n')
    received = 0
    while received < 1_000_001:
        received += len(os.read(pumped.from_pump, 65536))
    answers.join(PATIENCE)
    pumped.close(pumped.to_pump)
    assert pumped.ended()
