"""Non-blocking pipes: partial writes, long lines, a peer that goes away."""

from __future__ import annotations

import asyncio
import os

import pytest

from stdiobus.backends.pipes import PipeReader, PipeWriter


@pytest.fixture
async def pair():
    """A writer, the reader of the same pipe, what arrived, and an event for its end."""
    reading, writing = os.pipe()
    loop = asyncio.get_running_loop()
    received, ended = bytearray(), asyncio.Event()
    reader = PipeReader(loop, reading, received.extend, ended.set)
    writer = PipeWriter(loop, writing)
    yield writer, reader, received, ended
    writer.close()
    reader.close()


async def test_more_than_the_pipe_holds_arrives_in_order(pair):
    writer, _, received, ended = pair
    sent = b"".join(b"%d " % n for n in range(200_000))
    for start in range(0, len(sent), 300_000):
        writer.write(sent[start : start + 300_000])
    assert writer.backlog > 0
    writer.close_after_flush()
    writer.write(b"too late")
    await asyncio.wait_for(ended.wait(), 10)
    same = received == sent
    assert same
    assert writer.backlog == 0


async def test_close_after_flush_of_nothing_closes_at_once(pair):
    writer, _, received, ended = pair
    writer.close_after_flush()
    await asyncio.wait_for(ended.wait(), 10)
    assert received == b""


@pytest.mark.parametrize("waiting", [True, False])
async def test_peer_that_goes_away_drops_what_waits(pair, waiting, turn):
    writer, reader, _, ended = pair
    if waiting:
        writer.write(b"x" * (1 << 20))
        assert writer.backlog
    reader.close()
    if not waiting:
        writer.write(b"x")
    await turn()  # the loop sees that the pipe is broken
    writer.write(b"x")
    assert writer.backlog == 0
    assert not ended.is_set()


async def test_drain_reads_what_is_there_and_does_not_wait(pair):
    writer, reader, received, ended = pair
    writer.write(b"abc")
    reader.drain()
    assert received == b"abc"
    writer.close()
    reader.drain()
    assert not ended.is_set()
    await asyncio.wait_for(ended.wait(), 10)
    reader.drain()


@pytest.mark.parametrize("end", [0, 1])
async def test_close_that_was_interrupted_is_not_repeated(pair, end, monkeypatch):
    close = os.close

    def close_and_interrupt(fd):
        close(fd)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "close", close_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        pair[end].close()
    monkeypatch.undo()
    pair[end].close()  # or else it closed the descriptor of somebody else
