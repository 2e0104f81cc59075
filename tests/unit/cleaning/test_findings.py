"""What of a set is found to be left out, against the obvious loop, from facts that lie on disk."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from compodiff.cleaning import findings as finding
from compodiff.cleaning.clean import FINDINGS
from compodiff.cleaning.findings import CleaningRules
from compodiff.cleaning.gallery import BenchmarkGallery
from compodiff.cleaning.survey import Survey
from compodiff.errors import InputInvalid
from compodiff.images.looks import LOOK_SHAPE
from compodiff.sets import Shard
from compodiff.storage import tables

RULES = CleaningRules(near_duplicate=0.9, any_caption=False, contaminated=0.99)


def survey_of(
    folder: Path, keys: list[str], asks: list[str], embeddings: NDArray[Any], looks: NDArray[Any], shards: int = 1
) -> Survey:
    """A survey whose facts lie in `folder`, in so many shards."""
    cuts = [cut for cut in np.array_split(np.arange(len(keys)), shards) if len(cut)]
    for number, cut in enumerate(cuts):
        np.save(folder / f"{number}.embeddings.npy", embeddings[cut])
        np.save(folder / f"{number}.looks.npy", looks[cut])
        said = {"key": [keys[row] for row in cut], "asks": [asks[row] for row in cut]}
        lost = {f"lost_{end}": [""] * len(cut) for end in ("reference", "target")}
        tables.write_table(folder / f"{number}.parquet", pd.DataFrame(said | lost))
    listed = tuple(Shard(f"{number}.parquet", "train", len(cut), "") for number, cut in enumerate(cuts))
    return Survey(folder, ("reference", "target"), listed)


def find(survey: Survey, gallery: BenchmarkGallery, rules: CleaningRules) -> pd.DataFrame:
    finding.find(survey, gallery, rules, survey.facts / FINDINGS)
    return tables.read_table(survey.facts / FINDINGS)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from("ab")), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_the_first_key_of_near_duplicates_wins_whatever_the_chunks(triplets):
    """Against the obvious loop over all pairs, with chunks of two triplets and three shards."""
    directions, looks = np.eye(5, dtype=np.float16), np.arange(0, 250, 50, dtype=np.uint8)
    keys = [f"k{(7 * number) % len(triplets) if len(triplets) % 7 else number:02d}" for number in range(len(triplets))]
    shown = np.array([pair[:2] for pair in triplets])
    grids = np.broadcast_to(looks[shown][:, :, None], (len(triplets), 2, *LOOK_SHAPE))
    asks = [asks for *_, asks in triplets]
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        patch.setattr(finding, "_AT_ONCE", 2)
        survey = survey_of(Path(folder), keys, asks, directions[shown], grids, shards=3)
        found = find(survey, BenchmarkGallery((), np.empty((0, 5), np.float16)), RULES)
    first: dict[tuple[int, int, str], str] = {}
    expected = {}
    for key, triplet in sorted(zip(keys, triplets, strict=True)):
        if first.setdefault(triplet, key) != key:
            expected[key] = first[triplet]
    assert found.set_index("key")["match"].to_dict() == expected


def test_near_embeddings_alone_are_no_duplicates(tmp_path):
    embeddings = np.ones((2, 2, 4), np.float16) / 2
    looks = np.zeros((2, 2, *LOOK_SHAPE), np.uint8)
    looks[1, 1, :3] = 60  # one cell of the targets differs
    nothing = BenchmarkGallery((), np.empty((0, 4), np.float16))
    for different, expected in ((looks, []), (looks * 0, ["b"])):
        survey = survey_of(tmp_path, ["a", "b"], ["later"] * 2, embeddings, different)
        assert find(survey, nothing, RULES)["key"].tolist() == expected


def test_a_key_that_stands_twice_is_refused(tmp_path):
    survey = survey_of(tmp_path, ["a", "a"], ["x", "y"], np.ones((2, 2, 4), np.float16), np.zeros((2, 2, *LOOK_SHAPE)))
    with pytest.raises(InputInvalid, match="the key 'a' twice"):
        find(survey, BenchmarkGallery((), np.empty((0, 4), np.float16)), RULES)
