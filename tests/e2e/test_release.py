"""The released wheel: built, installed, and asked its first question from a folder of no project, with an empty home."""

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

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
FIRST_ANSWER = 60  # seconds, on two cores; here other work may share them
PYTHON = {"PYTHONPATH": f"{ROOT / 'src'}"}


@pytest.fixture(scope="module")
def wheel(search_project, tmp_path_factory):
    work = tmp_path_factory.mktemp("release")
    for name in ("params.yaml", "artifacts"):
        (work / name).symlink_to(search_project / name)
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
def run(programs, home):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "PYTHON", "COMPODIFF"))}

    def start(*arguments, **more):
        command = [programs / "compodiff", *map(str, arguments)]
        return subprocess.Popen(
            command, cwd="/", env={**clean, "HOME": str(home)}, stdout=subprocess.PIPE, text=True, **more
        )

    return start


def test_the_wheel_carries_a_model_but_neither_towers_nor_pictures(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {info.filename: info.file_size for info in archive.infolist()}
    assert {"compodiff/bundled/model/model.json", "compodiff/bundled/model/trained.safetensors"} <= names.keys()
    assert not [name for name in names if name.endswith((".png", ".faiss", ".npy", ".pth"))]
    sums = next(wheel.parent.glob("*.sha256")).read_text()
    assert wheel.name in sums
    assert "torch" in json.loads(next(wheel.parent.glob("*-licences.json")).read_text())


def test_the_first_useful_answer_comes_within_a_minute_and_further_ones_from_any_folder(run, home, tmp_path):
    started = time.monotonic()
    demo = run("demo", "--port", 0, "--json")
    try:
        said = json.loads(demo.stdout.readline())
        searched = run("search", "--text", "circle", "-k", 3, "--json")
        answer = json.loads(searched.communicate(timeout=60)[0])
        assert time.monotonic() - started < FIRST_ANSWER
        assert len(answer["results"]) == 3
        assert all(Path(hit["file"]).is_file() for hit in answer["results"])
        with urllib.request.urlopen(f"{said['address']}/openings") as response:  # noqa: S310
            assert json.loads(response.read())["pictures"]
        album = Path(answer["results"][0]["file"]).parent
        assert run("index", "build", album, "--out", tmp_path / "index").wait(timeout=120) == 0
        status = run("index", "status", album, "--out", tmp_path / "index").communicate(timeout=60)[0]
        assert str(len(list(album.glob("*.png")))) in status
    finally:
        demo.terminate()
        demo.wait(timeout=20)
    assert list((home / ".local" / "share" / "compodiff" / "run").iterdir()) == []
