"""The released weights from the hub to an answer: fetched from a loopback hub, then used by every command without it.

The models have the real classes, names and files at tiny sizes (worlds/released.py); the hub is gone once they are
fetched.
"""

import json
import shutil
from pathlib import Path

import httpx
import mlflow
import numpy as np
import pytest
import torch
import yaml
from factories import draw_patches, encode_picture
from transformers import AutoImageProcessor, CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection
from worlds.command import run_command
from worlds.field import FIELDS
from worlds.hub import LoopbackHub
from worlds.released import (
    EMBEDDING_DIM,
    PICTURES,
    TEXTS,
    TOKEN_DIM,
    WEIGHTS_ID,
    put_on_hub,
    use_home,
    write_hub_folders,
)

from compodiff import Searcher
from compodiff.encoders import EncoderManifest, load_encoder
from compodiff.errors import EncoderMismatch, IndexMismatch, InputInvalid, ResourceUnavailable
from compodiff.model.checkpoint import load_model
from compodiff.params import load_params
from compodiff.released.model_folder import DIALS
from compodiff.speed.serving import run_server
from compodiff.stages.assemble_benchmark import assemble_benchmark
from compodiff.tracking.registry import CHAMPION
from compodiff.tracking.signature import make_input_example
from compodiff.tracking.store import open_store
from compodiff.tracking.version_files import find_model_folder

NAME = "compodiff-aesthetic"
PARAMS = Path(__file__).parents[2] / "params.yaml"

pytestmark = pytest.mark.filterwarnings("ignore:Operation with range:DeprecationWarning")  # MLflow's use of pandas


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The files of each model as the hub has them, by hub id."""
    return dict(write_hub_folders(tmp_path_factory.mktemp("hub")))


@pytest.fixture(scope="module")
def fetched(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A home with all that `get` brings, and what it said; nothing serves the hub any more."""
    home = tmp_path_factory.mktemp("home")
    with LoopbackHub() as hub, pytest.MonkeyPatch.context() as patched:
        put_on_hub(hub, folders)
        use_home(home, patched, hub)
        said = run_command("get", NAME).output
    return home, said


