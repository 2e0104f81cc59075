"""The chain of a model folder: what a changed byte, an extra file, a missing or a foreign signature come to."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.tree import Tree
from worlds.command import run_command
from worlds.key_pairs import make_key_pair
from worlds.search import places_in

from compodiff import Searcher
from compodiff.errors import CheckpointMismatch, InputInvalid
from compodiff.serving.champion import Champion
from compodiff.signing.chain import CHAIN, SIGNATURE, require_intact, sign_folder, write_registered_chain
from compodiff.signing.keys import SIGNING, TRUSTED
from compodiff.signing.lineage import compute_dvc_digest, trace_lineage
from compodiff.tracking.registry import CHAMPION, MODEL, ModelCandidate, register_model
from compodiff.tracking.store import open_store
from compodiff.tracking.version_files import find_model_folder


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model's files of a few bytes, unsigned."""
    for name in (SIGNING, TRUSTED):
        monkeypatch.delenv(name, raising=False)
    for name in ("composed/model.safetensors", "composed/config.json", "encoder/manifest.json", "index/index.faiss"):
        (tmp_path / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / name).write_bytes(name.encode())
    (tmp_path / "model" / "sampling.json").write_text("{}")
    return tmp_path / "model"


def test_a_signed_folder_is_intact_to_who_trusts_the_key_and_to_nobody_else(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own, public), (_, foreign) = make_key_pair(tmp_path, "ours"), make_key_pair(tmp_path, "theirs")
    monkeypatch.setenv(SIGNING, str(own))
    assert run_command("sign", str(model)).output == f"{model / CHAIN}: signed\n"
    require_intact(model)
    monkeypatch.setenv(TRUSTED, str(public))
    require_intact(model)
    both = tmp_path / "both.pub"
    both.write_bytes(foreign.read_bytes() + public.read_bytes())
    monkeypatch.setenv(TRUSTED, str(both))
    require_intact(model)
    monkeypatch.setenv(TRUSTED, str(foreign))
    with pytest.raises(CheckpointMismatch, match=r"chain\.sig is of none of the keys"):
        require_intact(model)
    (model / SIGNATURE).unlink()
    with pytest.raises(CheckpointMismatch, match=f"is not signed, and {TRUSTED} asks for it; sign it: compodiff sign"):
        require_intact(model)
    (model / CHAIN).unlink()
    with pytest.raises(CheckpointMismatch, match="is not signed"):
        require_intact(model)
    monkeypatch.delenv(TRUSTED)
    require_intact(model)


def test_openssl_confirms_the_signature(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not shutil.which("openssl"):
        pytest.skip("there is no openssl")
    own, public = make_key_pair(tmp_path, "ours")
    monkeypatch.setenv(SIGNING, str(own))
    run_command("sign", str(model))
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin", "-in", model / CHAIN]
    done = subprocess.run([*command, "-sigfile", model / SIGNATURE], capture_output=True, text=True, check=False)
    assert done.stdout == "Signature Verified Successfully\n"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda model: (model / "composed" / "model.safetensors").write_bytes(b"x"), "safetensors was changed: sha"),
        (lambda model: (model / "sampling.json").write_text("{ }"), "sampling.json was changed"),
        (lambda model: (model / "index" / "index.faiss").unlink(), "lacks index/index.faiss by its chain.json; fetch"),
        (lambda model: (model / "encoder" / "more.json").write_text(""), "besides what it should, encoder/more.json"),
        (lambda model: (model / CHAIN).write_text("[]"), "chain.json names no files; sign the folder anew: compodiff"),
        (lambda model: (model / CHAIN).write_text('{"files": {"sampling.json": 9}}'), "chain.json names no files"),
        (lambda model: (model / CHAIN).write_text('{"files": {"a\\nb": "%s"}}' % ("0" * 64)), r"lacks a\\nb by its"),
    ],
)  # fmt: skip
def test_what_was_changed_is_named(model: Path, damage, message: str) -> None:
    assert "written, not signed" in run_command("sign", str(model)).output
    require_intact(model)
    damage(model)
    with pytest.raises(CheckpointMismatch, match=message):
        require_intact(model)


def test_a_model_may_come_without_its_index(model: Path) -> None:
    sign_folder(model)
    shutil.rmtree(model / "index")
    require_intact(model)
    (model / "index").mkdir()
    with pytest.raises(CheckpointMismatch, match=r"lacks index/index\.faiss"):
        require_intact(model)


