"""What values a configuration may have: checkers that refuse in the kernel's words.

Each takes the name of a field and its value, and raises `InvalidArgumentError`.  Which
field has which is said in ``config.py``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Callable, NoReturn

from .errors import InvalidArgumentError

Check = Callable[[str, Any], None]


def load_json(text: str | bytes, source: str) -> Any:
    """The value of a JSON text; an error names ``source``, with line and column."""
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        return json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        fail(source, f"line {error.lineno}, column {error.colno}: {error.msg}")
    except (ValueError, RecursionError) as error:
        fail(source, f"not JSON: {error}")


def fail(where: str, problem: str) -> NoReturn:
    """Refuses the field ``where``."""
    raise InvalidArgumentError(f"{where}: {problem}", {"field": where})


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def text(max_bytes: int | None = None) -> Check:
    """A string that is not empty, of so many bytes at most."""

    def check(where: str, value: Any) -> None:
        if not isinstance(value, str):
            fail(where, "must be a string")
        if not value:
            fail(where, "must not be empty")
        _characters(where, value)
        if max_bytes is not None and len(value.encode()) > max_bytes:
            fail(where, f"must be at most {max_bytes} bytes")

    return check


def _characters(where: str, value: str) -> None:
    if "\0" in value:
        fail(where, "must not contain a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError:
        fail(where, "must not contain a lone surrogate")


def integer(low: int, high: int) -> Check:
    """An integer from ``low`` to ``high``, both included."""

    def check(where: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            fail(where, "must be an integer")
        if not low <= value <= high:
            fail(where, f"must be {low}..{high}")

    return check


def above_zero(unit: str) -> Check:
    """A number of ``unit`` above 0, infinity included."""

    def check(where: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
            fail(where, f"must be a number of {unit} above 0")

    return check


def boolean(where: str, value: Any) -> None:
    """True or false."""
    if not isinstance(value, bool):
        fail(where, "must be true or false")


def strings(where: str, value: Any) -> None:
    """An array of strings."""
    if not isinstance(value, (list, tuple)):
        fail(where, "must be an array of strings")
    for item in value:
        if not isinstance(item, str):
            fail(where, "must be an array of strings")
        _characters(where, item)


def environment(where: str, value: Any) -> None:
    """An object of variables, null for one to be removed."""
    if not isinstance(value, Mapping):
        fail(where, "must be an object")
    for name, text in value.items():
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            fail(where, f'variable name "{name}" must be non-empty, without "=" and NUL')
        if text is not None:
            if not isinstance(text, str):
                fail(f"{where}.{name}", "must be a string or null")
            _characters(f"{where}.{name}", text)


def choice(names: Sequence[str]) -> Check:
    """One of these strings."""

    def check(where: str, value: Any) -> None:
        if not isinstance(value, str):
            fail(where, "must be a string")
        if value not in names:
            fail(where, f"must be one of {', '.join(names)}")

    return check


def json_object(
    table: Mapping[str, Check], required: Sequence[str], *, nulls: bool, never_null: Sequence[str] = ()
) -> Check:
    """An object with the keys of ``table``; with ``nulls``, null for an optional is absence."""

    def check(where: str, value: Any) -> None:
        if not isinstance(value, Mapping):
            fail(where or "config", "must be an object")
        prefix = f"{where}." if where else ""
        for key, item in value.items():
            if key not in table:
                fail(f"{prefix}{key}", f"unknown key, expected one of {', '.join(table)}")
            if item is not None or not nulls or key in required or key in never_null:
                table[key](f"{prefix}{key}", item)
        for key in required:
            if key not in value:
                fail(f"{prefix}{key}", "is required")

    return check


def any_object(where: str, value: Any) -> None:
    """An object, whatever is in it."""
    if not isinstance(value, Mapping):
        fail(where, "must be an object")
