"""The stage synthesize: caption pairs, their pictures and the filters, in shards. Run: compodiff run synthesize."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Annotated, NoReturn

from tqdm import tqdm

from compodiff import shards
from compodiff.catalogue.pictures import Catalogue
from compodiff.errors import InputInvalid
from compodiff.execution import map_shards, worker_count
from compodiff.params import DrawnParams, SynthesisParams
from compodiff.stages.declaration import Input, Output
from compodiff.synthesis.caption_pairs import read_caption_pairs
from compodiff.synthesis.finishing import finish
from compodiff.synthesis.generation import CaptionPair, CatalogueGenerator, PictureGenerator
from compodiff.synthesis.imported import REPORT, ImportedGenerator, imported_pairs, prefix_of
from compodiff.synthesis.keywords import caption_pairs
from compodiff.synthesis.sprites import SpriteGenerator, sprite_pairs
from compodiff.synthesis.triplets import SOURCES, Reread, ShardPlan, Source, TripletMaker, plan_sources


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
    sources = _sources(synthesis, catalogue, data, encoder)
    count, captions = _surveyed(sources)
    shards.claim_folder(
        triplets,
        {
            "params": synthesis.model_dump(),
            "imported": _digest(Path(folder) / REPORT for folder in synthesis.imported),
            "captions": captions,
            "pictures": _digest([data / "pictures.parquet"]),
            "encoder": _digest([encoder / "manifest.json"]),
            "code": _digest(SOURCES),
        },
    )
    first, *others = (source.make_generator for source in sources)
    maker = TripletMaker(first, encoder, synthesis.floors, synthesis.batch_size, tuple(others))
    places: list[tuple[int, Path]] = []
    with tqdm(desc="synthesizing", total=count, unit=" pairs", disable=None) as bar:
        plans = plan_sources(triplets, [source.pairs for source in sources], synthesis.pairs_per_shard)
        for plan, _ in map_shards(maker, _missing(plans, places, bar), workers=worker_count()):
            bar.update(len(plan.pairs))
    finish(triplets, [path for _, path in sorted(places)], set(catalogue.pictures.index))


def _sources(synthesis: SynthesisParams, catalogue: Catalogue, data: Path, encoder: Path) -> list[Source]:
    """All that triplets are made of; pairs that are read from files are read as they are given out."""
    scenes = Reread(partial(sprite_pairs, catalogue, synthesis))
    sources = [
        Source(caption_pairs(catalogue, synthesis), partial(CatalogueGenerator, data)),
        Source(scenes, partial(SpriteGenerator, data, synthesis)),
        *_imported([Path(folder).resolve() for folder in synthesis.imported], catalogue),
    ]
    if synthesis.drawn is not None:
        own = Reread(partial(_own_pairs, [Path(file) for file in synthesis.drawn.captions]))
        sources.append(Source(own, partial(_drawing_generator, synthesis.drawn, synthesis, encoder)))
    return sources


def _surveyed(sources: Sequence[Source]) -> tuple[int, str]:
    """How many pairs there are, and their digest; what is wrong with one is found here, before any is drawn."""
    digest, count = hashlib.sha256(), 0
    pairs = chain.from_iterable(source.pairs for source in sources)
    for pair in tqdm(pairs, "reading captions", unit=" pairs", disable=None):
        digest.update(repr(pair).encode())
        count += 1
    return count, digest.hexdigest()


def _missing(plans: Iterable[ShardPlan], places: list[tuple[int, Path]], bar: "tqdm[NoReturn]") -> Iterator[ShardPlan]:
    """Yield the plans of shards that are still to be made; note the place of every one in the manifest."""
    for plan in plans:
        places.append((plan.source, plan.path))
        if shards.is_done(plan.path):
            if not bar.disable:
                bar.initial += len(plan.pairs)  # not part of this run's rate
            bar.update(len(plan.pairs))
        else:
            yield plan


def _own_pairs(files: Sequence[Path]) -> Iterator[CaptionPair]:
    """Caption pairs of the user's, their keys told apart by the files' names."""
    names = [file.stem.replace(".", "_") for file in files]
    if len(set(names)) < len(names):
        raise InputInvalid(f"synthesis.drawn.captions has two files of one name: {', '.join(names)}; rename one")
    for name, file in zip(names, files, strict=True):
        for pair in read_caption_pairs(file):
            yield replace(pair, key=f"{name}-{pair.key}")


def _imported(folders: Sequence[Path], catalogue: Catalogue) -> Iterator[Source]:
    """Triplets of sets that were imported or cleaned."""
    names = Counter(prefix_of(folder) for folder in folders)
    for folder in folders:
        if names[prefix_of(folder)] > 1:
            raise InputInvalid(f"synthesis.imported has two folders of the name {folder.name}; rename one")
        pairs = Reread(partial(imported_pairs, folder, catalogue.pictures.index))
        yield Source(pairs, partial(ImportedGenerator, folder))


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
