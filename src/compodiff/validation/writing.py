"""Write what was said of the rows of a set while they are judged; see reading.py for who reads it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from compodiff.storage.tables import open_frame_writer
from compodiff.validation.reading import QUARANTINE, ROWS
from compodiff.validation.verdict import Verdict


def write_verdicts(
    folder: Path, found: Iterator[tuple[pd.DataFrame, pd.DataFrame] | Verdict]
) -> tuple[Verdict, NDArray[np.int32]]:
    """Write rows.parquet and quarantine.parquet, a group of rows at a time.

    Args:
        folder: gets the two.
        found: as `validate_rows` yields it.

    Returns:
        The verdict, and of each row the number of its relation, (R,), in the order of their names; -1 for none.
    """
    verdict, relations = Verdict(np.zeros(0, np.bool_)), _Names()
    with open_frame_writer(folder / ROWS) as append, open_frame_writer(folder / QUARANTINE) as quarantine:
        for each in found:
            if isinstance(each, Verdict):
                verdict = each
                continue
            said, quarantined = each
            append(said)
            quarantine(quarantined)
            relations.note(said["relation"])
    return verdict, relations.number_in_order()


@dataclass
class _Names:
    """Names of rows, of which few are different, as numbers."""

    _numbers: dict[str, int] = field(default_factory=dict)
    _noted: list[NDArray[np.int32]] = field(default_factory=list)

    def note(self, names: "pd.Series[str]") -> None:
        """Append the names of some rows."""
        places, different = pd.factorize(names)
        numbers = [self._numbers.setdefault(str(name), len(self._numbers)) for name in different]
        self._noted.append(np.array([*numbers, -1], np.int32)[places])

    def number_in_order(self) -> NDArray[np.int32]:
        """Return the number of each row's name in the order of names, -1 for a missing one."""
        ranks = np.empty(len(self._numbers) + 1, np.int32)
        ranks[-1] = -1
        ranks[[self._numbers[name] for name in sorted(self._numbers)]] = np.arange(len(self._numbers))
        numbers: NDArray[np.int32] = ranks[np.concatenate([np.empty(0, np.int32), *self._noted])]
        return numbers
