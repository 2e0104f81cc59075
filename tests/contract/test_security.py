"""What is read from outside stays data: nothing is unpickled, no name leads out of its folder, no secret is kept."""

import ast
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest
from factories import encode_picture
from hypothesis import given
from hypothesis import strategies as st

from compodiff.benchmarks.datasets.annotations import shorten_to_number
from compodiff.benchmarks.datasets.loading import BenchmarkChoices, load_benchmark
from compodiff.benchmarks.datasets.pictures import FilePictures, GalleryFolder
from compodiff.catalogue.pictures import Catalogue
from compodiff.errors import IndexMismatch, InputInvalid
from compodiff.images import PictureTable
from compodiff.index.manifest import read_manifest
from compodiff.storage.names import is_inside, resolve_inside

ROOT = Path(__file__).parents[2]
FILES = sorted((*ROOT.glob("src/**/*.py"), *ROOT.glob("flows/**/*.py"), *ROOT.glob("infra/**/*.py")))
ESCAPES = ("../secret.png", "/etc/passwd", "a/../../secret.png", "..\\secret.png", "C:\\secret.png", "a\0b")

# What runs code that is in the file it reads, or follows names in it, unless told not to.
_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
_CALLS = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}
_READS_A_HEADER = "propagate.extract"  # of OpenTelemetry: a trace's id
_NEVER = {"yaml.load", "yaml.full_load", "yaml.unsafe_load", "eval", "exec", "os.system", "pd.read_pickle"}


def unsafe(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        names = (
            {each.name for each in getattr(node, "names", [])}
            if isinstance(node, ast.Import | ast.ImportFrom)
            else set()
        )
        modules = names if isinstance(node, ast.Import) else {getattr(node, "module", None) or ""}
        # The error of one may be named, to say in our words that a file is not weights.
        if names - {"UnpicklingError"} and {module.split(".")[0] for module in modules} & _MODULES:
            yield f"{node.lineno}: imports a pickler"
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        given_to = {each.arg: ast.unparse(each.value) for each in node.keywords}
        unpacks = called.endswith((".extractall", ".extract", ".unpack_archive")) and called != _READS_A_HEADER
        if called in _NEVER or unpacks:
            yield f"{node.lineno}: calls {called}"
        if called in _CALLS and given_to.get(_CALLS[called][0]) != str(_CALLS[called][1]):
            yield f"{node.lineno}: {called} without {'='.join(map(str, _CALLS[called]))}"
        if given_to.get("trust_remote_code", "False") != "False" or given_to.get("shell", "False") != "False":
            yield f"{node.lineno}: {called} runs what it is given"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_that_is_read_can_run_code(path: Path) -> None:
    assert list(unsafe(ast.parse(path.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from pickle import loads", "torch.load(p)", "torch.load(p, weights_only=False)", "np.load(p)",
        "yaml.load(t)", "tar.extractall(d)", "f(trust_remote_code=True)", "run(c, shell=True)",
    ],
)  # fmt: skip
def test_the_search_for_it_finds_it(code: str) -> None:
    assert len(list(unsafe(ast.parse(code)))) == 1


def test_mlflow_loads_our_model_from_code_and_safetensors() -> None:
    """`mlflow.pyfunc.load_model` runs the file that was logged, which is mlflow_model.py and unpickles nothing."""
    code = (ROOT / "src/compodiff/serving/mlflow_model.py").read_text(encoding="utf-8")
    assert "set_model(ComposedModel())" in code
    loading = [
        node
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("pyfunc.load_model", "pytorch.load_model"))
    ]
    assert loading == [], "ours reads the parts of a version itself"


@pytest.mark.parametrize("name", ESCAPES)
def test_a_name_that_leads_out_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputInvalid, match="leads out of"):
        resolve_inside(tmp_path, name)


@given(st.lists(st.text(st.characters(blacklist_characters="/\\\0:", blacklist_categories=["Cs"]), min_size=1)))
def test_a_name_that_does_not_lead_out_is_taken_and_stays_in(parts: list[str]) -> None:
    name = "/".join(parts)
    if ".." in parts:
        assert not is_inside(name)
    elif name:
        assert resolve_inside(Path("/root"), name).is_relative_to("/root")


def test_the_catalogue_reads_no_tar_outside_its_folder(small_data: Path, tmp_path: Path) -> None:
    data = shutil.copytree(small_data, tmp_path / "data")
    (tmp_path / "data" / "pictures" / "openmoji.tar").rename(tmp_path / "secret.tar")
    table = pd.read_parquet(data / "pictures.parquet")
    for shard in ("../secret.tar", str(tmp_path / "secret.tar")):
        table.assign(shard=shard).to_parquet(data / "pictures.parquet")
        with pytest.raises(InputInvalid, match="leads out of"):
            Catalogue.load(data).read(table["picture_id"][0])


