"""What several test rooms share: a small catalogue of real pictures with every relation, and a tiny real encoder."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from compodiff.catalogue.pictures import Catalogue
    from compodiff.encoders import Encoder
    from compodiff.language.terms import Tagger
    from compodiff.params import DataParams

_PEOPLE = [
    f"{person}{tone}-200D-{job}"
    for job in ("1F33E", "1F373", "1F393", "1F3A4")
    for person in ("1F9D1", "1F468", "1F469")
    for tone in ("", "-1F3FB", "-1F3FF")
]
_HAIR = [f"{person}-200D-{hair}" for person in ("1F468", "1F469") for hair in ("1F9B0", "1F9B3")]
_COLOURED = ["2764", "1F49A", "1F499", "1F534", "1F7E2", "1F535", "1F7E5", "1F7E9", "1F7E6", "1F34E", "1F34F"]
_DIRECTED = ["2B06", "2B05", "27A1", "1F446", "1F449", "23E9", "23EA", "1F53A", "1F53B"]
_CLOCKS = [f"{0x1F550 + hour:X}" for hour in range(8)]
_FACES = ["1F602", "1F639", "1F622", "1F63F", "1F60D", "1F63B", "1F603", "1F63A"]
_NORWAY_AND_ITS_TWIN = ["1F1F3-1F1F4", "1F1F8-1F1EF"]
_OTHERS = ["1F355", "1F436", "1F697", "1F3E0", "1F1EB-1F1F7", "1F1E9-1F1EA"]

SMALL_CODEPOINTS = frozenset(
    (*_PEOPLE, *_HAIR, *_COLOURED, *_DIRECTED, *_CLOCKS, *_FACES, *_NORWAY_AND_ITS_TWIN, *_OTHERS)
)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a GPU where there is none; COMPODIFF_GPU_TESTS=cpu runs it on the processor all the same."""
    if item.get_closest_marker("gpu") and os.environ.get("COMPODIFF_GPU_TESTS") != "cpu":
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a GPU")


@pytest.fixture(scope="session")
def data_params() -> "DataParams":
    from compodiff.params import DataParams

    return DataParams(seed=17, picture_size=64, train_fraction=0.5, validation_fraction=0.25)


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory, data_params: "DataParams") -> Path:
    """A data/ folder of 168 pictures; read only: a test that damages it copies it first."""
    from compodiff.catalogue.build import build_catalogue

    data = tmp_path_factory.mktemp("project") / "data"
    build_catalogue(data, data_params, codepoints=SMALL_CODEPOINTS)
    return data


@pytest.fixture(scope="session")
def small_catalogue(small_data: Path) -> "Catalogue":
    from compodiff.catalogue.pictures import Catalogue

    return Catalogue.load(small_data)


@pytest.fixture(scope="session")
def search_project(tmp_path_factory: pytest.TempPathFactory, small_data: Path, small_catalogue: "Catalogue") -> Path:
    """A project with an encoder, a model of random weights and an index; read only: copy what is to change."""
    from worlds.search import make_project

    return make_project(tmp_path_factory.mktemp("searching"), small_data, small_catalogue)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KB, which is soon full."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], check=False)
    if mounted.returncode:
        pytest.skip("mounting a small file system takes root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> "Encoder":
    """A CLIP of the real class with random weights; open_clip knows it as `compodiff-tiny`, in this process alone."""
    from worlds.tiny_clip import make_open_clip_encoder

    return make_open_clip_encoder(tmp_path_factory.mktemp("open_clip"))


@pytest.fixture(scope="session")
def encoder_folder(tiny_encoder: "Encoder", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny encoder as a stage reads it; read only."""
    from compodiff.encoders import save_encoder

    folder = tmp_path_factory.mktemp("artifacts") / "encoder"
    save_encoder(tiny_encoder, folder)
    return folder


@pytest.fixture(scope="session")
def tagger() -> "Tagger":
    from compodiff.language.terms import Tagger

    return Tagger()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of an S3 server on loopback that has the bucket `sets`; the environment leads fsspec there."""
    import boto3
    import httpx
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    httpx.post(f"http://{host}:{port}/moto-api/reset")  # of what an earlier server of this process held
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    client = boto3.client("s3")
    client.create_bucket(Bucket="sets")
    s3fs.S3FileSystem.clear_instance_cache()  # which knows other servers
    yield client
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in this process: a spawned one would not know the tiny CLIP, which open_clip was told of here."""
    monkeypatch.setenv("COMPODIFF_WORKERS", "1")


@pytest.fixture(autouse=True)
def outside_any_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the flow that an earlier test of this process ran here: what it names itself in is the environment."""
    monkeypatch.delenv("COMPODIFF_PIPELINE", raising=False)
