"""The folder artifacts/embeddings/NAME: what an encoder makes of a set, as arrays that are memory-mapped.

images.npy (N, D) f16           pictures and, after them shard by shard, their masked variants
masks.npy (M, 512) u8           64 x 64 bits of each masked variant
digests.npy (N, 16) u8          of each picture's pixels             states.npy (N,) u8   whether it could be read
texts_pooled.npy (T, D) f16     row 0 is the empty text, the null text; (T, 0) where the encoder has no joint text part
text_keys.npy (T,) u64
text_tokens.npy (sum L, D_k) f16, the texts' tokens end to end; text_offsets.npy (T + 1,) i64; of the encoder's second
text part text_tokens_2.npy and text_offsets_2.npy, and so on. Or, where tokens are computed when they are asked for:
text_bytes.npy u8, the texts in UTF-8 end to end; text_starts.npy (T + 1,) i64
keys.npy (R,) u64, splits.npy (R,) u8, scored.npy (R, 5) i64          of each row of the set
text_to_image.npy, masked.npy, triplet.npy (n, 5) i64                 examples: ROW, TEXT, IMAGE, MASK, TARGET
negatives.npy (n, 2) i64        row, image                            manifest.json   encoder, params, shards
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compodiff.embeddings.scattered import expect_scattered, read_scattered
from compodiff.embeddings.text_tower import TextTower
from compodiff.embeddings.token_arrays import TextTokens, TokenTable, name_array
from compodiff.encoders.manifest import EncoderManifest, require_same
from compodiff.errors import InputInvalid
from compodiff.images.mask_cells import MASK_SIZE
from compodiff.storage.arrays import open_array

Arrays = dict[str, NDArray[Any]]
NOTHING = -1
ROW, TEXT, IMAGE, MASK, TARGET = range(5)  # columns of the examples
REFERENCE, SCORED_TARGET, REFERENCE_CAPTION, TARGET_CAPTION, ASKED = range(5)  # columns of `scored`
READ, MISSING, UNDECODABLE = range(3)  # states of pictures
NULL_TEXT = 0
STORED, ONLINE = "stored", "online"  # what of texts is kept: their token states, or themselves

TEXT_ARRAYS = {STORED: ("text_tokens", "text_offsets"), ONLINE: ("text_bytes", "text_starts")}
_REMAKE = "run: dvc repro --single-item --force embed@NAME"


@dataclass(frozen=True)
class SetEmbeddings:
    """Embeddings of a set, raw (not normalised), with the examples that its rows give.

    Attributes:
        folder: of the arrays.
        encoder: what made them.
        manifest: all that manifest.json says.
        tower: computes token states where none are stored.
    """

    folder: Path
    encoder: EncoderManifest
    manifest: Mapping[str, Any]
    tower: TextTower | None = None

    @classmethod
    def load(
        cls, folder: Path, *, encoder: EncoderManifest | None = None, tower: TextTower | None = None
    ) -> "SetEmbeddings":
        """Open the folder; arrays are mapped where they are asked for.

        Raises:
            InputInvalid: it holds no embeddings, or its manifest is damaged.
            EncoderMismatch: they are another encoder's.
        """
        path = folder / "manifest.json"
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            own = EncoderManifest.from_json(manifest["encoder"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputInvalid(f"{folder} holds no embeddings of a set ({error}); {_REMAKE}") from error
        if encoder is not None:
            require_same(encoder, own, f"the embeddings {folder}")
        opened = cls(folder, own, manifest, tower)
        if tower is not None and opened.kept == ONLINE:
            tower.require(own, f"the embeddings {folder}")
        return opened

    @property
    def kept(self) -> str:
        """STORED or ONLINE: what of texts is kept."""
        return str(self.manifest.get("texts", STORED))

    def open_array(self, name: str) -> NDArray[Any]:
        """Map an array.

        Raises:
            InputInvalid: its file is missing, truncated or damaged.
        """
        return open_array(self.folder / f"{name}.npy", remedy=_REMAKE)

    @cached_property
    def images(self) -> NDArray[np.float16]:
        """(N, D) pictures and masked pictures."""
        return self.open_array("images")

    @cached_property
    def _scattered_images(self) -> NDArray[np.float16]:
        mapped: NDArray[np.float16] = self.open_array("images")
        expect_scattered(mapped)
        return mapped

    @cached_property
    def texts_pooled(self) -> NDArray[np.float16]:
        """(T, D) pooled texts."""
        return self.open_array("texts_pooled")

    @cached_property
    def _token_tables(self) -> tuple[TokenTable, ...]:
        parts = range(len(self.encoder.token_dims))
        names = ([name_array(name, part) for name in TEXT_ARRAYS[STORED]] for part in parts)
        return tuple(TokenTable(self.open_array(tokens), self.open_array(offsets)) for tokens, offsets in names)

    @cached_property
    def _texts(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        array, starts = TEXT_ARRAYS[ONLINE]
        return self.open_array(array), self.open_array(starts)

    @cached_property
    def _packed_masks(self) -> NDArray[np.uint8]:
        return self.open_array("masks")

    def list_row_groups(self, least: int) -> list[slice]:
        """Return the rows of neighbouring shards, at least `least` together but for the last ones, as slices."""
        counts = [part["lengths"]["keys"] for part in self.manifest.get("parts", ())]
        ends = np.cumsum(counts).tolist() or [len(self.open_array("splits"))]
        groups, start = list[slice](), 0
        for end in ends:
            if end - start >= least or end == ends[-1] > start:
                groups.append(slice(start, end))
                start = end
        return groups

    def read_tokens(self, rows: ArrayLike) -> TextTokens:
        """Return the tokens of texts. rows: (B,).

        Raises:
            InputInvalid: they have to be computed, and no text tower was handed in.
            EncoderMismatch: the tower's weights are not those of its manifest.
        """
        if self.kept == STORED:
            return tuple(table.take(rows) for table in self._token_tables)
        if self.tower is None:
            raise InputInvalid(f"{self.folder} holds texts without token states; name the encoder's folder as well")
        content, starts = self._texts
        texts = [bytes(content[starts[row] : starts[row + 1]]).decode() for row in np.asarray(rows, dtype=np.int64)]
        return self.tower.compute_tokens(texts, self.manifest["params"]["batch_size"])

    def read_images(self, rows: ArrayLike) -> NDArray[np.float32]:
        """Return what a model learns of pictures from all over the set, (B, learned D). rows: (B,)."""
        learned = self._scattered_images[:, : self.encoder.learned_dim]
        return read_scattered(learned, np.asarray(rows, dtype=np.int64))

    def read_masks(self, rows: ArrayLike) -> NDArray[np.bool_]:
        """Return masks, (B, 64, 64), True where the picture was set to zero. rows: (B,)."""
        packed = self._packed_masks[np.asarray(rows, dtype=np.int64)]
        return np.unpackbits(packed, axis=1).astype(bool).reshape(-1, MASK_SIZE, MASK_SIZE)


def iterate_chunks(count: int, size: int) -> Iterator[slice]:
    """Yield slices that cover `count` rows."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def create_array(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Create an array on disk; an empty one cannot be mapped and is written as it is."""
    if 0 in shape:
        empty = np.empty(shape, dtype)
        np.save(path, empty)
        return empty
    created: NDArray[Any] = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    return created
