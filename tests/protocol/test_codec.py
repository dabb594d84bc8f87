"""JSON in and out: compact, faithful, clear about what is not JSON, whichever library does it."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import json
import math
import random
import struct
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from stdiobus import InvalidArgumentError
from stdiobus.protocol import codec
from stdiobus.protocol.codec import decode, encode, to_bytes

SUITE = Path(__file__).parents[3] / "shared" / "data" / "json-test-suite"


@pytest.fixture(params=["json", "orjson"])
def writer(request, monkeypatch):
    """Each library that writes, as the one that `encode` uses."""
    if request.param != "json":
        pytest.importorskip(request.param)
    made = codec.orjson_writer() if request.param == "orjson" else codec.json_writer
    monkeypatch.setattr(codec, "_write", made)
    return made


@pytest.fixture(params=["json", "msgspec"])
def reader(request, monkeypatch):
    """Each library that reads, as the one that `decode` uses."""
    if request.param != "json":
        pytest.importorskip(request.param)
    made = codec.msgspec_reader() if request.param == "msgspec" else codec.json_reader
    monkeypatch.setattr(codec, "_read", made)
    return made


def outcome(function, *arguments):
    """The result with types and the order of keys, or the error with its text."""
    try:
        return repr(function(*arguments))
    except (ValueError, InvalidArgumentError) as error:
        return type(error), str(error)
    except RecursionError as error:  # its text depends on where the stack ended
        return type(error)


def test_text_is_compact_and_keeps_every_character(writer):
    assert encode({"a": [1, "é\u2028\u2029"]}, "params") == '{"a":[1,"é\u2028\u2029"]}'
    assert "\n" not in encode({"a": "line\nbreak\r"}, "params")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, object(), b"bytes", {("a",): 1}])
def test_what_is_not_json_is_refused_by_name(writer, value):
    with pytest.raises(InvalidArgumentError, match="params: not JSON data"):
        encode({"value": value}, "params")


def test_cycle_and_depth_are_refused(writer):
    cycle: list = []
    cycle.append(cycle)
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    for value in (cycle, deep):
        with pytest.raises(InvalidArgumentError):
            encode(value, "params")
    while deep:  # taken apart one by one: its destructor would recurse
        deep = deep[0]


def test_lone_surrogate_is_refused_with_its_place():
    with pytest.raises(InvalidArgumentError, match=r"call: not Unicode text: .* at character 3"):
        to_bytes("abc\ud800", "call")


def test_decoding(reader):
    assert decode(' {"a": "\u2028\\ud83d\\ude00"}') == {"a": "\u2028😀"}
    assert decode('"\\ud800"') == "\ud800"
    with pytest.raises(json.JSONDecodeError):
        decode("{")


def test_integer_too_long_for_python_does_not_lose_the_message(reader):
    value = decode(f'{{"id": 7, "big": {"9" * 5000}}}')
    assert value["id"] == 7


# ---- The same with every library


class Plain(enum.Enum):
    RED = "red"
    NAN = math.nan


class Text(str, enum.Enum):
    BLUE = "blue"


class Number(enum.IntEnum):
    ONE = 1


class Words(str):
    pass


@dataclasses.dataclass
class Data:
    a: int = 1


Point = collections.namedtuple("Point", "x y")

deep: list = []
for _ in range(400):
    deep = [deep]

VALUES = {
    "scalars": [None, True, False, 0, -1, 1.0, -0.0, 0.1, "", "text"],
    "order": {"z": 1, "a": 2, "m": {"b": 1, "a": 2}},
    "integers": [2**53 + 1, 2**63, -(2**63), 2**64 - 1, 2**64, -(2**63) - 1, 10**40],
    "characters": "".join(map(chr, range(0x300))) + "\u2028\u2029\ufeff\uffff😀",
    "null": {"a": None, "b": [None, "null"]},
    "keys": {1: "int", 1.5: "float", False: "bool", None: "none", "s": "str"},
    "subclasses": [Words("w"), collections.OrderedDict(b=1, a=2), Point(1, 2), (1, (2,))],
    "enums": [Plain.RED, Text.BLUE, Number.ONE, {Text.BLUE: 1}],
    "uuid": uuid.UUID(int=7),
    "deep": deep,
    "nan": {"a": [math.nan]},
    "infinity": [-math.inf],
    "nan in an enum": Plain.NAN,
    "set": {1},
    "bytes": b"x",
    "dataclass": Data(),
    "date": datetime.date(2026, 1, 1),
    "decimal": decimal.Decimal(1),
    "enum key": {Plain.RED: 1},
    "type": int,
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_every_writer_writes_what_json_writes(value, writer, monkeypatch):
    written = outcome(encode, value, "params")
    monkeypatch.setattr(codec, "_write", codec.json_writer)
    assert written == outcome(encode, value, "params")


def test_lone_surrogate_is_refused_with_every_writer(writer):
    for text in ("\ud800", "\udc00", "a\ud83d"):
        with pytest.raises(InvalidArgumentError, match="call: not Unicode text"):
            to_bytes(encode({"a": text}, "params"), "call")


def test_floats_keep_their_value_with_every_library(writer, reader):
    dice = random.Random(1)
    floats = [struct.unpack("d", dice.randbytes(8))[0] for _ in range(20_000)]
    floats = [value for value in floats if math.isfinite(value)]
    floats += [0.1 + 0.2, 5e-324, 1e16, 1e22, 1.7976931348623157e308, 123456789012345680.0]
    assert decode(encode(floats, "params")) == floats
    for value in floats[:2000]:  # longer than they need be, which other programs write
        assert decode(f"{value:.25e}") == float(f"{value:.25e}")


TEXTS = [
    *("0", "-0", "1.0", "1E2", "-0.0", "1e999", "1.7976931348623159e308", "2.4703282292062327e-324"),
    *(str(2**64 - 1), str(2**64), str(-(2**63)), str(-(2**63) - 1), "9" * 400, "9" * 5000),
    *('"\\ud800"', '"\\udc00"', '"\\ud800\\u0041"', '"\\ud83d\\ude00"', '"\\ud83d\\ud83d\\ude00"'),
    *('"\\u0000\x7f"', '"\x01"', '"\\x"', " [1 , 2 ]\r\n\t", '{"b":1,"a":2,"b":3}', '{"":{"":[]}}'),
    *("", " ", "nul", "NaN", "-Infinity", "01", "1.", ".5", "+1", "[1,]", '{"a":1,}', "{'a':1}", "[", '"'),
    *("[" * 500 + "]" * 500, "[" * 100_000, '{"a":' * 100_000),
]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: ascii(text[:20]))
def test_every_reader_reads_what_json_reads(text, reader):
    assert outcome(decode, text) == outcome(codec.json_reader, text)


def test_public_set_of_json_texts_reads_and_writes_the_same(reader, writer):
    if not SUITE.is_dir():
        pytest.skip("the set of JSON texts is not there")
    accepted = 0
    for path in sorted(SUITE.glob("*.json")):
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        value = outcome(decode, text)
        assert value == outcome(codec.json_reader, text), path.name
        if isinstance(value, str):
            accepted += 1
            data = decode(text)
            refused = outcome(codec.json_writer, data)
            if isinstance(refused, str):
                assert repr(json.loads(writer(data))) == value, path.name
            else:  # NaN and infinity, which is also what a number beyond all floats is read as
                assert outcome(writer, data) == refused, path.name
        else:
            assert not path.name.startswith("y_"), path.name
    assert accepted > 90


# ---- Choosing


def test_faster_libraries_are_used_where_they_are_installed():
    pytest.importorskip("orjson")
    pytest.importorskip("msgspec")
    assert run_alone("print('orjson' in sys.modules, 'msgspec' in sys.modules)") == "True True"


def test_without_them_json_serves():
    assert run_alone("", "sys.modules.update(orjson=None, msgspec=None)") == ""


def run_alone(after: str, before: str = "") -> str:
    """What a new process prints that has read and written one message."""
    program = f"""
import sys
{before}
from stdiobus.protocol.codec import decode, encode
assert not sys.modules.get("orjson") and not sys.modules.get("msgspec")
assert encode({{"a": [1, None]}}, "params") == '{{"a":[1,null]}}'
assert decode('{{"a":18446744073709551616}}') == {{"a": 2**64}}
{after}
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.strip()
