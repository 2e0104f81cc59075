"""`compodiff push`: what others fetch by `get` works, and its card says what was measured, on what, and whose it is."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from worlds.discs import write_discs
from worlds.hub import LoopbackHub
from worlds.key_pairs import make_key_pair

from compodiff import Searcher
from compodiff.errors import InputInvalid
from compodiff.publishing.push import parse_target
from compodiff.sets import open_set
from compodiff.signing.chain import require_intact, sign_folder
from compodiff.signing.keys import SIGNING, TRUSTED
from compodiff.storage.digests import digest_file

Run = Callable[..., tuple[int, str, str]]
LICENCE = ("--licence", "apache-2.0")


@pytest.fixture
def artifacts(search_project: Path, tmp_path: Path) -> Path:
    """The folders of a model, with the figures of its own weights and of others."""
    folder = tmp_path / "artifacts"
    for name in ("composed", "encoder"):
        shutil.copytree(search_project / "artifacts" / name, folder / name)
    shutil.copy(search_project / "artifacts" / "sampling.json", folder)
    write_figures(folder, "emoji", digest_file(folder / "composed" / "model.safetensors"))
    write_figures(folder, "scenes", "0" * 64)
    return folder


def write_figures(artifacts: Path, benchmark: str, digest: str) -> None:
    row = {"recall_at_1": 0.25, "recall_at_10": 0.5, "intervals": {"recall_at_1": [0.2, 0.3]}, "relations": {}}
    record = {"queries": 1500, "gallery": 3900, "split": "test", "weights_digest": {"composed": digest, "prior": "p"}}
    file = artifacts / "metrics" / f"{benchmark}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"image_only": {"recall_at_1": 0.125}, "composed": row, "record": record}))


def files_at(hub: LoopbackHub, hub_id: str, kind: str = "model") -> dict[str, bytes]:
    repository = hub.repositories[kind, hub_id]
    return repository.commits[repository.refs["main"]]


def read_front(card: bytes) -> dict:
    return yaml.safe_load(card.decode().split("---\n")[1])


def test_what_was_pushed_is_fetched_and_searched_with(
    hub: LoopbackHub,
    compodiff: Run,
    artifacts: Path,
    search_project: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    own, public = make_key_pair(tmp_path, "ours")
    monkeypatch.setenv(SIGNING, str(own))
    shutil.copytree(search_project / "artifacts" / "index", artifacts / "index")
    assert sign_folder(artifacts)
    code, out, err = compodiff("push", str(artifacts), "--to", "me/tiny", *LICENCE)
    assert (code, err.count("\n")) == (0, 1)
    assert "scenes.json measures other weights than these and is left out" in err
    assert "others fetch it by: compodiff get me/tiny\n" in out
    files = files_at(hub, "me/tiny")
    assert sorted(set(files) - {".gitattributes"}) == [
        "README.md",
        "chain.json",
        "chain.sig",
        "composed/config.json",
        "composed/model.safetensors",
        "encoder/manifest.json",
        "encoder/model.safetensors",
        "metrics/emoji.json",
        "sampling.json",
    ]
    assert compodiff("search", "--model", "me/tiny", "--text", "x")[2].startswith("compodiff: me/tiny/composed is not")
    code, out, err = compodiff("get", "me/tiny")
    assert (code, err) == (0, "")
    monkeypatch.chdir(search_project)
    index = search_project / "artifacts" / "index"
    asked = [
        Searcher.load(model, index=index).search("twemoji-1F436", "red", k=5) for model in ("artifacts", "me/tiny")
    ]
    assert [hit.picture_id for hit in asked[0]] == [hit.picture_id for hit in asked[1]]
    assert [hit.score for hit in asked[0]] == [hit.score for hit in asked[1]]
    monkeypatch.setenv(TRUSTED, str(public))
    Searcher.load("me/tiny", index=index)  # as signed here
    with (artifacts / "composed" / "config.json").open("a") as file:
        file.write(" ")
    code, _, err = compodiff("push", str(artifacts), "--to", "me/tiny", *LICENCE)
    assert (code, "config.json was changed" in err) == (4, True)


def test_the_card_says_what_was_measured_and_whose_it_is(hub: LoopbackHub, compodiff: Run, artifacts: Path) -> None:
    config = json.loads((artifacts / "composed" / "config.json").read_text())
    config["trained_with"] = {"composed": {"tasks": {"triplet": {"discs": 1.0, "others": 0.0}}, "steps": 3}}
    (artifacts / "composed" / "config.json").write_text(json.dumps(config))
    write_discs(artifacts, 6, licence="by us | CC BY 4.0")
    code, printed, _ = compodiff("push", str(artifacts), "--to", "me/tiny", *LICENCE, "--card")
    assert code == 0
    assert not hub.repositories
    assert compodiff("push", str(artifacts), "--to", "me/tiny", *LICENCE)[0] == 0
    card = files_at(hub, "me/tiny")["README.md"]
    assert printed == card.decode()
    front = read_front(card)
    assert front["license"] == "apache-2.0"
    (result,) = front["model-index"][0]["results"]
    assert result["dataset"] == {"name": "emoji", "type": "emoji", "split": "test"}
    assert result["metrics"] == [{"type": "recall_at_1", "value": 0.25}, {"type": "recall_at_10", "value": 0.5}]
    text = card.decode()
    assert "**emoji**: 1,500 queries, 3,900 pictures, split test." in text
    assert "| composed | 0.250 (0.200 to 0.300) | 0.500 |" in text
    assert "| image_only | 0.125 |  |" in text
    assert f"`{digest_file(artifacts / 'composed' / 'model.safetensors')}`" in text
    assert "| learned from the set discs | by us \\| CC BY 4.0 |" in text
    assert "| learned from the set others | not recorded |" in text
    sampling = json.loads((artifacts / "sampling.json").read_text())
    assert f"| num_inference_steps | {sampling['num_inference_steps']} |" in text


def test_a_second_push_takes_out_what_the_model_has_no_longer(
    hub: LoopbackHub, compodiff: Run, artifacts: Path
) -> None:
    (artifacts / "encoder" / "more.json").write_text("{}")
    assert compodiff("push", str(artifacts), "--to", "me/tiny", *LICENCE)[0] == 0
    (artifacts / "encoder" / "more.json").unlink()
    repository = hub.repositories["model", "me/tiny"]
    repository.commit({**files_at(hub, "me/tiny"), "notes.txt": b"mine"})
    assert compodiff("push", str(artifacts), "--to", "me/tiny", *LICENCE)[0] == 0
    assert "encoder/more.json" not in files_at(hub, "me/tiny")
    assert files_at(hub, "me/tiny")["notes.txt"] == b"mine"


def test_a_signed_model_with_its_dials_in_its_card_arrives_intact(
    hub: LoopbackHub, compodiff: Run, artifacts: Path, tmp_path: Path
) -> None:
    config, dials = artifacts / "composed" / "config.json", artifacts / "sampling.json"
    card = json.loads(config.read_text())
    card["trained_with"]["sampling"] = json.loads(dials.read_text())
    config.write_text(json.dumps(card))
    dials.unlink()
    sign_folder(artifacts)
    assert compodiff("push", str(artifacts), "--to", "me/tiny", *LICENCE)[0] == 0
    for name, content in files_at(hub, "me/tiny").items():
        (arrived := tmp_path / "arrived" / name).parent.mkdir(parents=True, exist_ok=True)
        arrived.write_bytes(content)
    require_intact(tmp_path / "arrived")


def test_models_that_an_encoder_is_made_of_are_fetched_too(hub: LoopbackHub, compodiff: Run) -> None:
    commit = hub.add("org/clip", {"config.json": b"{}", "model.safetensors": b"weights"})
    hub.add("org/clip", {"config.json": b"[]", "model.safetensors": b"weights"})
    part = {"name": "clip", "hub_id": "org/clip", "revision": commit}
    manifest = json.dumps({"picture": part, "texts": [part, {"name": "own", "hub_id": None}], "joint": 0}).encode()
    files = {"composed/config.json": b"{}", "composed/model.safetensors": b"w", "encoder/manifest.json": manifest}
    hub.add("me/joined", files)
    code, out, _ = compodiff("get", "me/joined")
    assert code == 0
    assert f"its encoder needs org/clip at {commit[:12]}" in out.replace("clip@" + commit, "clip")
    assert "its encoder needs" not in compodiff("get", "me/joined")[1]
    hub.add("me/odd", {**files, "encoder/manifest.json": b'{"picture": 3, "texts": []}'})
    code, _, err = compodiff("get", "me/odd")
    assert (code, err.count("\n")) == (1, 1)
    assert "is no manifest of an encoder" in err


def test_a_set_is_published_with_its_pictures_and_imported_by_others(
    hub: LoopbackHub, compodiff: Run, tmp_path: Path
) -> None:
    dataset = write_discs(tmp_path / "artifacts", 12)
    validated = tmp_path / "artifacts" / "validation" / "discs"
    (validated / "result.json").write_text(json.dumps({"set": open_set(dataset).description.digest}))
    command = ("push", str(dataset), "--to", "me/discs", "--licence", "cc0-1.0", "--json")
    command = (*command, "--validated", str(validated))
    code, out, err = compodiff(*command)
    assert code == 0, err
    told = json.loads(out)
    assert told["hub_id"] == "datasets/me/discs"
    files = files_at(hub, "me/discs", "dataset")
    assert set(told["files"]) == set(files) - {".gitattributes"} >= {"README.md", "data/train-00000.tar"}
    assert read_front(files["README.md"])["license"] == ["cc0-1.0"]
    assert compodiff(*command)[0] == 0  # anew, over the first
    code, out, _ = compodiff("get", "datasets/me/discs")
    assert code == 0
    folder = Path(out.splitlines()[-1].partition(" is here: ")[2])
    code, out, err = compodiff(
        "import", str(folder / "data"), "--format", "webdataset", "--to", str(tmp_path / "again")
    )
    assert code == 0, err
    accepted = sum(number % 5 != 0 for number in range(12))
    assert out.startswith(f"{accepted} triplets in ")


@pytest.mark.parametrize(
    ("to", "kind"),
    [
        ("tiny", "model"),
        ("me/tiny@v1", "model"),
        ("datasets/me/tiny", "model"),
        ("clip-l14", "model"),
        ("me", "dataset"),
    ],
)
def test_places_that_nothing_can_be_published_to(to: str, kind: str) -> None:
    with pytest.raises(InputInvalid):
        parse_target(to, kind)


def refuse(run: Run, *arguments: str, code: int) -> str:
    got, out, err = run(*arguments)
    assert (got, out) == (code, "")
    line = err.splitlines()[-1]
    assert line.startswith("compodiff: ")
    return line


def test_what_cannot_be_published_is_one_line(
    hub: LoopbackHub, compodiff: Run, artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push = ("push", str(artifacts), "--to", "me/tiny")
    assert "--licence apache-2.0" in refuse(compodiff, *push, code=1)
    hub.add("me/tiny", {"model.safetensors": b"of somebody"})
    assert "holds 'model.safetensors', which compodiff did not put there" in refuse(compodiff, *push, *LICENCE, code=1)
    del hub.repositories["model", "me/tiny"]
    hub.token = "hf_right"  # noqa: S105
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert "does not know who asks for me/tiny (401); log in" in refuse(compodiff, *push, *LICENCE, code=6)
    hub.token = None
    hub.faults.status = 403
    assert "you have no right to publish me/tiny (403)" in refuse(compodiff, *push, *LICENCE, code=6)
    hub.faults.status = None
    weights = artifacts / "composed" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "is cut short or not safetensors" in refuse(compodiff, *push, *LICENCE, code=4)
    assert "is not there; name a folder" in refuse(compodiff, "push", "nothing", "--to", "me/tiny", *LICENCE, code=1)
    assert not hub.repositories
