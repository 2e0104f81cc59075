"""The built catalogue, read: pictures by id, their relations, and the gallery of distinct pictures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from compodiff.catalogue.packing import Extent, decode_picture, read_packed
from compodiff.errors import InputInvalid
from compodiff.storage.names import resolve_inside

_NULLABLE = ("skin_tone", "gender", "hair", "direction")


@dataclass(frozen=True)
class Catalogue:
    """The folder data/.

    Attributes:
        data: the folder.
        pictures: one row per picture, index picture_id; skin_tone, gender, hair and direction are None where unknown.
        relations: one row per ordered pair: reference, target, relation, reference_term, target_term, split.
    """

    data: Path
    pictures: pd.DataFrame
    relations: pd.DataFrame

    @classmethod
    def load(cls, data: Path) -> "Catalogue":
        """Read the tables of the folder `data`; pictures are read when asked for.

        Raises:
            InputInvalid: a table is missing or not parquet.
        """
        pictures = _read_table(data / "pictures.parquet").set_index("picture_id")
        for column in _NULLABLE:
            values = pictures[column].astype(object)
            pictures[column] = values.where(values.notna(), None)
        return cls(data, pictures, _read_table(data / "relations.parquet"))

    def read_bytes(self, picture_id: str) -> bytes:
        """Return a picture's PNG bytes as stored.

        Raises:
            InputInvalid: there is no such picture, or its tar is missing, truncated or outside the folder.
        """
        if picture_id not in self.pictures.index:
            raise InputInvalid(f"there is no picture {picture_id!r} in {self.data}; ids look like twemoji-1F34E")
        row: Any = self.pictures.loc[picture_id]
        tar = resolve_inside(self.data, str(row["shard"]))
        return read_packed(tar, picture_id, Extent(int(row["offset"]), int(row["length"])))

    def read(self, picture_id: str) -> Image.Image:
        """Return a picture, RGBA.

        Raises:
            InputInvalid: there is no such picture, or its bytes are missing, truncated or do not decode.
        """
        return decode_picture(self.read_bytes(picture_id), picture_id)

    def list_distinct(self) -> list[str]:
        """Return the ids of the gallery, sorted: pictures of equal pixels are merged into one of them."""
        return sorted(self.pictures.index[self.pictures["twin_of"] == self.pictures.index])

    def find_canonical(self, picture_id: str) -> str:
        """Return the id under which the gallery holds this picture's pixels."""
        return str(self.pictures.at[picture_id, "twin_of"])


def _read_table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except FileNotFoundError as error:
        raise InputInvalid(f"{path} is not there; run: compodiff data") from error
    except (OSError, ValueError) as error:
        raise InputInvalid(f"{path} is damaged ({' '.join(str(error).split())}); run: compodiff data") from error
