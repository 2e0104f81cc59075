"""What a manifest does not say and expectations need: which pictures decode, of which split, equal to which others."""

import hashlib
import io
import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import pandas as pd
from PIL import Image
from tqdm import tqdm

from compodiff.execution import map_shards
from compodiff.storage import shards
from compodiff.storage.names import resolve_inside

# Splits whose pictures must not be seen in this one.
_HELD_OUT_FROM = {"train": ("validation", "test"), "validation": ("test",)}
# Of pictures that are not the catalogue's, in the folder of the triplets: picture_id, split.
OWN_PICTURES = "pictures.parquet"
# Everything that Pillow raises on bytes that are cut short or not what their header says.
_UNDECODABLE = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error)


def add_evidence(
    rows: pd.DataFrame, triplets: Path, pictures: pd.DataFrame, read: Callable[[str], Image.Image], *, workers: int
) -> pd.DataFrame:
    """Read every picture of the triplets `rows` and add what was found.

    reference_pixels and target_pixels are digests, null where a picture is missing or does not decode; reference_split
    and target_split are the catalogue's, null for a picture that it does not have; held_out_twin is a picture of a
    later split (train, validation, test) with the pixels of the reference or the target, null if there is none.

    Pictures that a dataset brings with it, drawn or imported, stand with their split in its own pictures.parquet.

    Args:
        rows: accepted rows of the manifest.
        triplets: folder of the shards.
        pictures: the catalogue's pictures, index picture_id, with a column split.
        read: picture_id -> picture, RGB; called for the catalogue's pictures that are in no triplet of `rows`.
        workers: processes that read shards.

    Raises:
        InputInvalid: a shard is missing, cut short or damaged.
    """
    paths = [resolve_inside(triplets, name) for name in sorted(rows["shard"].unique())]
    found = map_shards(digest_shard, paths, workers=workers, on_gpu=False)
    progress = tqdm(found, "reading pictures", len(paths), unit=" shards", disable=None)
    entries = [entry for _, of_shard in progress for entry in of_shard]
    pixels = pd.DataFrame(entries, columns=["key", "reference_pixels", "target_pixels"], dtype=object)
    pixels = pixels.astype({"key": rows["key"].dtype})
    rows = rows.merge(pixels, on="key", how="left", validate="many_to_one")
    held_out = {split: _digest_pictures(rows, pictures, later, read) for split, later in _HELD_OUT_FROM.items()}
    ends = zip(rows["split"], rows["reference_pixels"], rows["target_pixels"], strict=True)
    twins = [held_out.get(split, {}).get(a) or held_out.get(split, {}).get(b) for split, a, b in ends]
    split_of = _find_splits(triplets, pictures)
    return rows.assign(
        reference_split=rows["reference"].map(split_of),
        target_split=rows["target"].map(split_of),
        held_out_twin=pd.Series(twins, rows.index, dtype=object),
    )


def _digest_pictures(
    rows: pd.DataFrame, pictures: pd.DataFrame, splits: Sequence[str], read: Callable[[str], Image.Image]
) -> dict[str, str]:
    """Map digest to name of the pictures of `splits`: as their shards have them, the others as `read` does."""
    ends = [rows[[end, f"{end}_pixels", "split"]] for end in ("reference", "target")]
    found = pd.concat([end.set_axis(["name", "pixels", "split"], axis="columns") for end in ends])
    held = found[found["split"].isin(splits)].dropna()
    others = pictures.index[pictures["split"].isin(splits) & ~pictures.index.isin(found["name"])]
    return dict(zip(held["pixels"], held["name"], strict=True)) | {digest_pixels(read(name)): name for name in others}


def _find_splits(triplets: Path, pictures: pd.DataFrame) -> pd.Series:
    """Return the split of each picture, the catalogue's and the dataset's own; the catalogue's word counts first."""
    own = triplets / OWN_PICTURES
    if not own.exists():
        return pictures["split"]
    brought = shards.read_table(own).set_index("picture_id")["split"]
    every: pd.Series = pd.concat([pictures["split"], brought[~brought.index.isin(pictures.index)]])
    return every


def digest_shard(path: Path) -> list[tuple[str, str | None, str | None]]:
    """Decode both pictures of every entry of a shard; return key, digest of the reference and of the target."""
    return [
        (key, _decode_and_digest(files.get("reference.png", b"")), _decode_and_digest(files.get("target.png", b"")))
        for key, files in shards.read_entries(path)
    ]


def digest_pixels(picture: Image.Image) -> str:
    """Name an RGB picture by its size and pixels."""
    return hashlib.sha256(f"{picture.size}".encode() + picture.tobytes()).hexdigest()


@lru_cache(maxsize=512)  # neighbouring triplets share pictures
def _decode_and_digest(png: bytes) -> str | None:
    try:
        with Image.open(io.BytesIO(png)) as picture:
            return digest_pixels(picture.convert("RGB"))
    except _UNDECODABLE:
        return None