@pytest.mark.parametrize("name", ["../secret.png", "{absolute}"])
def test_an_index_reads_no_picture_outside_its_root(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(encode_picture())
    row = {"picture_id": "a", "name": "a", "path": name.format(absolute=tmp_path / "secret.png"), "offset": 0,
           "length": 99, "sha256": ""}  # fmt: skip
    (tmp_path / "root").mkdir()
    with pytest.raises(InputInvalid, match="lies outside"):
        PictureTable(tmp_path / "root", pd.DataFrame([row])).read_bytes("a")


def test_a_manifest_of_files_elsewhere_is_damaged(search_project: Path, tmp_path: Path) -> None:
    index = shutil.copytree(search_project / "artifacts" / "index", tmp_path / "index")
    manifest = json.loads((index / "manifest.json").read_text())
    manifest["files"]["../../../etc/passwd"] = {"bytes": 1, "sha256": ""}
    (index / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(IndexMismatch, match="leads out of it"):
        read_manifest(index)


def test_a_benchmark_reads_no_picture_that_its_annotations_place_elsewhere(tmp_path: Path) -> None:
    root = tmp_path / "cirr"
    (root / "captions").mkdir(parents=True)
    (root / "image_splits").mkdir()
    (tmp_path / "secret.png").write_bytes(encode_picture())
    query = {"pairid": 1, "reference": "up", "caption": "in red", "target_hard": "absolute", "img_set": {"members": []}}
    (root / "captions" / "cap.rc2.val.json").write_text(json.dumps([query]))
    places = {"up": "../secret.png", "absolute": str(tmp_path / "secret.png"), "../secret": "./nowhere.png"}
    (root / "image_splits" / "split.rc2.val.json").write_text(json.dumps(places))
    (benchmark,) = load_benchmark("cirr", root, "val", BenchmarkChoices())
    for name in places:
        assert not benchmark.pictures.has(name)
        with pytest.raises(InputInvalid, match="is not there"):
            benchmark.pictures.read(name)
    loose = FilePictures(lambda name: [tmp_path / "gallery" / f"{name}.png"])
    assert not loose.has("../secret")
    assert shorten_to_number("../12") == "12"


def test_links_and_odd_names_in_a_tar_give_no_file_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(encode_picture())
    gallery = tmp_path / "gallery"
    gallery.mkdir()
    with tarfile.open(gallery / "pictures.tar", "w") as tar:
        for name, kind in (("soft.png", tarfile.SYMTYPE), ("hard.png", tarfile.LNKTYPE)):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, str(tmp_path / "secret.png")
            tar.addfile(link)
        entry = tarfile.TarInfo("../up.png")
        entry.size = len(encode_picture())
        tar.addfile(entry, BytesIO(encode_picture()))
    found = GalleryFolder.scan(gallery)
    assert found.ids == ("../up",)  # an id and no path: read by its offset, never written
    assert found.read("../up").size == (16, 16)
    assert not (tmp_path / "up.png").exists()


SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "s3-a6e1c0de",
    "PREFECT_API_AUTH_STRING": "admin:prefect-5ec3e7",
    "COMPODIFF_TOKEN": "token-f00dbabe",
    "MLFLOW_TRACKING_PASSWORD": "mlflow-c0ffee",
}
PROGRAM = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/tests"]
import flows
from prefect import flow, get_run_logger
from compodiff.tracking.runs import record_training
from flows.processes.dvc import run_followed
from worlds import training as training_world

@flow
def logged() -> None:
    run_followed([sys.executable, "-c", "print('a stage')"], get_run_logger().info, limit_seconds=60)

project = Path.cwd()
training_world.write_embeddings(project / "embeddings")
with record_training("train_prior", {"steps": 3}, project) as run:
    training_world.train_in(project, "prior", {"steps": 3}, run.log_metrics)
    run.log_artifact(project / "prior")
logged()
"""


def test_secrets_of_the_environment_are_kept_nowhere(tmp_path: Path) -> None:
    """After a training, a stage and a flow: not in MLflow's store, Prefect's, logs or artifacts."""
    (tmp_path / "params.yaml").write_text("data: {}\n")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(ROOT)], cwd=tmp_path, env={**env, **SECRETS, "OMP_NUM_THREADS": "1"},
        capture_output=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr.decode()[-2000:]
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"mlflow.db", "prefect.db", "model.safetensors"} <= {path.name for path in written}
    for secret in SECRETS.values():
        told = secret.rpartition(":")[2].encode()
        assert told not in ran.stdout + ran.stderr
        assert [path for path in written if told in path.read_bytes()] == []
