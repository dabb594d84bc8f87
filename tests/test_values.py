"""Frozen data compares, hashes and prints as other dataclasses do."""

from __future__ import annotations

import dataclasses
import importlib

import pytest

from stdiobus import BusConfig, BusStats, Identity, PoolConfig, StreamEvent, WorkerEvent
from stdiobus.values import Value


def test_values_of_one_class_are_equal_where_their_fields_are():
    assert Identity("ada", role="admin") == Identity("ada", "admin")
    assert Identity("ada") != Identity("bob")
    assert StreamEvent("chunk", 1) != ("chunk", 1)
    assert hash(BusStats(messages_in=1)) == hash(BusStats(messages_in=1)) != hash(BusStats())
    assert dataclasses.replace(BusStats(), messages_in=1) == BusStats(1)


def test_values_of_different_classes_are_not_equal():
    @dataclasses.dataclass(frozen=True, eq=False, repr=False)
    class Name(Value):
        subject_id: str
        role: str | None = None
        asserted_by: str | None = None

    assert Name("ada") != Identity("ada")


def test_representation_reads_like_the_call_and_hides_what_is_secret():
    event = WorkerEvent("p", 1, "failed", 0, reason="why")
    assert repr(event).startswith(
        "WorkerEvent(pool='p', worker_id=1, kind='failed', pid=0, returncode=None, "
    )
    assert "s3cret" not in repr(BusConfig([PoolConfig("a", "b")], token="s3cret"))


@pytest.mark.parametrize("module", ["config", "messages", "options"])
def test_every_dataclass_of_the_package_is_one_of_them(module):
    contents = vars(importlib.import_module(f"stdiobus.{module}")).values()
    classes = [each for each in contents if isinstance(each, type) and dataclasses.is_dataclass(each)]
    for each in classes:
        assert issubclass(each, Value), each
        assert each.__repr__ is Value.__repr__
        assert each.__dataclass_params__.frozen
    assert classes
