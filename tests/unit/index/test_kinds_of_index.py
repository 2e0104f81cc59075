"""The kind of an index of vectors: chosen by number, width and memory, said, kept, and refused where it changes."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from factories import make_index_params
from typer.testing import CliRunner
from worlds.shards import WIDTH, make_wide_manifest, write_vectors

from compodiff.cli.index import app
from compodiff.errors import InputInvalid
from compodiff.index.index import Index
from compodiff.index.manifest import read_manifest
from compodiff.index.segments import making
from compodiff.index.segments.building import SegmentPlan
from compodiff.index.segments.choosing import choose_kind
from compodiff.index.segments.making import VectorsToIndex, index_vectors
from compodiff.machine import Memory

GB = 10**9
PARAMS = make_index_params(flat_up_to=1000)


@pytest.mark.parametrize(
    ("count", "width", "memory", "kind", "reason"),
    [
        (200_000, 512, 24 * GB, "flat", "are at most index.flat_up_to (200,000), and 0.819 GB for them at most"),
        (
            200_000,
            512,
            3 * GB,
            "ivf_rabitq",
            "0.819 GB for 200,000 vectors are more than a quarter of",
        ),
        (
            200_001,
            64,
            24 * GB,
            "ivf_sq8",
            "are more than index.flat_up_to (200,000); at width 64, codes",
        ),
        (10**7, 64, 24 * GB, "ivf_sq8", "and their 0.72 GB are at most a quarter of the memory, 6 GB"),
        (
            10**7,
            64,
            2 * GB,
            "ivf_rabitq",
            "codes of 8 bits would take 0.72 GB, more than a quarter of",
        ),
        (10**7, 127, 24 * GB, "ivf_sq8", "at width 127, codes of 8 bits find more"),
        (10**7, 128, 24 * GB, "ivf_rabitq", "at width 128, one bit a dimension and exact scores find enough"),
    ],
)
def test_rows_width_and_memory_decide_and_are_said(count, width, memory, kind, reason):
    chosen, said = choose_kind(count, width, flat_up_to=200_000, memory=memory)
    assert chosen == kind
    assert reason in said


def _index(tmp_path, memory, monkeypatch, *, source=0, adds=False, kind="auto", params=PARAMS):
    monkeypatch.setattr(making, "read_memory", lambda: Memory(memory, memory))
    write_vectors(tmp_path / str(source), source)
    plan = SegmentPlan(kind, lists=4, pictures_root=str(tmp_path))
    return index_vectors(
        tmp_path / "index", VectorsToIndex(tmp_path / str(source), make_wide_manifest(), plan, adds), params
    )


def test_what_was_chosen_stays_while_the_index_grows_and_is_chosen_again_when_it_is_built_again(tmp_path, monkeypatch):
    params = make_index_params(flat_up_to=10)
    made = _index(tmp_path, GB, monkeypatch, params=params)
    assert (made.kind, "codes of 8 bits find more" in made.chosen) == ("ivf_sq8", True)
    grown = _index(tmp_path, 4 * WIDTH, monkeypatch, source=1, adds=True, params=params)
    assert (grown.kind, grown.chosen, len(grown.segments.parts)) == ("ivf_sq8", made.chosen, 2)
    with pytest.raises(InputInvalid, match="is ivf_sq8 and stays so as it grows; leave --kind out"):
        _index(tmp_path, GB, monkeypatch, source=2, adds=True, kind="ivf_rabitq", params=params)
    again = _index(tmp_path, 4 * WIDTH, monkeypatch, params=params)
    assert (again.kind, "8 bits would take" in again.chosen) == ("ivf_rabitq", True)
    assert read_manifest(tmp_path / "index") == again


def test_a_flat_index_that_was_chosen_may_become_another_and_one_that_was_named_stays(tmp_path, monkeypatch):
    params = make_index_params(flat_up_to=400)
    made = _index(tmp_path, GB, monkeypatch, params=params)
    assert (made.kind, "300 vectors are at most index.flat_up_to (400)" in made.chosen) == ("flat", True)
    assert _index(tmp_path, GB, monkeypatch, source=1, adds=True, params=params).kind == "ivf_sq8"
    named = _index(tmp_path, GB, monkeypatch, kind="flat", params=params)
    assert (named.kind, named.chosen) == ("flat", "named by --kind")
    assert _index(tmp_path, GB, monkeypatch, source=1, adds=True, params=params).kind == "flat"
    assert Index.load(tmp_path / "index").manifest.count == 600


def test_too_little_memory_makes_no_flat_index_of_few_vectors(tmp_path, monkeypatch):
    assert _index(tmp_path, 300 * WIDTH * 8 * 4 - 1, monkeypatch).kind == "ivf_sq8"
    assert _index(tmp_path, 300 * WIDTH * 8 * 4, monkeypatch).kind == "flat"


def test_an_index_of_an_earlier_version_says_no_reason_and_opens(tmp_path, monkeypatch):
    made = _index(tmp_path, GB, monkeypatch)
    assert "chosen" not in replace(made, chosen="").to_json()
    rows, _ = Index.load(tmp_path / "index").search(np.eye(3, WIDTH, dtype=np.float32), 2)
    assert rows.shape == (3, 2)


def test_the_commands_say_what_was_chosen_and_why(tmp_path, monkeypatch):
    loaded = SimpleNamespace(encoder=tmp_path, manifest=make_wide_manifest(), to_json=dict)
    for name in ("cli.index.choose_model", "cli.index.find_model_parts", "encoders.load_encoder"):
        monkeypatch.setattr(f"compodiff.{name}", lambda *_: loaded)
    write_vectors(tmp_path / "0", 0)
    shell, out = CliRunner(), str(tmp_path / "index")
    built = shell.invoke(app, ["from-embeddings", str(tmp_path / "0"), "--out", out])
    assert built.exit_code == 0, built.output
    assert f"300 pictures in {out}, flat: 300 vectors are at most index.flat_up_to (200,000), and" in built.output
    _index(tmp_path, GB, monkeypatch, params=make_index_params(flat_up_to=10))
    told = shell.invoke(app, ["status", out]).output
    assert "ivf_sq8: 300 vectors are more than index.flat_up_to (10); at width 64, codes of 8 bits find more" in told
