"""Make a set by its recipe. Past this point nothing knows where a set comes from."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from compodiff.catalogue.pictures import Catalogue
from compodiff.errors import InputInvalid
from compodiff.images import list_pictures
from compodiff.pairs.caption_file import read_caption_pairs
from compodiff.pairs.pair import CaptionPair, PictureGenerator
from compodiff.params import (
    AnySetParams,
    DrawnParams,
    EmojiCaptionsParams,
    EmojiEditsParams,
    ExactEditsParams,
    FolderEditsParams,
    OwnSetParams,
    ScenesParams,
    SynthesisParams,
)
from compodiff.project import ATTRIBUTION
from compodiff.recipes.emoji import list_caption_pairs, list_captioned_pictures, place_pictures
from compodiff.recipes.made import ShardMaker, describe_pair, make_shards, plan_shards
from compodiff.scenes.exact.generator import EditChoices, ExactEditor, load_subjects, make_exact_pairs
from compodiff.scenes.generator import SpriteGenerator, make_sprite_pairs
from compodiff.sets import KIND, PAIRS, PATTERNS, SPLITS, TRIPLETS, TrainingSet, finish_set, open_set, open_shard
from compodiff.sets.addresses import is_address
from compodiff.sets.form import DESCRIPTION
from compodiff.storage import claims
from compodiff.storage.atomic import replace_folder, write_json
from compodiff.storage.digests import digest_bytes, digest_files
from compodiff.storage.ownership import require_replaceable_folder

MADE = "made"  # beside sets/, in artifacts/
# The rooms whose code decides the rows and pictures that are made: those that dvc.yaml watches for the stage make_set.
ROOMS = ("catalogue", "encoders", "images", "language", "pairs", "recipes", "scenes", "sets", "stable_diffusion")


def make_set(folder: Path, params: AnySetParams, synthesis: SynthesisParams, reads: Path) -> None:
    """Write the set of `params` as `folder`; made pictures are resumed shard by shard.

    Args:
        folder: of the set.
        params: its recipe.
        synthesis: how sets are made.
        reads: what `params.reads` names, as a path; an address stays in the params.

    Raises:
        InputInvalid: what the recipe reads is missing or damaged, or there is nothing to make rows of.
        ResourceUnavailable: the disk is full, a worker was killed (finished shards are kept), or an address fails.
    """
    if isinstance(params, OwnSetParams):
        own_set = open_set(params.reads if is_address(params.reads) else str(reads))
        _refer_to(folder, own_set, own_set.address)
    elif isinstance(params, EmojiCaptionsParams):
        _write_emoji_captions(folder, Catalogue.load(reads), synthesis)
    elif isinstance(params, EmojiEditsParams):
        _write_emoji_edits(folder, Catalogue.load(reads), params, synthesis)
    elif isinstance(params, ScenesParams):
        pairs = _Reread(partial(make_sprite_pairs, Catalogue.load(reads), params))
        maker = ShardMaker(partial(SpriteGenerator, reads, params))
        inputs = {"pictures": digest_files([reads / "pictures.parquet"])}
        _make_pictures(folder, params, pairs, maker, synthesis, inputs, ATTRIBUTION)
    elif isinstance(params, ExactEditsParams | FolderEditsParams):
        _make_exact_edits(folder, params, synthesis, reads)
    else:
        own = _Reread(partial(_read_captions, [Path(file) for file in params.captions]))
        drawing = ShardMaker(partial(_load_drawing_generator, params, synthesis, reads))
        inputs = {"encoder": digest_files([reads / "manifest.json"])}
        licence = f"made by {params.diffusion.pipeline}"
        made = _make_pictures(folder, params, own, drawing, synthesis, inputs, licence, is_kept=True)
        _refer_to(folder, open_set(made), os.path.relpath(made, folder))


def _refer_to(folder: Path, own: TrainingSet, at: str) -> None:
    """Write a set.json that refers to another set where it lies."""
    with replace_folder(folder, KIND) as temporary:
        write_json(temporary / DESCRIPTION, replace(own.description, at=at).to_json())


def _write_emoji_captions(folder: Path, catalogue: Catalogue, synthesis: SynthesisParams) -> None:
    pictures = list_captioned_pictures(catalogue)
    places = place_pictures(catalogue, folder)
    with replace_folder(folder, KIND) as temporary:
        for split in SPLITS:
            own = [(name, captions) for name, of_split, captions in pictures if of_split == split]
            for number, first in enumerate(range(0, len(own), synthesis.rows_per_shard)):
                with open_shard(temporary, split, number, PAIRS) as shard:
                    for name, captions in own[first : first + synthesis.rows_per_shard]:
                        shard.add({"key": name, "picture": places[name], "texts": captions})
        finish_set(temporary, PAIRS, licence=ATTRIBUTION, source="the emoji catalogue, its captions")


def _write_emoji_edits(
    folder: Path, catalogue: Catalogue, params: EmojiEditsParams, synthesis: SynthesisParams
) -> None:
    places = place_pictures(catalogue, folder)
    with replace_folder(folder, KIND) as temporary:
        for plan in plan_shards(temporary, list_caption_pairs(catalogue, params), synthesis.rows_per_shard):
            with open_shard(temporary, plan.split, plan.number, TRIPLETS) as shard:
                for pair in plan.pairs:
                    ends = {"reference": places[pair.reference], "target": places[pair.target]}
                    shard.add({"key": pair.key, **ends, **describe_pair(pair), "mask": None, "negatives": []})
        finish_set(temporary, TRIPLETS, licence=ATTRIBUTION, source="the emoji catalogue, its relations")


def _make_exact_edits(
    folder: Path, params: ExactEditsParams | FolderEditsParams, synthesis: SynthesisParams, reads: Path
) -> None:
    choices = EditChoices(params.seed, params.edits_per_picture)
    of_split = partial(load_subjects, params, reads)
    is_catalogue = isinstance(params, ExactEditsParams)
    files = [reads / "pictures.parquet"] if is_catalogue else list_pictures(reads).files
    licence = ATTRIBUTION if is_catalogue else f"that of the pictures of {reads}"
    pairs = _Reread(partial(make_exact_pairs, of_split, choices))
    maker = ShardMaker(partial(ExactEditor, of_split, choices))
    _make_pictures(folder, params, pairs, maker, synthesis, {"pictures": digest_files(files)}, licence)


def _make_pictures(
    folder: Path,
    params: AnySetParams,
    pairs: Iterable[CaptionPair],
    maker: ShardMaker,
    synthesis: SynthesisParams,
    inputs: dict[str, Any],
    licence: str,
    *,
    is_kept: bool = False,
) -> Path:
    """Make a set of pictures and return its folder; a run that was killed continues.

    Other params, inputs or code start afresh: in a folder of their own below artifacts/made where pictures cost so much
    that what others made `is_kept`, else in place of what was made before.
    """
    count, digest = _survey_pairs(pairs)
    decides = params.model_dump(exclude={"floors", "min_rows"}) | {"rows_per_shard": synthesis.rows_per_shard}
    fingerprint = {"params": decides, "pairs": digest, "code": digest_files(_list_code()), **inputs}
    if is_kept:
        name = digest_bytes(json.dumps(fingerprint, sort_keys=True).encode())[:12]
        folder = folder.parents[1] / MADE / f"{folder.name}-{name}"
    if not (folder / claims.FINGERPRINT).exists():
        require_replaceable_folder(folder, KIND)
    claims.claim_folder(folder, fingerprint, KIND, PATTERNS)
    notes = make_shards(folder, pairs, count, synthesis.rows_per_shard, maker)
    finish_set(folder, TRIPLETS, licence=licence, source=f"recipe {params.recipe}", notes=notes)
    return folder


@dataclass(frozen=True)
class _Reread:
    """Caption pairs that are read again for every walk over them, so that they need not fit the memory."""

    read: Callable[[], Iterator[CaptionPair]]

    def __iter__(self) -> Iterator[CaptionPair]:
        return self.read()


def _survey_pairs(pairs: Iterable[CaptionPair]) -> tuple[int, str]:
    """Walk over all pairs, so that a faulty one is met before anything is drawn: how many there are, their digest."""
    digest, count = hashlib.sha256(), 0
    for pair in pairs:
        digest.update(repr(pair).encode())
        count += 1
    return count, digest.hexdigest()


def _read_captions(files: Sequence[Path]) -> Iterator[CaptionPair]:
    """Yield the caption pairs of files, their keys told apart by the files' names."""
    names = [file.stem.replace(".", "_") for file in files]
    if len(set(names)) < len(names):
        raise InputInvalid(f"captions has two files of one name: {', '.join(names)}; rename one")
    for name, file in zip(names, files, strict=True):
        for pair in read_caption_pairs(file):
            yield replace(pair, key=f"{name}-{pair.key}")


def _load_drawing_generator(drawn: DrawnParams, synthesis: SynthesisParams, encoder: Path) -> PictureGenerator:
    from compodiff.stable_diffusion.generator import (
        load_diffusion_generator,  # seconds of imports that the default does without
    )

    batch_size = synthesis.batch_size
    generator = load_diffusion_generator(drawn.diffusion, seed=drawn.seed, encoder=encoder, batch_size=batch_size)
    if drawn.masks is None:
        return generator
    from compodiff.stable_diffusion.clipseg import MaskedGenerator

    return MaskedGenerator.load(generator, drawn.masks, encoder)


def _list_code() -> list[Path]:
    package = Path(__file__).parents[1]
    return [path for room in ROOMS for path in sorted((package / room).rglob("*.py"))]
