"""The released wheel: built, installed, and asked for the first time from a folder of no project, in an empty home."""

import hashlib
import json
import os
import subprocess
import sys
import sysconfig
import time
import urllib.request
import zipfile
from pathlib import Path

import pytest
from worlds.installing import write_sbom

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
FIRST_ANSWER = 60  # seconds, on two cores; here other work may share them
PYTHON = {"PYTHONPATH": f"{ROOT / 'src'}"}


@pytest.fixture(scope="module")
def wheel(search_project, tmp_path_factory):
    work = tmp_path_factory.mktemp("release")
    for name in ("params.yaml", "artifacts"):
        (work / name).symlink_to(search_project / name)
    write_sbom(work)
    command = [sys.executable, str(ROOT / "infra" / "release.py"), "artifacts"]
    subprocess.run(command, cwd=work, check=True, env={**os.environ, **PYTHON})
    (built,) = (work / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def programs(wheel, tmp_path_factory):
    """An environment of its own, with what the package depends on taken from the one that runs the tests."""
    environment = tmp_path_factory.mktemp("installed") / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    into = ["--python", environment / "bin" / "python", "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run([sys.executable, "-m", "pip", *into], check=True, env={**os.environ, "PYTHONPATH": ""})
    packages = next(environment.glob("lib/python*/site-packages"))
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return environment / "bin"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def start(programs, home):
    """Start a command in a folder of no project, with an empty home; yields its process."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "PYTHON", "COMPODIFF"))}

    def start(*arguments):
        command = [programs / "compodiff", *map(str, arguments)]
        environment = {**clean, "HOME": str(home)}
        return subprocess.Popen(command, cwd="/", env=environment, stdout=subprocess.PIPE, text=True)

    return start


@pytest.fixture(scope="module")
def run(start):
    """Run a command that ends well, and return what it printed."""

    def run(*arguments):
        with start(*arguments) as process:
            out = process.communicate(timeout=120)[0]
        assert process.returncode == 0
        return out

    return run


def test_the_wheel_carries_a_model_but_neither_towers_nor_pictures(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {info.filename: info.file_size for info in archive.infolist()}
    assert {"compodiff/bundled/model/model.json", "compodiff/bundled/model/trained.safetensors"} <= names.keys()
    assert not [name for name in names if name.endswith((".png", ".faiss", ".npy", ".pth"))]
    sums = next(wheel.parent.glob("*.sha256")).read_text()
    assert wheel.name in sums
    (sbom,) = wheel.parent.glob("*-sbom.json")
    assert f"{hashlib.sha256(sbom.read_bytes()).hexdigest()}  {sbom.name}\n" in sums
    assert "torch" in {each["name"] for each in json.loads(sbom.read_text())["components"]}
    assert "torch" in json.loads(next(wheel.parent.glob("*-licences.json")).read_text())


def test_the_first_useful_answer_comes_within_a_minute_and_further_ones_from_any_folder(start, run, home, tmp_path):
    started = time.monotonic()
    with start("demo", "--port", 0, "--json") as demo:
        try:
            said = json.loads(demo.stdout.readline())
            answer = json.loads(run("search", "--text", "circle", "-k", 3, "--json"))
            seconds = time.monotonic() - started
            assert len(answer["results"]) == 3
            assert all(Path(hit["file"]).is_file() for hit in answer["results"])
            with urllib.request.urlopen(f"{said['address']}/openings") as response:  # noqa: S310
                assert json.loads(response.read())["pictures"]
            album = Path(answer["results"][0]["file"]).parent
            run("index", "build", album, "--out", tmp_path / "index")
            held = len(list(album.glob("*.png")))
            assert run("index", "status", album, "--out", tmp_path / "index").startswith(f"{held} pictures in ")
        finally:
            demo.terminate()
    assert list((home / ".local" / "share" / "compodiff" / "run").iterdir()) == []
    assert seconds < FIRST_ANSWER
