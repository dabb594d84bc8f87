"""What the kernel's unit tests must cover."""

from __future__ import annotations

import targets

_SOURCES = targets.ROOT / "kernel/src"
_TESTS = targets.ROOT / "kernel/tests"


def test_every_room_of_the_kernel_has_its_test_file():
    """A room is a header's: files without one of their own (`router_worker.c`) belong to it (`router.h`)."""
    rooms = set()
    for source in _SOURCES.glob("*.c"):
        room = source.stem
        while "_" in room and not (_SOURCES / f"{room}.h").exists():
            room = room.rpartition("_")[0]
        rooms.add(room)
    assert len(rooms) > 20
    without = sorted(room for room in rooms if not list(_TESTS.glob(f"test_{room}*.c")))
    assert not without
