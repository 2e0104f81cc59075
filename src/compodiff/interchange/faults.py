"""What can be wrong with a row of somebody's set, and how often it was."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from compodiff.errors import InputInvalid

_NAMED = 3  # faults of a unit that are named in full

# Kinds of faults, which `set.json` counts.
DAMAGED_FILE, MISSING_PICTURE, MISSING_ROLE = "damaged_file", "missing_picture", "missing_role"
EMPTY_TEXT, SAME_CAPTIONS, NOT_JSON = "empty_text", "same_captions", "not_json"
BAD_TEXT = "bad_text"
BAD_MASK, BAD_NAME, BAD_SPLIT, REPEATED_KEY = "bad_mask", "bad_name", "bad_split", "repeated_key"
# What is left out without being a fault.
TEST, NOT_DOWNLOADED = "test", "not_downloaded"


class Fault(InputInvalid):
    """A row, or a file, that cannot be used; `--skip-faulty` leaves it out."""

    def __init__(self, kind: str, message: str) -> None:
        """Say of which kind it is, and what is wrong, with the name of the row."""
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between processes with both arguments."""
        return Fault, (self.kind, str(self))


@dataclass
class Tally:
    """What a unit of work gave.

    Attributes:
        rows: that were written.
        faults: kind of fault -> how many were left out.
        others: what is no fault and was left out -> how many.
        named: the first faults, in full.
    """

    rows: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    named: list[str] = field(default_factory=list)

    def note(self, fault: Fault) -> None:
        """Count a fault, and name it where it is one of the first."""
        self.faults[fault.kind] += 1
        if len(self.named) < _NAMED:
            self.named.append(str(fault))

    def add(self, other: "Tally") -> None:
        """Add what another unit gave."""
        self.rows += other.rows
        self.faults.update(other.faults)
        self.others.update(other.others)
        self.named += other.named

    @property
    def notes(self) -> dict[str, int]:
        """Return the counts for `set.json`."""
        return {name: count for name, count in sorted((self.faults + self.others).items()) if count}

    def to_json(self) -> dict[str, Any]:
        """Return what the unit's file says."""
        return {"rows": self.rows, "faults": dict(self.faults), "others": dict(self.others), "named": self.named}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Tally":
        """Read a unit's file."""
        return cls(content["rows"], Counter(content["faults"]), Counter(content["others"]), content["named"])
