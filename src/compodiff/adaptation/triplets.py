"""A set of triplets whose pictures are texts: each place holds the bytes of a moved text's embedding.

WORK/vectors.npy    (2 n, D) f16: of each pair reference and target
WORK/sets/captions  the set

Shapes: n pairs, t texts, D embedding width, of which a model learns L.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count, islice
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from compodiff.adaptation.gap import Floats, Gap, make_ends, widen
from compodiff.encoders import MEMO, Encoder, EncoderManifest, load_encoder
from compodiff.execution import count_workers, map_shards
from compodiff.pairs.caption_file import read_caption_pairs
from compodiff.pairs.pair import CaptionPair
from compodiff.params import AdaptationParams
from compodiff.recipes.made import describe_pair
from compodiff.sets import SPLITS, TRIPLETS, Place, Vectors
from compodiff.sets.writing import KIND, PATTERNS, finish_set, open_shard
from compodiff.storage.arrays import read_header
from compodiff.storage.atomic import open_work_folder, replace_path

NAME = "captions"  # of the set
VECTORS = "vectors.npy"
TEXTS_AT_ONCE = 64
TEXTS_OF_A_TASK = 512  # that a worker embeds before it is given others
ROWS_PER_SHARD = 4096
_ENDS = ("reference", "target")
_TYPE = np.dtype("<f2")
_LICENCE = "as that of the captions"


@dataclass(frozen=True)
class CaptionEmbedder:
    """Embeds captions; picklable, and loads the encoder of the folder `encoder` when a worker gets its first ones."""

    encoder: Path

    def __call__(self, captions: tuple[str, ...]) -> Floats:
        """Embed captions (t, L) among pictures; what all text parts made of them is remembered beside the encoder."""
        pooled = [
            self._encoder.encode_texts(captions[start : start + TEXTS_AT_ONCE]).pooled
            for start in range(0, len(captions), TEXTS_AT_ONCE)
        ]
        embedded: Floats = torch.cat([each for each in pooled if each is not None]).float().cpu().numpy()
        return embedded[:, : self._encoder.manifest.learned_dim]

    @cached_property
    def _encoder(self) -> Encoder:
        return load_encoder(self.encoder).prepare_for_many().remember_in(self.encoder.with_name(MEMO))


def embed_captions(captions: Sequence[str], encoder: Path) -> dict[str, Floats]:
    """Embed captions among pictures, each (L,), by the encoder of a folder, in as many processes as there are cores.

    A run that was killed goes on: what was embedded is remembered beside the encoder.
    """
    ordered = sorted(captions, key=lambda caption: (len(caption), caption))  # little padding
    parts = [tuple(ordered[start : start + TEXTS_OF_A_TASK]) for start in range(0, len(ordered), TEXTS_OF_A_TASK)]
    embedded = dict[str, Floats]()
    with tqdm(desc="embedding captions", total=len(captions), unit=" texts", disable=None) as bar:
        for part, vectors in map_shards(CaptionEmbedder(encoder), parts, workers=count_workers()):
            embedded |= zip(part, vectors, strict=True)
            bar.update(len(part))
    return embedded


def list_captions(pairs: Path) -> list[str]:
    """Return the different captions of a file of caption pairs, in their order."""
    ends = ((pair.reference_caption, pair.target_caption) for pair in read_caption_pairs(pairs))
    return list(dict.fromkeys(caption for both in ends for caption in both))


def write_triplets(
    work: Path,
    pairs: Path,
    vectors: Mapping[str, Floats],
    gap: Gap,
    params: AdaptationParams,
    encoder: EncoderManifest,
) -> Path:
    """Write the set of the caption pairs of a file; return its folder.

    Args:
        work: gets the set and the vectors that its places name.
        pairs: the file.
        vectors: caption -> its embedding (L,).
        gap: between texts and pictures.
        params: of the noise.
        encoder: that embedded them.
    """
    every = list(read_caption_pairs(pairs))
    reference, target = (np.stack([vectors[getattr(pair, f"{end}_caption")] for pair in every]) for end in _ENDS)
    rng = np.random.default_rng(len(every))
    width = encoder.embedding_dim
    ends = (widen(each, width) for each in make_ends(gap, reference, target, params, rng))
    made = np.stack(list(ends), axis=1)  # (n, 2, D)
    file = work.absolute() / VECTORS
    with replace_path(file) as temporary, temporary.open("wb") as opened:
        np.save(opened, made.reshape(-1, width).astype(_TYPE))
    folder = open_work_folder(work / "sets" / NAME, KIND, PATTERNS)
    for split in SPLITS:
        numbered = ((number, pair) for number, pair in enumerate(every) if pair.split == split)
        _write_split(folder, split, numbered, file, width * _TYPE.itemsize)
    form = Vectors(encoder.identify(), width, _TYPE.str)
    finish_set(folder, TRIPLETS, licence=_LICENCE, source="captions alone (compodiff adapt)", vectors=form)
    return folder


def _write_split(folder: Path, split: str, numbered: Iterator[tuple[int, CaptionPair]], file: Path, size: int) -> None:
    """Write the shards of a split; `size` is that of an embedding in `file`, bytes."""
    head = _find_first_row(file)
    for shard_number in count():
        rows = list(islice(numbered, ROWS_PER_SHARD))
        if not rows:
            return
        with open_shard(folder, split, shard_number, TRIPLETS) as shard:
            for number, pair in rows:
                places = {
                    end: Place(f"{pair.key}-{end}", str(file), head + (2 * number + side) * size, size)
                    for side, end in enumerate(_ENDS)
                }
                # Without a caption the reference, which is blurred, is nothing that a text is to find.
                told = describe_pair(pair) | {"reference_caption": None}
                shard.add({"key": pair.key, **places, **told, "mask": None, "negatives": []})


def _find_first_row(file: Path) -> int:
    """Return where the first row of an array begins in its file."""
    with file.open("rb") as opened:
        read_header(file, opened)
        return opened.tell()
