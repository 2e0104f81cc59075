"""One pass over a shard of a set: each picture is decoded once for its embedding, its digest and its masked variants.

Shapes: n pictures, m masked pictures, t texts, r rows of the shard; L tokens, D embedding width.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from compodiff.embeddings.joining import EarlierPart
from compodiff.embeddings.masking import blank_masked, draw_mask, find_drawn_cells
from compodiff.embeddings.set_arrays import ASKED, MISSING, NOTHING, READ, STORED, UNDECODABLE, Arrays
from compodiff.embeddings.set_texts import embed_texts, hash_text
from compodiff.embeddings.set_vectors import read_vectors
from compodiff.encoders import MEMO, Encoder, load_encoder
from compodiff.errors import InputInvalid
from compodiff.execution.prefetch import map_ahead
from compodiff.images import decode
from compodiff.images.decoding import DIGEST_BYTES, digest_pixels
from compodiff.images.mask_cells import MASK_SIZE, find_mask_cells
from compodiff.params import EmbeddingParams
from compodiff.sets import PAIRS, SPLITS, Place, Shard, TrainingSet, open_set
from compodiff.sets.blank import is_blank
from compodiff.storage.atomic import replace_path

Mask = bytes | None  # bits of the whole picture; None: cells are drawn


@dataclass(frozen=True)
class ShardTask:
    """A shard, and the file that its arrays go to.

    Attributes:
        shard: whose rows.
        to: the file.
        earlier: what is known of its pictures; of its texts, another form was kept.
    """

    shard: Shard
    to: Path
    earlier: EarlierPart | None = None


@dataclass(frozen=True)
class SetEmbedder:
    """Embeds shards; picklable, and loads its encoder when a worker makes its first one.

    Attributes:
        address: of the set.
        encoder: folder of the encoder.
        params: batch size and masks.
        kept: STORED or ONLINE: what of the texts.
    """

    address: str
    encoder: Path
    params: EmbeddingParams
    kept: str = STORED

    def __call__(self, task: ShardTask) -> int:
        """Write the arrays of a shard and return its number of rows.

        Raises:
            InputInvalid: the shard is damaged.
            ResourceUnavailable: the disk is full, or an address cannot be reached.
        """
        rows = self._set.read_rows(task.shard).to_pylist()
        vectors = self._set.description.vectors
        params = self.params.model_copy(update={"masks_per_picture": 0}) if vectors else self.params
        plan = plan_rows(rows, self._set.description.kind, params)
        if task.earlier:
            pictures = task.earlier.read_pictures()
        elif vectors:
            pictures = read_vectors(self._set.places, plan.pictures, vectors)
        else:
            pictures = self._embed_pictures(plan)
        arrays = plan.tables() | pictures | embed_texts(self._encoder, plan.texts, self.params, self.kept)
        arrays["keys"] = np.array([hash_text(row["key"]) for row in rows], np.uint64)
        arrays["splits"] = np.full(len(rows), SPLITS.index(task.shard.split), np.uint8)
        with replace_path(task.to) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        return len(rows)

    @cached_property
    def _set(self) -> TrainingSet:
        return open_set(self.address)

    @cached_property
    def _encoder(self) -> Encoder:
        return load_encoder(self.encoder).prepare_for_many().remember_in(self.encoder.with_name(MEMO))

    def _embed_pictures(self, plan: "_Plan") -> Arrays:
        """Embed pictures and their masked variants: images (n + m, D), masks (m, 512), digests, states (n + m,)."""
        width = self._encoder.manifest.embedding_dim
        whole, masked = [np.empty((0, width), np.float16)], [np.empty((0, width), np.float16)]
        packed = [np.empty((0, MASK_SIZE * MASK_SIZE // 8), np.uint8)]
        digests, states = list[bytes](), list[int]()
        numbers = range(len(plan.pictures))
        batches = (numbers[start : start + self.params.batch_size] for start in numbers[:: self.params.batch_size])
        for batch in map_ahead(partial(self._prepare, plan), batches):
            whole.append(self._encode(batch.pixels))
            digests += batch.digests
            states += batch.states
            if len(batch.masks):
                variants = blank_masked(batch.pixels[batch.masked], torch.from_numpy(batch.masks))
                masked.append(self._encode(variants))
                packed.append(np.packbits(batch.masks.reshape(len(batch.masks), -1), axis=1))
        masks = np.concatenate(packed)
        return {
            "images": np.concatenate([*whole, *masked]),
            "masks": masks,
            "digests": np.frombuffer(b"".join([*digests, bytes(DIGEST_BYTES * len(masks))]), np.uint8).reshape(
                -1, DIGEST_BYTES
            ),
            "states": np.array(states + [READ] * len(masks), np.uint8),
        }

    def _prepare(self, plan: "_Plan", numbers: Sequence[int]) -> "_Batch":
        pixels, digests, states = list[torch.Tensor](), list[bytes](), list[int]()
        masks, masked = [np.empty((0, MASK_SIZE, MASK_SIZE), np.bool_)], list[int]()
        for number, picture_number in enumerate(numbers):
            place = plan.pictures[picture_number]
            picture, state = self._read(place)
            states.append(state)
            digests.append(digest_pixels(picture) if state == READ else bytes(DIGEST_BYTES))
            pixels.append(self._encoder.preprocess(picture))
            own = self._make_masks(place, picture, plan.masks[picture_number])
            masks.append(own)
            masked += [number] * len(own)
        return _Batch(torch.stack(pixels), digests, states, np.concatenate(masks), masked)

    def _read(self, place: Place) -> tuple[Image.Image, int]:
        """Read a picture, and how that went; a white one stands for what cannot be read."""
        blank = Image.new("RGB", (MASK_SIZE, MASK_SIZE), "white")
        try:
            content = self._set.places.read(place)
        except InputInvalid:
            return blank, MISSING
        try:
            return decode(content), READ
        except InputInvalid:
            return blank, UNDECODABLE

    def _make_masks(self, place: Place, picture: Image.Image, masks: Sequence[Mask]) -> NDArray[np.bool_]:
        """Return the cells (masks, 64, 64) of a picture's masks; its name and the seed decide the drawn ones."""
        generator = np.random.default_rng([self.params.seed, zlib.crc32(place.name.encode())])
        low, high = self.params.min_mask_fraction, self.params.max_mask_fraction
        drawn = find_drawn_cells(picture) if None in masks else None
        made = [
            draw_mask(drawn, generator, min_fraction=low, max_fraction=high)
            if mask is None and drawn is not None
            else see_mask(mask or b"", picture.size, self._encoder.manifest.picture.resize_mode)
            for mask in masks
        ]
        return np.array(made, np.bool_).reshape(-1, MASK_SIZE, MASK_SIZE)

    def _encode(self, pixels: torch.Tensor) -> NDArray[np.float16]:
        vectors: NDArray[np.float16] = self._encoder.encode_pixels(pixels).half().cpu().numpy()
        return vectors


