import json
from collections import Counter
from pathlib import Path

import pytest
from factories import make_emoji_benchmark_params

from compodiff.benchmarks.datasets.pictures import GalleryFolder
from compodiff.catalogue.captions import list_relative_captions
from compodiff.catalogue.emoji_benchmark import SPLITS, draw_queries, read_queries, write_benchmark
from compodiff.catalogue.pictures import Catalogue
from compodiff.errors import InputInvalid

PARAMS = make_emoji_benchmark_params()


@pytest.fixture(scope="module")
def folder(small_catalogue: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark")
    write_benchmark(folder, small_catalogue, PARAMS)
    return folder


def test_the_gallery_holds_each_distinct_picture_once(folder: Path, small_catalogue: Catalogue) -> None:
    gallery = GalleryFolder.scan(folder / "gallery")
    assert list(gallery.ids) == small_catalogue.list_distinct()
    assert gallery.read("twemoji-1F34E").tobytes() == small_catalogue.read("twemoji-1F34E").tobytes()


@pytest.mark.parametrize("split", SPLITS)
def test_queries_stay_in_their_split_and_in_the_gallery(folder: Path, small_catalogue: Catalogue, split: str) -> None:
    queries = read_queries(folder, split)
    distinct = set(small_catalogue.list_distinct())
    concepts = small_catalogue.pictures.query("split == @split")["concept"].unique()
    assert queries
    for query in queries:
        assert {query.reference, *query.targets} <= distinct
        assert query.reference not in query.targets
        assert query.targets
        assert query.concept in concepts
    assert max(Counter(query.group for query in queries).values()) == PARAMS.max_queries_per_relation


def test_each_query_answers_to_a_relation(folder: Path, small_catalogue: Catalogue) -> None:
    known: dict[tuple[str, str, str], set[str]] = {}
    for row in small_catalogue.relations.to_dict("records"):
        reference, target = (small_catalogue.find_canonical(row[end]) for end in ("reference", "target"))
        for caption in list_relative_captions(row["relation"], row["reference_term"], row["target_term"]):
            known.setdefault((row["relation"], reference, caption), set()).add(target)
    for query in read_queries(folder, "test"):
        assert known[query.group, query.reference, query.relative_caption] == set(query.targets)


def test_concepts_take_turns(small_catalogue: Catalogue) -> None:
    everything = draw_queries(small_catalogue, "test", make_emoji_benchmark_params(max_queries_per_relation=10**6))
    concepts = {query.concept for query in everything if query.group == "style"}
    few = draw_queries(small_catalogue, "test", make_emoji_benchmark_params(max_queries_per_relation=len(concepts)))
    assert {query.concept for query in few if query.group == "style"} == concepts


def test_the_seed_decides(folder: Path, small_catalogue: Catalogue) -> None:
    again = draw_queries(small_catalogue, "test", PARAMS)
    other = draw_queries(small_catalogue, "test", make_emoji_benchmark_params(seed=18))
    assert again == read_queries(folder, "test") != other


def test_a_broken_query_file_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(InputInvalid, match="is not there; run: dvc repro"):
        read_queries(tmp_path, "test")
    (tmp_path / "queries.test.jsonl").write_text(json.dumps({"reference": "a"}) + "\n")
    with pytest.raises(InputInvalid, match="damaged"):
        read_queries(tmp_path, "test")
