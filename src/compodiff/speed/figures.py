"""A figure beside its limit, and whether it holds."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """What was measured, and what it should be.

    Attributes:
        name: of what, with its unit.
        measured: the value.
        most, least: the limit, if there is one.
        at: the size that the limit is meant for, where this is another one.
    """

    name: str
    measured: float
    most: float | None = None
    least: float | None = None
    at: str = ""

    def to_row(self) -> dict[str, Any]:
        """Return the figure as a row of a table."""
        limits = [f"{word} {value:g}" for word, value in (("at most", self.most), ("at least", self.least)) if value]
        limit = " ".join([*limits, self.at]).strip() if limits else "none"
        return {"figure": self.name, "measured": self.measured, "limit": limit, "verdict": self._judge()}

    def _judge(self) -> str:
        if self.most is None and self.least is None:
            return ""
        holds = (self.most is None or self.measured <= self.most) and (
            self.least is None or self.measured >= self.least
        )
        return "holds" if holds else "missed"