@dataclass(frozen=True)
class _Batch:
    """Pictures ready for the encoder: pixels (n, 3, H, W), masks (m, 64, 64) and the picture that each masks (m,)."""

    pixels: torch.Tensor
    digests: list[bytes]
    states: list[int]
    masks: NDArray[np.bool_]
    masked: list[int]


@dataclass
class _Plan:
    """What of a shard is embedded, and which rows of the arrays belong together."""

    pictures: list[Place] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    masks: list[list[Mask]] = field(default_factory=list)  # of each picture
    text_to_image: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    triplet: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    masked: list[tuple[int, int, tuple[int, int], int]] = field(default_factory=list)  # row, text, mask, target
    scored: list[tuple[int, ...]] = field(default_factory=list)
    negatives: list[tuple[int, int]] = field(default_factory=list)
    _numbers: dict[Any, int] = field(default_factory=dict)

    def picture(self, place: dict[str, Any]) -> int:
        """Return the number of the picture at a place."""
        key = (place["file"], place["offset"])
        if key not in self._numbers:
            self._numbers[key] = len(self.pictures)
            self.pictures.append(Place.of(place))
            self.masks.append([])
        return self._numbers[key]

    def text(self, text: str | None) -> int:
        """Return the number of a text, NOTHING for one that says nothing."""
        if text is None or is_blank(text):
            return NOTHING
        if text not in self._numbers:
            self._numbers[text] = len(self.texts)
            self.texts.append(text)
        return self._numbers[text]

    def mask(self, picture: int, mask: Mask) -> tuple[int, int]:
        """Note a masked variant of a picture; return the picture and the variant's number among its own."""
        self.masks[picture].append(mask)
        return picture, len(self.masks[picture]) - 1

    def tables(self) -> Arrays:
        """Return the tables of rows; a masked picture's number counts on from the last picture's."""
        first = np.cumsum([0, *map(len, self.masks)])
        masked = [
            (row, text, len(self.pictures) + first[picture] + own, first[picture] + own, target)
            for row, text, (picture, own), target in self.masked
        ]
        return {
            "text_to_image": _as_table(self.text_to_image, 5),
            "masked": _as_table(masked, 5),
            "triplet": _as_table(self.triplet, 5),
            "scored": _as_table(self.scored, ASKED + 1),
            "negatives": _as_table(self.negatives, 2),
        }


