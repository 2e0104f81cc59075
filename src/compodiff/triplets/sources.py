"""What triplets are made of: caption pairs, each with what makes their pictures."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

from tqdm import tqdm

from compodiff.catalogue.pictures import Catalogue
from compodiff.errors import InputInvalid
from compodiff.pairs.caption_file import read_caption_pairs
from compodiff.pairs.pair import CaptionPair, CatalogueGenerator, PictureGenerator
from compodiff.params import DrawnParams, SynthesisParams
from compodiff.scenes.generator import SpriteGenerator, make_sprite_pairs
from compodiff.triplets.emoji import make_caption_pairs
from compodiff.triplets.imported import ImportedGenerator, make_prefix, read_imported_pairs


@dataclass(frozen=True)
class RereadPairs:
    """Caption pairs that are read again for every walk over them, so that they need not fit the memory."""

    read: Callable[[], Iterator[CaptionPair]]

    def __iter__(self) -> Iterator[CaptionPair]:
        return self.read()


@dataclass(frozen=True)
class TripletSource:
    """Caption pairs and what makes their pictures.

    Attributes:
        pairs: walked over more than once; their keys are unique over all sources.
        make_generator: picklable; called once in each worker that makes a shard of this source.
    """

    pairs: Iterable[CaptionPair]
    make_generator: Callable[[], PictureGenerator]


def list_sources(synthesis: SynthesisParams, catalogue: Catalogue, data: Path, encoder: Path) -> list[TripletSource]:
    """All that triplets are made of: the catalogue, scenes of it, imported sets and captions of one's own.

    Args:
        synthesis: which of them, and how much.
        catalogue: the pictures of `data`.
        data: its folder.
        encoder: folder of the encoder that chooses among candidates.

    Raises:
        InputInvalid: two sets or files have one name.
    """
    scenes = RereadPairs(partial(make_sprite_pairs, catalogue, synthesis))
    sources = [
        TripletSource(make_caption_pairs(catalogue, synthesis), partial(CatalogueGenerator, data)),
        TripletSource(scenes, partial(SpriteGenerator, data, synthesis)),
        *_read_imported([Path(folder).resolve() for folder in synthesis.imported], catalogue),
    ]
    if synthesis.drawn is not None:
        own = RereadPairs(partial(_read_own_pairs, [Path(file) for file in synthesis.drawn.captions]))
        sources.append(TripletSource(own, partial(_load_drawing_generator, synthesis.drawn, synthesis, encoder)))
    return sources


def survey_sources(sources: Sequence[TripletSource]) -> tuple[int, str]:
    """Walk over all pairs: how many there are, and their digest.

    Raises:
        InputInvalid: a pair or what holds it is faulty; nothing has been drawn yet.
    """
    digest, count = hashlib.sha256(), 0
    pairs = chain.from_iterable(source.pairs for source in sources)
    for pair in tqdm(pairs, "reading captions", unit=" pairs", disable=None):
        digest.update(repr(pair).encode())
        count += 1
    return count, digest.hexdigest()


def _read_imported(folders: Sequence[Path], catalogue: Catalogue) -> Iterator[TripletSource]:
    """Triplets of sets that were imported or cleaned."""
    names = Counter(make_prefix(folder) for folder in folders)
    for folder in folders:
        if names[make_prefix(folder)] > 1:
            raise InputInvalid(f"synthesis.imported has two folders of the name {folder.name}; rename one")
        pairs = RereadPairs(partial(read_imported_pairs, folder, catalogue.pictures.index))
        yield TripletSource(pairs, partial(ImportedGenerator, folder))


def _read_own_pairs(files: Sequence[Path]) -> Iterator[CaptionPair]:
    """Caption pairs of the user's, their keys told apart by the files' names."""
    names = [file.stem.replace(".", "_") for file in files]
    if len(set(names)) < len(names):
        raise InputInvalid(f"synthesis.drawn.captions has two files of one name: {', '.join(names)}; rename one")
    for name, file in zip(names, files, strict=True):
        for pair in read_caption_pairs(file):
            yield replace(pair, key=f"{name}-{pair.key}")


def _load_drawing_generator(drawn: DrawnParams, synthesis: SynthesisParams, encoder: Path) -> PictureGenerator:
    from compodiff.stable_diffusion.generator import (
        load_diffusion_generator,  # seconds of imports that the default does without
    )

    batch_size = synthesis.batch_size
    generator = load_diffusion_generator(drawn.diffusion, seed=synthesis.seed, encoder=encoder, batch_size=batch_size)
    if drawn.masks is None:
        return generator
    from compodiff.stable_diffusion.clipseg import MaskedGenerator

    return MaskedGenerator.load(generator, drawn.masks, encoder)
