"""The table of all figures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class Row:
    """One figure, and what it must be.

    Attributes:
        what: What was measured.
        figure: How much.
        unit: Of what.
        ratio: To the figure it is compared with; None: it is not.
        lowest: What the ratio, or the figure without one, must at least be; None: no matter.
        highest: What it must at most be.
    """

    what: str
    figure: float
    unit: str
    ratio: Optional[float] = None
    lowest: Optional[float] = None
    highest: Optional[float] = None

    @property
    def verdict(self) -> str:
        """`ok`, `over` (beyond a limit, on whichever side), or nothing where there is no limit."""
        value = self.figure if self.ratio is None else self.ratio
        if self.lowest is None and self.highest is None:
            return ""
        low = self.lowest is not None and value < self.lowest
        high = self.highest is not None and value > self.highest
        return "over" if low or high else "ok"

    @property
    def limit(self) -> str:
        """The limit as it is printed."""
        if self.lowest is not None:
            return f">= {self.lowest:,g}"
        return "" if self.highest is None else f"<= {self.highest:,g}"


def table(rows: Iterable[Row]) -> str:
    """Write the rows one below the other, under their headings."""
    lines = [f"{'what':<40}{'figure':>12} {'unit':<10}{'ratio':>7}  {'limit':<10}verdict"]
    for row in rows:
        figure = f"{row.figure:,.1f}" if row.figure < 100 else f"{row.figure:,.0f}"
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        lines.append(
            f"{row.what:<40}{figure:>12} {row.unit:<10}{ratio:>7}  {row.limit:<10}{row.verdict}".rstrip()
        )
    return "\n".join(lines)
