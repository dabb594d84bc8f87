"""How the package's frozen dataclasses compare, hash and print.

Once, by their fields, in place of methods that ``dataclasses`` would compile for each class:
that was half of what importing the package cost.
"""

from __future__ import annotations

from dataclasses import Field
from typing import Any, ClassVar


class Value:
    """Base of a ``@dataclass(frozen=True, eq=False, repr=False)``."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.__dataclass_fields__)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        shown = (name for name, field in self.__dataclass_fields__.items() if field.repr)
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"
