"""Frozen towers: compiled, they compute what torch does; remembered, they run once and nothing else changes."""

import logging
import multiprocessing
import os
import platform
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from factories import make_embedded_encoder

from compodiff.encoders import Encoder
from compodiff.encoders import compiled as compiling
from compodiff.encoders.memo import TowerMemo

GRIDS = {"pixels": 4, "stride_4": 2, "stride_16": 3, "head": 1}
TEXTS = ["", "a cat", "a woman judge with dark skin", "with dark skin and in the other style, please"]
ROOT = Path(__file__).parents[3]
HELD_DOWN = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
installed = pytest.mark.skipif(not compiling.is_installed(), reason="OpenVINO is not installed")


def fresh(seed: int = 3) -> Encoder:
    return make_embedded_encoder(seed=seed, grids=GRIDS)


@pytest.fixture(scope="module")
def plain() -> Encoder:
    return fresh()


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randn(5, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().mean())


@installed
def test_compiled_towers_compute_what_torch_does(plain: Encoder, pixels: torch.Tensor) -> None:
    fast = fresh().prepare_for_many()
    assert isinstance(fast.picture.compiled._picture_tower, compiling._Compiled)
    assert isinstance(fast.picture.compiled._text_tower, compiling._Compiled)
    assert relative(fast.encode_pixels(pixels), plain.encode_pixels(pixels)) < 1e-4  # 1.4e-5 measured
    for texts in (TEXTS, TEXTS[:2], TEXTS[2:3]):
        encodings = fast.encode_texts(texts), plain.encode_texts(texts)
        assert relative(*(each.pooled for each in encodings)) < 1e-4
        ours, theirs = (each.states[0] for each in encodings)
        assert torch.equal(ours.mask, theirs.mask)
        assert relative(ours.tokens[ours.mask], theirs.tokens[theirs.mask]) < 1e-4
    # A picture's embedding and a text's states are the same in every batch, to the bit: the memo keeps them.
    assert torch.equal(fast.compute_joined_maps(pixels)[3:4], fast.compute_joined_maps(pixels[3:4]))
    assert torch.equal(fast.encode_pixels(pixels)[3:4], fast.encode_pixels(pixels[3:4]))
    states = fast.run_text_tower(0, TEXTS)
    for place, text in enumerate(TEXTS):
        alone = fast.run_text_tower(0, [text])
        assert torch.equal(alone.pooled[0], states.pooled[place])
        assert torch.equal(alone.tokens[0][alone.mask[0]], states.tokens[place][states.mask[place]])


