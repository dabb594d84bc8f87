r"""JSON in and out, the one place that picks a JSON library.

Knows text, not messages: what a field means is the business of ``session.py``.  Lines are
cut by the backends at the byte ``\\n``; U+2028 and its like are data and pass through.

Where they are installed (``stdiobus[fast]``), orjson writes and msgspec reads, and ``json``
does again whatever they refuse: so values, errors and their texts are those of ``json``.
The others are not used, because they are not the same: orjson reads integers of more than 64
bits as floats, and msgspec writes sets, bytes and dates.  What remains is the spelling of
large and small floats (1e16, 1e+16), and that orjson writes an Enum that is a ``str`` or
``int`` too as its ``value``, should that be another one.
"""

from __future__ import annotations

import json
import sys
from enum import Enum
from typing import Any, Callable, NoReturn

from ..errors import InvalidArgumentError

Writer = Callable[[Any], str]
Reader = Callable[[str], Any]


def encode(value: Any, what: str) -> str:
    """The compact JSON text of ``value``, on one line.

    Args:
        value: JSON data; an Enum member stands for its value, a UUID for its text.
        what: What to call it in an error, "params" for example.

    Raises:
        InvalidArgumentError: Not JSON data: an object of another type, NaN or infinity,
            a cycle, too deep.
    """
    try:
        return _write(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"{what}: not JSON data: {error}", {"field": what}) from error


def to_bytes(text: str, what: str) -> bytes:
    """The UTF-8 bytes of ``text``.

    Raises:
        InvalidArgumentError: A lone surrogate in it, which no UTF-8 text can carry.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(
            f"{what}: not Unicode text: {error.reason} at character {error.start}",
            {"field": what},
        ) from error


def decode(text: str) -> Any:
    """The value of one JSON text, of which the kernel vouches that nothing follows it.

    Raises:
        ValueError: Not JSON.
    """
    return _read(text)


def refuse(what: str, problem: str) -> NoReturn:
    """Raises the error for an argument that is wrong otherwise than by its JSON."""
    raise InvalidArgumentError(f"{what}: {problem}", {"field": what})


# ---- json: the measure of what is right


def _plain(value: Any) -> Any:
    """What stands for a value that JSON has no form for; the exceptions are orjson's."""
    if isinstance(value, Enum):
        return value.value
    uuid = sys.modules.get("uuid")  # there is no UUID where it was not imported
    if uuid is not None and isinstance(value, uuid.UUID):
        return str(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


json_writer: Writer = json.JSONEncoder(
    separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain
).encode
_raw_decode = json.JSONDecoder().raw_decode
# Twice as fast as json.loads, where the scanner behind it is C.
_quick = sys.implementation.name == "cpython"


def json_reader(text: str) -> Any:
    """Reads with ``json``; errors of `decode`."""
    if _quick:
        try:
            return _raw_decode(text)[0]
        except ValueError:
            pass  # white space in front, or one of the cases below
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except ValueError:
        # An integer longer than sys.get_int_max_str_digits(): the request it answers must
        # end all the same, so such a number, and only such a one, becomes a float.
        return json.loads(text, parse_int=_integer)


def _integer(digits: str) -> Any:
    try:
        return int(digits)
    except ValueError:
        return float(digits)


# ---- What is faster, if it is there; imported when the first message is

_write: Writer  # here, because PyPy takes no annotation after the first `global`
_read: Reader


def orjson_writer() -> Writer:
    """A writer by orjson.

    Raises:
        ImportError: It is not installed.
    """
    import orjson

    dumps = orjson.dumps
    # Without these it writes what json refuses, or has its own way with subclasses.
    options = (
        orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
    )

    def write(value: Any) -> str:
        try:
            data = dumps(value, None, options)
        except TypeError:
            return json_writer(value)
        # A null may stand for NaN or infinity, which must be refused.
        return json_writer(value) if b"null" in data else data.decode()

    return write


def msgspec_reader() -> Reader:
    """A reader by msgspec.

    Raises:
        ImportError: It is not installed.
    """
    import msgspec

    read_json = msgspec.json.Decoder().decode
    errors = (msgspec.DecodeError, RecursionError)

    def read(text: str) -> Any:
        try:
            return read_json(text)
        except errors:
            return json_reader(text)

    return read


def _first_write(value: Any) -> str:
    global _write
    try:
        _write = orjson_writer()
    except ImportError:
        _write = json_writer
    return _write(value)


def _first_read(text: str) -> Any:
    global _read
    try:
        _read = msgspec_reader()
    except ImportError:
        _read = json_reader
    return _read(text)


_write = _first_write
_read = _first_read
