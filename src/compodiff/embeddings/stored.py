"""The embeddings of a benchmark, read: arrays stay on the disk and are memory-mapped.

pictures.npy (N, D) f32         pictures.parquet        picture_id of each row
texts_pooled.npy (T, D) f32     texts.parquet           text of each row; row 0 is the empty text, the null text
text_tokens.npy (sum L, D_k) f16, the texts' tokens end to end; text_offsets.npy (T + 1,) int64, where each begins;
of the second text part text_tokens_2.npy and text_offsets_2.npy, and so on
manifest.json                   the encoder's
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from compodiff.embeddings.token_arrays import TextTokens, TokenTable, name_array
from compodiff.encoders.manifest import EncoderManifest, require_same
from compodiff.errors import InputInvalid
from compodiff.storage.arrays import open_array

_REMAKE = "run: dvc repro --single-item --force embed_benchmark@NAME"


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of one encoder, raw (not normalised). N pictures, T texts, D embedding width.

    Attributes:
        encoder: what made them.
        pictures: (N, D) float32.
        picture_row: picture_id -> row of `pictures`.
        texts_pooled: (T, D) float32; (T, 0) where no text part of the encoder shares the pictures' space.
        text_row: text -> row of `texts_pooled`; the empty text has row 0.
        text_tokens: token states of the texts, for each text part.
    """

    encoder: EncoderManifest
    pictures: NDArray[np.float32]
    picture_row: dict[str, int]
    texts_pooled: NDArray[np.float32]
    text_row: dict[str, int]
    text_tokens: tuple[TokenTable, ...]

    @classmethod
    def load(cls, folder: Path, *, encoder: EncoderManifest | None = None) -> "Embeddings":
        """Open the folder.

        Args:
            folder: as `make_embeddings` wrote it.
            encoder: refuse embeddings of any other encoder; none: take what is there.

        Raises:
            InputInvalid: a file is missing, truncated or damaged, or two files are of different lengths.
            EncoderMismatch: the embeddings are another encoder's.
        """
        manifest = EncoderManifest.from_json(_read_manifest(folder / "manifest.json"))
        if encoder is not None:
            require_same(encoder, manifest, f"the embeddings {folder}")
        pictures, texts = _read_column(folder, "pictures", "picture_id"), _read_column(folder, "texts", "text")
        return cls(
            encoder=manifest,
            pictures=_open_rows(folder, "pictures", len(pictures)),
            picture_row={picture: row for row, picture in enumerate(pictures)},
            texts_pooled=_open_rows(folder, "texts_pooled", len(texts)),
            text_row={text: row for row, text in enumerate(texts)},
            text_tokens=tuple(
                TokenTable(
                    _open_array(folder, name_array("text_tokens", part)),
                    _open_rows(folder, name_array("text_offsets", part), len(texts) + 1),
                )
                for part in range(len(manifest.token_dims))
            ),
        )

    def read_tokens(self, rows: ArrayLike) -> TextTokens:
        """Return the tokens of texts. rows: (B,)."""
        return tuple(table.take(rows) for table in self.text_tokens)


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, RecursionError) as error:
        raise InputInvalid(f"{path.parent} holds no embeddings ({error}); {_REMAKE}") from error
    return content


def _open_array(folder: Path, name: str) -> NDArray[Any]:
    return open_array(folder / f"{name}.npy", remedy=_REMAKE)


def _open_rows(folder: Path, name: str, count: int) -> NDArray[Any]:
    array = _open_array(folder, name)
    if len(array) != count:
        raise InputInvalid(f"{folder / name}.npy has {len(array)} rows, its table {count}; {_REMAKE}")
    return array


def _read_column(folder: Path, table: str, column: str) -> list[str]:
    path = folder / f"{table}.parquet"
    try:
        return pd.read_parquet(path)[column].astype(str).tolist()
    except FileNotFoundError as error:
        raise InputInvalid(f"{path} is not there; {_REMAKE}") from error
    except (OSError, ValueError, KeyError) as error:
        raise InputInvalid(f"{path} is damaged ({' '.join(str(error).split())}); {_REMAKE}") from error
