"""The emoji benchmark: a folder with a gallery of distinct pictures and the queries of unseen concepts.

    gallery/openmoji.tar, gallery/twemoji.tar     every distinct picture, as stored in data/
    queries.validation.jsonl, queries.test.jsonl  {"reference", "relative_caption", "targets", "group", "concept"}

Pictures of equal pixels are one: every id is the one that the gallery holds.
"""

import json
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.random import Generator

from compodiff.catalogue.captions import list_relative_captions
from compodiff.catalogue.packing import pack_pictures
from compodiff.catalogue.pictures import Catalogue
from compodiff.errors import InputInvalid
from compodiff.params import EmojiBenchmarkParams
from compodiff.storage.json_files import read_json_lines

SPLITS = ("validation", "test")
DESCRIBED = ("style", "concept", "split", "skin_tone", "gender", "hair", "direction")


@dataclass(frozen=True)
class QueryLine:
    """A line of queries.*.jsonl.

    Attributes:
        targets: any of them answers it.
        group: the relation.
        negative: text that the answer shall not show; empty for none.
        mask: file, relative to the folder, of the region to replace; empty for none.
        edited: file of the region in which reference and targets differ; empty where it is not known.
    """

    reference: str
    relative_caption: str
    targets: list[str]
    group: str
    concept: str
    negative: str = ""
    mask: str = ""
    edited: str = ""


def format_line(query: QueryLine) -> str:
    """Return the query as JSON, without what it has not."""
    given = {key: value for key, value in asdict(query).items() if value != ""}
    return json.dumps(given, ensure_ascii=False)


def write_benchmark(folder: Path, catalogue: Catalogue, params: EmojiBenchmarkParams) -> None:
    """Write the benchmark of `catalogue` into the folder `folder`; the same inputs give the same bytes.

    Raises:
        InputInvalid: a picture's tar is missing or truncated.
    """
    (folder / "gallery").mkdir()
    styles = catalogue.pictures["style"]
    for style in sorted(styles.unique()):
        own = ((name, catalogue.read_bytes(name)) for name in catalogue.list_distinct() if styles[name] == style)
        pack_pictures(folder / "gallery" / f"{style}.tar", own)
    for split in SPLITS:
        lines = map(format_line, draw_queries(catalogue, split, params))
        (folder / f"queries.{split}.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def describe_gallery(catalogue: Catalogue) -> pd.DataFrame:
    """Return what is known of the gallery's pictures: picture_id, a name for people, and what filters can ask for."""
    described = catalogue.pictures.loc[catalogue.list_distinct()]
    table = described[list(DESCRIBED)].reset_index()
    table.insert(1, "name", (described["caption"] + " (" + described["style"] + ")").to_numpy())
    return table


def draw_queries(catalogue: Catalogue, split: str, params: EmojiBenchmarkParams) -> list[QueryLine]:
    """Draw the queries of a split: at most `params.max_queries_per_relation` of a relation, spread over its concepts.

    Where one request has several answers, as when the reference stands for two twins, all are targets of one query.
    """
    generator = np.random.default_rng([params.seed, SPLITS.index(split)])
    requests = _collect_requests(catalogue, split)
    queries = []
    for relation in sorted({request.relation for request in requests}):
        drawn = _spread([each for each in requests if each.relation == relation], params, generator)
        for request in drawn:
            captions = list_relative_captions(relation, request.reference_term, request.target_term)
            caption = captions[generator.integers(len(captions))]
            targets = sorted(requests[request])
            queries.append(QueryLine(request.reference, caption, targets, relation, request.concept))
    return queries


def read_queries(folder: Path, split: str) -> list[QueryLine]:
    """Read the queries of a benchmark folder of ours.

    Raises:
        InputInvalid: the file is missing or a line is not a query.
    """
    path = folder / f"queries.{split}.jsonl"
    try:
        return [QueryLine(**item) for _, item in read_json_lines(path)]
    except InputInvalid as error:
        raise InputInvalid(f"{error}; run: dvc repro") from error
    except TypeError as error:
        raise InputInvalid(f"{path} is damaged ({error}); run: dvc repro") from error


@dataclass(frozen=True)
class _Request:
    """What is asked of a reference, in whatever words."""

    relation: str
    reference: str
    reference_term: str
    target_term: str
    concept: str


def _collect_requests(catalogue: Catalogue, split: str) -> dict[_Request, set[str]]:
    """Return the split's requests with all that answer them, under the gallery's ids."""
    canonical = dict(catalogue.pictures["twin_of"].items())
    concepts = dict(catalogue.pictures["concept"].items())
    first: dict[tuple[str, str, str], _Request] = {}
    targets: dict[_Request, set[str]] = defaultdict(set)
    columns = ["relation", "reference", "reference_term", "target_term", "target"]
    rows = catalogue.relations.loc[catalogue.relations["split"] == split, columns]
    for relation, reference, reference_term, target_term, target in rows.to_numpy().tolist():
        own, concept = canonical[reference], concepts[reference]
        # A reference that stands for two twins may bear two terms, but asks for the same change.
        request = first.setdefault(
            (relation, own, target_term), _Request(relation, own, reference_term, target_term, concept)
        )
        targets[request].add(canonical[target])
    return targets


def _spread(requests: list[_Request], params: EmojiBenchmarkParams, generator: Generator) -> list[_Request]:
    """Draw requests while the concepts take turns, each in a random order; keep the order given."""
    turns: Counter[str] = Counter()
    drawn: list[tuple[int, int, int]] = []
    for rank, place in enumerate(generator.permutation(len(requests)).tolist()):
        concept = requests[place].concept
        drawn.append((turns[concept], rank, place))
        turns[concept] += 1
    kept = sorted(drawn)[: params.max_queries_per_relation]
    return [requests[place] for place in sorted(place for *_, place in kept)]
