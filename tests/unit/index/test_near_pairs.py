"""Near-duplicates by the index's own search, against a comparison of all pairs."""

import numpy as np
import pandas as pd
import pytest
from factories import compute_cosines
from worlds.shards import WIDTH, make_wide_manifest

from compodiff.errors import InputInvalid
from compodiff.index.index import Index
from compodiff.index.near_pairs import write_near_pairs
from compodiff.index.segments.building import SegmentPlan, add_segment, build_segments, remove_rows
from compodiff.index.segments.sources import list_shards

COSINE, NEIGHBOURS = 0.95, 2


def write_shard(folder, first, vectors):
    folder.mkdir(parents=True)
    np.save(folder / "part.npy", vectors)
    ids = [str(row) for row in range(first, first + len(vectors))]
    pd.DataFrame({"picture_id": ids}).to_parquet(folder / "part.parquet", index=False)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """An index of two segments over 5,000 random vectors; 150 are others saved again, some across the segments."""
    folder, generator = tmp_path_factory.mktemp("planted"), np.random.default_rng(17)
    vectors = generator.standard_normal((5000, WIDTH))
    copies = generator.permutation(5000)[:300].reshape(2, 150)
    vectors[copies[1]] = vectors[copies[0]] + 0.2 * generator.standard_normal((150, WIDTH))
    stored = vectors.astype(np.float16)
    write_shard(folder / "first", 0, stored[:4000])
    write_shard(folder / "more", 4000, stored[4000:])
    plan = SegmentPlan("ivf_rabitq", lists=16, recall=0.9)
    build_segments(folder / "index", list_shards(folder / "first", WIDTH), make_wide_manifest(), plan)
    add_segment(folder / "index", list_shards(folder / "more", WIDTH), make_wide_manifest())
    remove_rows(folder / "index", [str(copies[0, 0])])
    return folder / "index", stored.astype(np.float32), int(copies[0, 0])


def test_it_finds_the_pairs_that_comparing_all_finds(planted, tmp_path):
    folder, vectors, removed = planted
    said = write_near_pairs(Index.load(folder), tmp_path / "pairs.parquet", least_cosine=COSINE, neighbours=NEIGHBOURS)
    every = np.triu(compute_cosines(vectors, vectors), 1)
    expected = [(one, other) for one, other in np.argwhere(every >= COSINE).tolist() if removed not in (one, other)]
    table = pd.read_parquet(tmp_path / "pairs.parquet")
    found = [(int(one), int(other)) for one, other in zip(table["picture_id"], table["other_id"], strict=True)]
    assert found == sorted(set(found))
    assert set(found) <= set(expected)
    assert len(found) >= 0.98 * len(expected) > 100
    np.testing.assert_allclose(table["cosine"], [every[pair] for pair in found], atol=1e-3)
    assert said == {"pairs": len(found), "full": 0}


def test_more_near_duplicates_than_neighbours_are_counted_and_no_file_of_yours_is_replaced(planted, tmp_path):
    folder, _, _ = planted
    index, to = Index.load(folder), tmp_path / "pairs.parquet"
    index.list_rows = lambda: range(300)
    assert write_near_pairs(index, to, least_cosine=COSINE, neighbours=1)["full"] > 3
    to.write_text("mine")
    with pytest.raises(InputInvalid, match=r"pairs\.parquet"):
        write_near_pairs(index, to, least_cosine=COSINE, neighbours=1)
    assert to.read_text() == "mine"
