"""What an adaptation starts from: the encoder, and pictures that show where the encoder puts pictures.

Shapes: m pictures, D embedding width.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from compodiff.adaptation.gap import Floats
from compodiff.benchmarks.datasets.assembled import open_assembled
from compodiff.encoders import Encoder, assemble_encoder, load_encoder, save_encoder
from compodiff.images import list_pictures
from compodiff.index.folder import BuildPlan, build_folder_index
from compodiff.index.index import Index
from compodiff.params import Params, PartParams
from compodiff.stages.finetune import copy_encoder

PICTURES_AT_ONCE = 16
_MANIFEST = "manifest.json"
_SERVES = "clip-b32 and siglip2-b16 of `compodiff get --list` have one"


@dataclass(frozen=True)
class GapPictures:
    """Pictures (m, D), as the encoder makes them, and where they are from, in words."""

    vectors: Floats
    source: str


def open_encoder(name: str, weights: str | None) -> Encoder:
    """Open an encoder that puts texts among pictures.

    Args:
        name: a folder that `compodiff` wrote, or a model that has both parts: a short name, a hub id, a folder of a
            library, or, with weights, one of open_clip's list.
        weights: of open_clip's list: a tag, or a file.

    Raises:
        InputInvalid: there is none by that name, or it has no joint space.
        ResourceUnavailable: it is not on this machine; the message names the command that fetches it.
        CheckpointMismatch, EncoderMismatch: its weights are others than it says.
    """
    if weights is None and (Path(name) / _MANIFEST).is_file():
        encoder = load_encoder(Path(name))
    else:
        part = PartParams(name=name) if weights is None else PartParams(name=name, weights=weights, library="open_clip")
        encoder = assemble_encoder(part, [part])
    encoder.manifest.require_joint_text(f"adapt learns from texts among pictures ({_SERVES})")
    return encoder


def keep_encoder(encoder: Encoder, name: str, folder: Path) -> Encoder:
    """Write an encoder that was opened by `name` to a folder, unless it is there; return it as read from there."""
    if not (folder / _MANIFEST).is_file():
        if (Path(name) / _MANIFEST).is_file():
            copy_encoder(Path(name), folder)
        else:
            save_encoder(encoder.record_agreement("auto"), folder)
    return load_encoder(folder)


def read_gap_pictures(
    project: Path, params: Params, encoder: Encoder, pictures: Path | None, index: Path
) -> GapPictures:
    """Embed pictures: those of a folder, which are indexed, or some of the project's gallery; none where there is none.

    Args:
        project: that may have a gallery.
        params: of the project.
        encoder: embeds them.
        pictures: a folder.
        index: where its index goes.

    Raises:
        InputInvalid: the folder holds no picture that can be read.
    """
    if pictures is not None:
        listing = list_pictures(pictures)
        build_folder_index(pictures, index, encoder, params.index, BuildPlan(listing.files, listing))
        return GapPictures(np.asarray(Index.load(index).embeddings, np.float32), str(pictures))
    gallery = project / "artifacts" / "benchmarks" / params.index.gallery
    if not gallery.is_dir():
        tqdm.write("no pictures: texts stay where they are; --pictures FOLDER makes the model better", file=sys.stderr)
        return GapPictures(np.empty((0, encoder.manifest.embedding_dim), np.float32), "none")
    assembled = open_assembled(gallery)
    (part, *_) = assembled.load(assembled.split)
    names = part.gallery or part.ranked_pictures
    chosen = names[:: max(1, len(names) // params.adaptation.gap_pictures)]
    shown = tqdm(chosen, "embedding pictures for the gap", unit=" pictures", disable=None)
    vectors = encoder.encode_images(map(part.pictures.read, shown), batch_size=PICTURES_AT_ONCE).float().cpu().numpy()
    return GapPictures(vectors, assembled.name)
