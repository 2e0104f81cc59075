"""What the training stages share: captions to learn from, queries to be measured on, and the machine's precision."""

import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from compodiff.catalogue.captions import list_picture_captions
from compodiff.catalogue.emoji_benchmark import read_queries
from compodiff.catalogue.pictures import Catalogue
from compodiff.embeddings import Embeddings
from compodiff.params import TrainingParams
from compodiff.precision import choose_precision, describe_choice
from compodiff.storage.shards import read_table
from compodiff.training.curve import ValidationQuery
from compodiff.training.examples import make_training_examples
from compodiff.training.fit import TrainingMaterial

Training = TypeVar("Training", bound=TrainingParams)


def choose_training_precision(params: Training, stage: str) -> Training:
    """Return `params` with the precision that this machine trains in, and say which: model card and run name it.

    Args:
        params: of a training.
        stage: named in what is said.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if os.environ.get("RANK", "0") == "0":
        tqdm.write(f"{stage} computes in {describe_choice(params.precision, device)}", file=sys.stderr)
    return params.model_copy(update={"precision": choose_precision(params.precision, device)})


def tabulate_captions(catalogue: Catalogue, split: str) -> pd.DataFrame:
    """Every caption of every picture of a split: columns picture_id, caption."""
    return pd.DataFrame(_list_captions(catalogue, split), columns=["picture_id", "caption"])


def tabulate_generated_captions(catalogue: Catalogue, triplets: pd.DataFrame) -> pd.DataFrame:
    """Each caption of each picture of `triplets` that is not the catalogue's: columns picture_id, caption."""
    ends = (
        triplets[[end, f"{end}_caption"]].set_axis(["picture_id", "caption"], axis="columns")
        for end in ("reference", "target")
    )
    captions = pd.concat(ends).drop_duplicates(ignore_index=True)
    return captions[~captions["picture_id"].isin(catalogue.pictures.index)]


def collect_composed_material(
    data: Path, embeddings: Embeddings, validated: Path, benchmark: Path, params: TrainingParams
) -> TrainingMaterial:
    """What a composed model learns from and is measured on.

    Raises:
        InputInvalid: the triplets or the benchmark are missing or damaged, or name what is not embedded.
    """
    catalogue = Catalogue.load(data)
    accepted = read_table(validated / "accepted.parquet")
    accepted = accepted[accepted["split"] == "train"]
    captions = pd.concat([tabulate_captions(catalogue, "train"), tabulate_generated_captions(catalogue, accepted)])
    return TrainingMaterial(
        embeddings=embeddings,
        examples=make_training_examples(embeddings, captions, accepted),
        queries=list_triplet_queries(benchmark, params),
        gallery=catalogue.list_distinct(),
    )


def list_caption_queries(catalogue: Catalogue, params: TrainingParams) -> list[ValidationQuery]:
    """Captions of unseen concepts, each to find any picture that has it."""
    targets: dict[str, set[str]] = defaultdict(set)
    for picture_id, caption in _list_captions(catalogue, "validation"):
        targets[caption].add(catalogue.find_canonical(picture_id))
    return _draw_some([ValidationQuery(caption, tuple(sorted(found))) for caption, found in targets.items()], params)


def list_triplet_queries(benchmark: Path, params: TrainingParams) -> list[ValidationQuery]:
    """The benchmark's queries of the validation concepts.

    Raises:
        InputInvalid: the benchmark is missing or damaged.
    """
    queries = read_queries(benchmark, "validation")
    return _draw_some(
        [ValidationQuery(query.relative_caption, tuple(query.targets), query.reference) for query in queries], params
    )


def _list_captions(catalogue: Catalogue, split: str) -> Iterator[tuple[str, str]]:
    rows: dict[Any, dict[Any, Any]] = catalogue.pictures[catalogue.pictures["split"] == split].to_dict("index")
    for picture_id, row in rows.items():
        for caption in list_picture_captions(row):
            yield str(picture_id), caption


def _draw_some(queries: list[ValidationQuery], params: TrainingParams) -> list[ValidationQuery]:
    drawn = np.random.default_rng(params.seed).permutation(len(queries))[: params.validation_queries]
    return [queries[number] for number in sorted(drawn)]
