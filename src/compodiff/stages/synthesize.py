"""The stage synthesize: caption pairs, their pictures and the filters, in shards. Run: compodiff run synthesize."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

from tqdm import tqdm

from compodiff import shards
from compodiff.catalogue.pictures import Catalogue
from compodiff.errors import InputInvalid
from compodiff.execution import map_shards, worker_count
from compodiff.params import DrawnParams, SynthesisParams
from compodiff.stages.declaration import Input, Output
from compodiff.synthesis.caption_pairs import read_caption_pairs
from compodiff.synthesis.generation import CatalogueGenerator, PictureGenerator
from compodiff.synthesis.imported import REPORT, ImportedGenerator, imported_pairs, prefix_of
from compodiff.synthesis.keywords import caption_pairs
from compodiff.synthesis.sprites import SpriteGenerator, sprite_pairs
from compodiff.synthesis.triplets import SOURCES, Source, TripletMaker, finish, plan_sources


def synthesize(
    *,
    synthesis: SynthesisParams,
    data: Annotated[Path, Input("data")],
    encoder: Annotated[Path, Input("artifacts/encoder")],
    triplets: Annotated[Path, Output("artifacts/triplets")],
) -> None:
    """Write the triplets of train and validation concepts, from all sources, as shards, a manifest and a report.

    A run that was killed continues with the shards that are missing; other params, inputs or code start afresh.

    Raises:
        InputInvalid: catalogue, encoder or an imported set cannot be read, or there is nothing to make triplets of.
        EncoderMismatch: the encoder's weights are not those of its manifest.
        ResourceUnavailable: the disk is full or a worker was killed; finished shards are kept.
    """
    catalogue = Catalogue.load(data)
    sources = [
        Source(caption_pairs(catalogue, synthesis), partial(CatalogueGenerator, data)),
        Source(list(sprite_pairs(catalogue, synthesis)), partial(SpriteGenerator, data, synthesis)),
    ]
    sources += _imported([Path(folder).resolve() for folder in synthesis.imported], catalogue)
    if synthesis.drawn is not None:
        sources.append(_drawn(synthesis, synthesis.drawn, encoder))
    shards.claim_folder(
        triplets,
        {
            "params": synthesis.model_dump(),
            "imported": _digest(Path(folder) / REPORT for folder in synthesis.imported),
            "captions": hashlib.sha256(repr([source.pairs for source in sources]).encode()).hexdigest(),
            "pictures": _digest([data / "pictures.parquet"]),
            "encoder": _digest([encoder / "manifest.json"]),
            "code": _digest(SOURCES),
        },
    )
    plans = plan_sources(triplets, [source.pairs for source in sources], synthesis.pairs_per_shard)
    missing = [plan for plan in plans if not shards.is_done(plan.path)]
    first, *others = (source.make_generator for source in sources)
    maker = TripletMaker(first, encoder, synthesis.floors, synthesis.batch_size, tuple(others))
    total, waiting = (sum(len(plan.pairs) for plan in some) for some in (plans, missing))
    with tqdm(desc="synthesizing", total=total, initial=total - waiting, unit=" pairs", disable=None) as bar:
        for plan, _ in map_shards(maker, missing, workers=worker_count()):
            bar.update(len(plan.pairs))
    finish(triplets, plans, set(catalogue.pictures.index))


def _imported(folders: Sequence[Path], catalogue: Catalogue) -> Iterator[Source]:
    """Triplets of sets that were imported or cleaned."""
    names = Counter(prefix_of(folder) for folder in folders)
    for folder in folders:
        if names[prefix_of(folder)] > 1:
            raise InputInvalid(f"synthesis.imported has two folders of the name {folder.name}; rename one")
        pairs = imported_pairs(folder, catalogue.pictures.index)
        every = list(tqdm(pairs, f"reading {folder.name}", unit=" pairs", disable=None))
        yield Source(every, partial(ImportedGenerator, folder))


def _drawn(synthesis: SynthesisParams, drawn: DrawnParams, encoder: Path) -> Source:
    """Caption pairs of the user's, drawn by Stable Diffusion."""
    path = Path(drawn.captions)
    pairs = list(tqdm(read_caption_pairs(path), f"reading {path.name}", unit=" pairs", disable=None))
    return Source(pairs, partial(_drawing_generator, drawn, synthesis, encoder))


def _drawing_generator(drawn: DrawnParams, synthesis: SynthesisParams, encoder: Path) -> PictureGenerator:
    from compodiff.synthesis.diffusion import diffusion_generator  # seconds of imports that the default does without

    batch_size = synthesis.batch_size
    generator = diffusion_generator(drawn.diffusion, seed=synthesis.seed, encoder=encoder, batch_size=batch_size)
    if drawn.masks is None:
        return generator
    from compodiff.synthesis.masks import MaskedGenerator

    return MaskedGenerator.load(generator, drawn.masks, encoder)


def _digest(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()