@pytest.fixture
def home(fetched: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    use_home(fetched[0], monkeypatch)
    (tmp_path / "project").mkdir()
    shutil.copy(PARAMS, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return fetched[0]


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    folder.mkdir()
    for seed in range(6):
        draw_patches(seed).save(folder / f"{seed}.png")
    return folder


def test_get_shows_each_model_fetches_all_and_makes_one_that_commands_take(fetched: tuple[Path, str]) -> None:
    home, said = fetched
    for hub_id in (PICTURES, TEXTS, WEIGHTS_ID):
        assert hub_id in said
    assert said.count("licence: apache-2.0") == 1
    assert f"use it by: --model {NAME}" in " ".join(said.split())
    model = home / "models" / NAME
    assert {path.name for path in model.iterdir()} == {".compodiff.json", "composed", "encoder", "sampling.json"}
    assert not [path for path in model.rglob("*") if path.suffix in (".bin", ".pt", ".pkl")]
    # Of the encoder only its manifest: its weights stay in the hub's cache.
    assert {path.name for path in (model / "encoder").iterdir()} == {".compodiff.json", "manifest.json"}
    _, card = load_model(model / "composed")
    assert (card.denoiser.embedding_dim, card.denoiser.token_dims) == (EMBEDDING_DIM, (TOKEN_DIM,))
    assert card.encoder is not None
    manifest = EncoderManifest.from_json(card.encoder)
    (text,) = manifest.texts
    assert (manifest.picture.hub_id, text.hub_id) == (PICTURES, TEXTS)
    assert (text.padding, text.context_length, text.layer, manifest.joint) == ("attended", 77, -1, None)
    assert json.loads((model / "sampling.json").read_text()) == DIALS.model_dump()


def test_pictures_and_texts_are_seen_as_the_released_code_sees_them(home: Path, folders: dict[str, Path]) -> None:
    encoder = load_encoder(home / "models" / NAME / "encoder")
    pictures = [draw_patches(seed) for seed in range(3)]
    vision = CLIPVisionModelWithProjection.from_pretrained(folders[PICTURES])
    processor = AutoImageProcessor.from_pretrained(folders[PICTURES], backend="pil")  # as it was in their time
    words = CLIPTextModel.from_pretrained(folders[TEXTS])
    texts = ["", "at night", "a cat " * 60]
    inputs = CLIPTokenizer.from_pretrained(folders[TEXTS])(
        texts, return_tensors="pt", padding="max_length", truncation=True, max_length=77
    )
    with torch.inference_mode():
        embeddings = vision(**processor(pictures, return_tensors="pt")).image_embeds
        states = words(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state
    encoding = encoder.encode_texts(texts)
    torch.testing.assert_close(encoder.encode_images(pictures), embeddings, atol=1e-5, rtol=0)
    torch.testing.assert_close(encoding.states[0].tokens, states, atol=1e-5, rtol=0)
    assert encoding.states[0].mask.all()
    assert encoding.pooled is None


def test_a_folder_of_pictures_is_indexed_and_searched(home: Path, album: Path) -> None:
    assert "6 pictures" in run_command("index", "build", album, "--model", NAME).output
    asked = ("--index", album, "--model", NAME, "--json")
    told = json.loads(run_command("search", "--reference", album / "0.png", "--text", "at night", *asked).stdout)
    assert sorted(hit["picture_id"] for hit in told["results"]) == [f"{seed}.png" for seed in range(1, 6)]
    assert (told["query"]["w_image"], told["query"]["w_text"], told["query"]["steps"]) == (1.5, 7.5, 10)
    assert (told["query"]["draws"], told["query"]["mixing"]) == (2, 0.1)
    by_text = json.loads(run_command("search", "--text", "at night", *asked).stdout)
    assert len(by_text["results"]) == 6
    searcher = Searcher.load(NAME, index=album)
    ranking = searcher.search(album / "0.png", "at night")
    assert [hit.picture_id for hit in ranking] == [hit["picture_id"] for hit in told["results"]]
    assert [hit.picture_id for hit in searcher.search(text="at night")] == [
        hit["picture_id"] for hit in by_text["results"]
    ]
    negative = searcher.search(album / "0.png", "at night", negative="day")
    assert [hit.score for hit in negative] != [hit.score for hit in ranking]


def test_what_needs_a_texts_own_embedding_says_that_there_is_none(home: Path, album: Path) -> None:
    run_command("index", "build", album, "--model", NAME)
    searcher = Searcher.load(NAME, index=album)
    for asked in ({"mode": "text"}, {"reference": album / "0.png", "subtract": "a cartoon"}):
        with pytest.raises(InputInvalid, match="shares the pictures' space") as refused:
            searcher.search(text="at night", **asked)
        assert "\n" not in str(refused.value)


def test_it_is_served(home: Path, album: Path, tmp_path: Path) -> None:
    run_command("index", "build", album, "--model", NAME)
    with run_server(tmp_path / "project", ["--model", NAME, "--index", str(album)]) as (address, _):
        reference = {"reference": ("a.png", encode_picture(draw_patches(0)), "image/png")}
        answer = httpx.post(f"{address}/search", data={"text": "at night"}, files=reference, timeout=60)
        assert answer.status_code == 200, answer.text
        found = [hit["picture_id"] for hit in answer.json()["results"]]
        refused = httpx.post(f"{address}/search", data={"text": "at night", "mode": "text"}, timeout=60)
    ranking = Searcher.load(NAME, index=album).search(album / "0.png", "at night")
    assert found == [hit.picture_id for hit in ranking]
    assert refused.status_code == 422
    assert "shares the pictures' space" in refused.text


@pytest.mark.parametrize("field", [FIELDS[0], FIELDS[5]], ids=str)
def test_a_benchmark_in_its_real_layout_is_run(home: Path, tmp_path: Path, field: object) -> None:
    field.make(tmp_path / "root")
    output = run_command("benchmark", "run", field.name, "--root", tmp_path / "root", "--model", NAME, "--no-track",
                 "--steps", 2, "--json", "out.json").output  # fmt: skip
    result = json.loads(Path("out.json").read_text())
    assert "3 queries" in output
    assert result["rows"].keys() == {"image_only", "composed"}  # texts alone have no embedding to rank by
    assert result["record"]["sampling"]["grid"] == "legacy"
    expected = {metric: result["rows"]["image_only"]["metrics"][metric] for metric in field.expected}
    assert expected == field.expected


def test_it_is_registered_promoted_and_searched_as_champion(
    home: Path, tmp_path: Path, small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    params = yaml.safe_load(PARAMS.read_text()) | {"promotion": {"behaviour": None}}
    params["benchmarks"]["scenes"]["gate"] = None
    params["benchmarks"]["emoji"]["gate"] |= {"floor": 0.0}
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    gallery = project / "artifacts" / "benchmarks" / "emoji"
    emoji = load_params(project / "params.yaml").benchmarks["emoji"]
    assemble_benchmark(name="emoji", params=emoji, reads=small_data, folder=gallery)
    run_command(
        "benchmark", "run", "triplets", "--root", gallery, "--model", NAME, "--no-track", "--json", "emoji.json"
    )
    assert "version 1 is challenger" in run_command("register", NAME, "--result", "emoji=emoji.json").output
    assert "version 1 is champion now" in run_command("promote").output
    parts = find_model_folder(project, CHAMPION)
    assert {path.name for path in parts.iterdir()} == {"chain.json", "composed", "encoder", "index", "sampling.json"}
    found = run_command("search", "--reference", "🔴", "--text", "make it blue", "--json").stdout
    assert len(json.loads(found)["results"]) == 10
    monkeypatch.setenv("MLFLOW_TRACKING_URI", open_store(project).uri)
    model = mlflow.pyfunc.load_model("models:/compodiff@champion")
    assert np.shape(model.predict(make_input_example())) == (1, EMBEDDING_DIM)


def test_parts_that_are_not_fetched_are_named_with_the_command(
    home: Path, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(home / "models", tmp_path / "other" / "models")
    use_home(tmp_path / "other", monkeypatch)
    with pytest.raises(ResourceUnavailable, match=f"{PICTURES} is not on this machine; run: compodiff get {PICTURES}$"):
        run_command("index", "build", album, "--model", NAME)


def test_a_half_fetched_part_is_named_with_the_command(
    home: Path, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(home, tmp_path / "other", symlinks=True)
    use_home(tmp_path / "other", monkeypatch)
    (weights,) = (tmp_path / "other").glob("hf/hub/models--laion*/snapshots/*/model.safetensors")
    content = weights.read_bytes()
    weights.unlink()
    for half in (content[: len(content) // 2], None):
        if half is not None:
            weights.write_bytes(half)
        else:
            weights.unlink()
        with pytest.raises(ResourceUnavailable, match=f"{TEXTS} is not whole .*run: compodiff get {TEXTS}$"):
            run_command("index", "build", album, "--model", NAME)


def test_an_index_of_other_parts_is_refused(home: Path, album: Path, search_project: Path) -> None:
    run_command("index", "build", album, "--model", search_project / "artifacts")
    with pytest.raises(IndexMismatch, match="run: compodiff index build"):
        Searcher.load(NAME, index=album)


def test_a_model_of_other_parts_is_refused(home: Path, album: Path, tmp_path: Path) -> None:
    run_command("index", "build", album, "--model", NAME)
    other = shutil.copytree(home / "models" / NAME, tmp_path / "mixed")
    card = json.loads((other / "composed" / "config.json").read_text())
    card["encoder"]["texts"][0]["padding"] = "dropped"
    (other / "composed" / "config.json").write_text(json.dumps(card))
    with pytest.raises(EncoderMismatch, match="padding"):
        Searcher.load(str(other), index=album)
