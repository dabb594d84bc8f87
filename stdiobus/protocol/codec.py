r"""JSON in and out, the one place that picks a JSON library.

Knows text, not messages: what a field means is the business of ``session.py``.  Lines are
cut by the backends at the byte ``\\n``; U+2028 and its like are data and pass through.
"""

from __future__ import annotations

import json
import sys
from typing import Any, NoReturn

from ..errors import InvalidArgumentError

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
_raw_decode = json.JSONDecoder().raw_decode
# Twice as fast as json.loads, where the scanner behind it is C.
_quick = sys.implementation.name == "cpython"


def encode(value: Any, what: str) -> str:
    """The compact JSON text of ``value``, on one line.

    Args:
        value: JSON data.
        what: What to call it in an error, "params" for example.

    Raises:
        InvalidArgumentError: Not JSON data: an object of another type, NaN or infinity,
            a cycle, too deep.
    """
    try:
        return _encode(value)
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


def refuse(what: str, problem: str) -> NoReturn:
    """Raises the error for an argument that is wrong otherwise than by its JSON."""
    raise InvalidArgumentError(f"{what}: {problem}", {"field": what})
