"""The stage synthesize: caption pairs, their pictures and the filters, in shards. Run: compodiff run synthesize."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, NoReturn

from tqdm import tqdm

from compodiff.catalogue.pictures import Catalogue
from compodiff.execution import count_workers, map_shards
from compodiff.params import SynthesisParams
from compodiff.stages.declaration import Input, Output
from compodiff.storage import shards
from compodiff.storage.digests import digest_files
from compodiff.triplets.imported import REPORT
from compodiff.triplets.making import ShardPlan, TripletMaker, plan_sources
from compodiff.triplets.manifest import finish
from compodiff.triplets.sources import list_sources, survey_sources

# The rooms whose code decides the bytes of a shard beside its inputs: those that dvc.yaml watches for this stage.
ROOMS = ("catalogue", "encoders", "images", "language", "pairs", "scenes", "stable_diffusion", "triplets")


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
    sources = list_sources(synthesis, catalogue, data, encoder)
    count, captions = survey_sources(sources)
    shards.claim_folder(
        triplets,
        {
            "params": synthesis.model_dump(),
            "imported": digest_files(Path(folder) / REPORT for folder in synthesis.imported),
            "captions": captions,
            "pictures": digest_files([data / "pictures.parquet"]),
            "encoder": digest_files([encoder / "manifest.json"]),
            "code": digest_files(_list_code()),
        },
        "triplets",
        shards.OF_TRIPLETS,
    )
    first, *others = (source.make_generator for source in sources)
    maker = TripletMaker(first, encoder, synthesis.floors, synthesis.batch_size, tuple(others))
    places: list[tuple[int, Path]] = []
    with tqdm(desc="synthesizing", total=count, unit=" pairs", disable=None) as bar:
        plans = plan_sources(triplets, [source.pairs for source in sources], synthesis.pairs_per_shard)
        for plan, _ in map_shards(maker, _list_missing(plans, places, bar), workers=count_workers()):
            bar.update(len(plan.pairs))
    finish(triplets, [path for _, path in sorted(places)], set(catalogue.pictures.index))


def _list_missing(
    plans: Iterable[ShardPlan], places: list[tuple[int, Path]], bar: "tqdm[NoReturn]"
) -> Iterator[ShardPlan]:
    """Yield the plans of shards that are still to be made; note the place of every one in the manifest."""
    for plan in plans:
        places.append((plan.source, plan.path))
        if shards.is_done(plan.path):
            if not bar.disable:
                bar.initial += len(plan.pairs)  # not part of this run's rate
            bar.update(len(plan.pairs))
        else:
            yield plan


def _list_code() -> list[Path]:
    package = Path(__file__).parents[1]
    return [path for room in ROOMS for path in sorted((package / room).rglob("*.py"))]