def plan_rows(rows: Sequence[dict[str, Any]], kind: str, params: EmbeddingParams) -> "_Plan":
    """Return what is embedded of the rows of a set of pairs, or of triplets."""
    return _plan_pairs(rows, params) if kind == PAIRS else _plan_triplets(rows)


def _plan_pairs(rows: Sequence[dict[str, Any]], params: EmbeddingParams) -> _Plan:
    plan = _Plan()
    variants: dict[int, list[tuple[int, int]]] = {}
    for row, it in enumerate(rows):
        picture = plan.picture(it["picture"])
        if it["mask"] is not None:
            own = [plan.mask(picture, it["mask"])]
        else:
            if picture not in variants:
                variants[picture] = [plan.mask(picture, None) for _ in range(params.masks_per_picture)]
            own = variants[picture]
        texts = [plan.text(text) for text in it["texts"] if not is_blank(text)]
        plan.text_to_image += [(row, text, NOTHING, NOTHING, picture) for text in texts]
        plan.masked += [(row, text, variant, picture) for variant in own for text in texts]
        first = texts[0] if texts else NOTHING
        plan.scored.append((picture, picture, first, NOTHING, NOTHING))
    return plan


def _plan_triplets(rows: Sequence[dict[str, Any]]) -> _Plan:
    plan = _Plan()
    for row, it in enumerate(rows):
        reference, target = plan.picture(it["reference"]), plan.picture(it["target"])
        captions = plan.text(it["reference_caption"]), plan.text(it["target_caption"])
        changes = [plan.text(text) for text in it["relative_captions"] if not is_blank(text)]
        described = [(text, end) for text, end in zip(captions, (reference, target), strict=True) if text != NOTHING]
        plan.text_to_image += [(row, text, NOTHING, NOTHING, end) for text, end in described]
        plan.triplet += [(row, text, reference, NOTHING, target) for text in changes]
        if it["mask"] is not None:
            variant = plan.mask(reference, it["mask"])
            plan.masked += [(row, text, variant, end) for text, end in described]
            plan.masked += [(row, text, variant, target) for text in changes]
        plan.negatives += [(row, plan.picture(place)) for place in it["negatives"] or ()]
        asked = plan.text(it["keyword"]) if it["keyword"] else next(iter(changes), NOTHING)
        plan.scored.append((reference, target, *captions, asked))
    return plan


def see_mask(bits: bytes, size: tuple[int, int], resize_mode: str) -> NDArray[np.bool_]:
    """Cells (64, 64) of what the encoder sees of a picture, from the bits of the whole picture's 64 x 64 cells."""
    cells = np.unpackbits(np.frombuffer(bits, np.uint8)).astype(bool).reshape(MASK_SIZE, MASK_SIZE)
    if size[0] == size[1]:
        return cells
    whole = Image.fromarray(cells).resize(size, Image.Resampling.NEAREST)
    return find_mask_cells(np.asarray(whole), resize_mode)


def _as_table(rows: Sequence[tuple[int, ...]], columns: int) -> NDArray[np.int64]:
    return np.array(rows, np.int64).reshape(-1, columns)