def test_a_changed_byte_is_found_by_search_and_by_serve(
    search_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(search_project, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    run_command("sign", "artifacts")
    Searcher.load("artifacts")
    weights = Path("artifacts/composed/model.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CheckpointMismatch, match=r"composed/model\.safetensors was changed"):
        Searcher.load("artifacts")
    with pytest.raises(CheckpointMismatch, match=r"composed/model\.safetensors was changed"):
        Champion(lambda: places_in(Path("artifacts").resolve()))


@pytest.mark.filterwarnings("ignore:Operation with range:DeprecationWarning")  # MLflow's use of pandas
def test_a_changed_byte_of_a_registered_version_is_refused_in_one_line(search_project: Path, tmp_path: Path) -> None:
    project = Path(shutil.copytree(search_project, tmp_path / "project"))
    folders = {name: project / "artifacts" / name for name in ("composed", "encoder", "index")}
    register_model(project, ModelCandidate(folders, project / "artifacts" / "sampling.json", {}, []))
    open_store(project).client.set_registered_model_alias(MODEL, CHAMPION, "1")
    weights = find_model_folder(project) / "composed" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    for command in (("search", "--text", "in blue"), ("serve", "--port", "0")):
        program = [sys.executable, "-m", "compodiff.cli", *command, "--model", "models:/compodiff@champion"]
        done = subprocess.run(program, cwd=project, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.count("\n")) == (CheckpointMismatch.exit_code, 1), done.stderr
        assert f"compodiff: {weights} was changed: sha256 " in done.stderr


def test_the_chain_reaches_from_the_model_to_the_data_or_says_where_it_breaks(model: Path, tmp_path: Path) -> None:
    digests = {name: compute_dvc_digest(model / name) for name in ("composed", "encoder")}

    def list_entries(**paths: str) -> list[dict[str, str]]:
        return [{"path": path, "md5": digest} for path, digest in paths.items()]

    stages = {
        "make_set": {"deps": list_entries(data="1.dir"), "outs": list_entries(sets="2.dir")},
        "train": {
            "deps": list_entries(**{"sets": "2.dir", "src/compodiff": "3.dir"}),
            "outs": list_entries(**{f"model/{name}": str(digest) for name, digest in digests.items()}),
        },
        "unrelated": {"deps": [], "outs": list_entries(other="4.dir")},
    }
    parts = {name: model / name for name in digests}

    def trace() -> dict[str, object]:
        (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"stages": stages}))
        write_registered_chain(tmp_path, tmp_path, parts, {"data_digest": "1.dir"})
        return json.loads((tmp_path / CHAIN).read_text())["origin"]

    whole = trace()
    assert (whole["broken"], whole["unrecorded"], sorted(whole["stages"])) == ([], [], ["make_set", "train"])
    assert whole["stages"]["train"]["code"] == {"src/compodiff": "3.dir"}
    assert whole["stages"]["make_set"]["read"]["data"] == whole["data_digest"]
    stages["make_set"]["outs"] = list_entries(sets="5.dir")
    (model / "composed" / "config.json").write_text("another")
    assert trace()["broken"] == [
        "model/composed is not what dvc.lock records",
        "train read another sets than was written last",
    ]


def test_the_chain_passes_over_what_dvc_noted_of_stages_that_were_taken_out(tmp_path: Path) -> None:
    """A set was dropped from params.yaml before the encoder was trained anew; mix reads what lies in embeddings/."""
    (tmp_path / "model").mkdir()
    stages = {
        f"embed@{name}": {
            "deps": [{"path": "encoder", "md5": by}],
            "outs": [{"path": f"embeddings/{name}", "md5": "2"}],
        }
        for name, by in (("kept", "new"), ("dropped", "old"))
    }
    stages["train_encoder"] = {"outs": [{"path": "encoder", "md5": "new"}]}
    stages["mix"] = {"deps": [{"path": "embeddings", "md5": "3"}], "outs": []}
    stages["mix"]["outs"] = [{"path": "model", "md5": str(compute_dvc_digest(tmp_path / "model"))}]
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"stages": stages}))

    def find_broken(*sets: str) -> list[str]:
        (tmp_path / "params.yaml").write_text(yaml.safe_dump({"sets": {name: {} for name in sets}}))
        return trace_lineage(tmp_path, {"model": tmp_path / "model"})["broken"]

    said = ["embed@dropped read another encoder than was written last"]
    assert find_broken("kept") == said, "without a graph every stage counts"
    graph = {"embed": {"foreach": "${sets}", "do": {}}, "train_encoder": {}, "mix": {}}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": graph}))
    assert find_broken("kept") == []
    assert find_broken("kept", "dropped") == said
    for several in ({"foreach": "${nested.sets}", "do": {}}, {"matrix": {"set": ["kept"]}}):
        (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": graph | {"embed": several}}))
        assert find_broken("kept") == said, "of what is not understood every stage counts"


def test_the_digest_of_a_folder_is_that_of_dvc(tmp_path: Path) -> None:
    tree = Tree()
    for name in ("b.txt", "a/c.txt", "a-.txt"):
        (tmp_path / "it" / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / "it" / name).write_text(name)
        digest = hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()
        tree.add(tuple(name.split("/")), None, HashInfo("md5", digest))
    tree.digest()
    assert compute_dvc_digest(tmp_path / "it") == tree.hash_info.value
    assert compute_dvc_digest(tmp_path / "nowhere") is None


@pytest.mark.parametrize("variable", [SIGNING, TRUSTED])
def test_a_key_that_cannot_be_used_is_named(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    for content in (None, b"no key", make_key_pair(tmp_path, "k")[variable == SIGNING].read_bytes()):
        if content is not None:
            (tmp_path / "key").write_bytes(content)
        monkeypatch.setenv(variable, str(tmp_path / "key"))
        with pytest.raises(InputInvalid, match=f"{variable}="):
            run_command("sign", str(model)) if variable == SIGNING else require_intact(model)


def test_a_file_that_is_no_chain_is_not_written_over(tmp_path):
    (tmp_path / CHAIN).write_text('{"links": 3}')
    with pytest.raises(InputInvalid, match="is no chain of compodiff; move it away"):
        sign_folder(tmp_path)
    assert (tmp_path / CHAIN).read_text() == '{"links": 3}'