@installed
def test_a_tower_that_compiles_to_something_else_stays_torch_s(
    plain: Encoder, pixels: torch.Tensor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    call = compiling._Compiled.__call__
    monkeypatch.setattr(compiling._Compiled, "__call__", lambda self, *inputs: 1.01 * call(self, *inputs))
    with caplog.at_level(logging.WARNING):
        assert (
            relative(fresh().prepare_for_many().compute_joined_maps(pixels), plain.compute_joined_maps(pixels)) < 1e-4
        )
    assert "is off by" in caplog.text


@installed
def test_a_tower_that_does_not_compile_stays_torch_s(
    plain: Encoder, pixels: torch.Tensor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import openvino

    monkeypatch.setattr(openvino.Core, "compile_model", lambda *_: (_ for _ in ()).throw(RuntimeError("no such CPU")))
    with caplog.at_level(logging.WARNING):
        assert relative(fresh().prepare_for_many().encode_pixels(pixels), plain.encode_pixels(pixels)) < 1e-4
    assert "torch runs it: no such CPU" in caplog.text


def test_without_the_engine_torch_runs(plain: Encoder, pixels: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compodiff.encoders.encoder.is_installed", lambda: False)
    assert torch.equal(fresh().prepare_for_many().encode_pixels(pixels), plain.encode_pixels(pixels))


def test_what_is_remembered_is_not_run_again_and_is_the_same(
    pixels: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, without = (
        fresh().remember_in(tmp_path / "memo"),
        fresh(),
    )
    maps, made = first.compute_joined_maps(pixels[:3]), first.encode_pixels(pixels)
    texts = first.run_text_tower(0, TEXTS)
    assert torch.equal(maps, without.compute_joined_maps(pixels[:3]))
    torch.testing.assert_close(made, without.encode_pixels(pixels), rtol=0, atol=1e-6)  # of batches of 5 and of 2
    assert torch.equal(texts.pooled, without.run_text_tower(0, TEXTS).pooled)
    later = fresh().remember_in(tmp_path / "memo")
    monkeypatch.setattr(
        later.picture.model.text.transformer, "forward", lambda *_, **__: pytest.fail("the tower ran again")
    )
    monkeypatch.setattr(
        later.picture.model.visual, "compute_joined_maps", lambda *_: pytest.fail("the tower ran again")
    )
    assert torch.equal(later.encode_pixels(pixels.flip(0)), made.flip(0))
    again = later.run_text_tower(0, [*TEXTS[1:3], TEXTS[1]])
    assert torch.equal(again.pooled[0], texts.pooled[1])
    assert again.mask.sum(dim=1).tolist() == texts.mask.sum(dim=1)[[1, 2, 1]].tolist()
    torch.testing.assert_close(again.tokens[1][again.mask[1]], texts.tokens[2][texts.mask[2]], rtol=0, atol=1e-2)


def test_other_weights_remember_nothing_of_these(pixels: torch.Tensor, tmp_path: Path) -> None:
    fresh().remember_in(tmp_path / "memo").encode_pixels(pixels)
    other = fresh(seed=4)
    assert torch.equal(other.remember_in(tmp_path / "memo").encode_pixels(pixels), other.encode_pixels(pixels))
    plain = fresh(seed=4)
    torch.testing.assert_close(other.encode_pixels(pixels), plain.encode_pixels(pixels), rtol=0, atol=1e-6)


def test_a_listed_encoder_is_remembered_with_its_tokens(tiny_encoder: Encoder, tmp_path: Path) -> None:
    remembering = Encoder(tiny_encoder.picture, tiny_encoder.texts, tiny_encoder.manifest).remember_in(tmp_path / "m")
    for _ in "ab":
        encodings = remembering.encode_texts(TEXTS[:3]), tiny_encoder.encode_texts(TEXTS[:3])
        assert torch.equal(*(each.pooled for each in encodings))
        ours, theirs = (each.states[0] for each in encodings)
        assert ours.mask.sum(dim=1).tolist() == theirs.mask.sum(dim=1).tolist()
        torch.testing.assert_close(ours.tokens[ours.mask], theirs.tokens[theirs.mask], rtol=0, atol=1e-2)


def _fill(path: Path, worker: int) -> None:
    memo = TowerMemo(path)
    for number in range(200):
        memo.look_up("owner", [b"%d" % number], lambda _: [b"x" * 5000])
        if worker == 1 and number == 100:
            os._exit(9)  # as kill -9 ends it


def test_processes_share_it_and_a_killed_one_leaves_it_whole(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_fill, args=(tmp_path / "memo", worker)) for worker in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 9]
    contents = [b"%d" % number for number in range(200)]
    known = TowerMemo(tmp_path / "memo").look_up("owner", contents, lambda _: pytest.fail("not all is kept"))
    assert known == [b"x" * 5000] * 200


def test_a_full_one_forgets_the_older_half(tmp_path: Path) -> None:
    memo = TowerMemo(tmp_path / "memo", most_bytes=100_000)
    for number in range(100):
        memo.look_up("owner", [b"%d" % number], lambda _: [b"x" * 5000])
    assert (tmp_path / "memo").stat().st_size < 200_000
    asked: list[int] = []
    memo.look_up("owner", [b"0", b"99"], lambda places: asked.extend(places) or [b"" for _ in places])
    assert asked == [0]


@pytest.mark.parametrize("fault", ["damaged", "locked", "a folder", "below a file"])
def test_one_that_cannot_be_used_costs_a_line_and_time(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("compodiff.encoders.memo.SECONDS_FOR_OTHERS", 0.1)
    path = tmp_path / "memo"
    if fault == "a folder":
        path.mkdir()
    elif fault == "below a file":
        path.write_bytes(b"")
        path = path / "memo"
    elif fault == "damaged":
        path.write_bytes(b"not a database" * 999)
    else:
        TowerMemo(path)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
    with caplog.at_level(logging.WARNING):
        memo = TowerMemo(path)
        for _ in "ab":
            assert memo.look_up("owner", [b"a", b"b"], lambda places: [b"%d" % place for place in places]) == [
                b"0",
                b"1",
            ]
    (line,) = caplog.messages
    assert f"not kept: {path}" in line
    if fault == "locked":
        other.close()


@installed
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="oneDNN holds down x86 only")
@pytest.mark.skipif(HELD_DOWN.items() <= os.environ.items(), reason="this is the run that is held down")
def test_so_do_they_on_a_processor_that_is_held_down() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"{__file__}::{_COMPILED}"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **HELD_DOWN}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:]


_COMPILED = test_compiled_towers_compute_what_torch_does.__name__
