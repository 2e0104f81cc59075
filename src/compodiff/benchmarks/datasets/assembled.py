"""The folder artifacts/benchmarks/NAME: a benchmark as the pipeline knows it, whatever it is made of.

benchmark.json       format, root, the split that is scored, the split that the baselines' dials are chosen on
held_out.npz         digests of the queries' pictures, which training may not see
gallery/, queries.*  where a recipe made them; benchmark.json then names this folder as the root
gallery.parquet      what is known of the gallery's pictures, by picture_id: the columns of an index made of it
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from compodiff.benchmarks.datasets.benchmark import Benchmark
from compodiff.benchmarks.datasets.loading import BenchmarkChoices, load_benchmark
from compodiff.errors import InputInvalid
from compodiff.images.decoding import DIGEST_BYTES, digest_pixels
from compodiff.storage.arrays import open_archive
from compodiff.storage.atomic import write_json
from compodiff.storage.json_files import read_json

DESCRIPTION = "benchmark.json"
HELD_OUT = "held_out.npz"
GALLERY_TABLE = "gallery.parquet"
KIND = "benchmark"


@dataclass(frozen=True)
class Assembled:
    """A benchmark of params.yaml.

    Attributes:
        name: in params.yaml.
        format: of `compodiff benchmark`.
        root: its folder, seen from the assembled one.
        split: that is scored.
        validation: split on which the baselines' dials are chosen; None for fixed ones.
        attribution: whose the pictures are, for reports.
        folder: where this was read.
    """

    name: str
    format: str
    root: str
    split: str
    validation: str | None
    attribution: str = ""
    folder: Path = Path()

    @property
    def home(self) -> Path:
        """Return the folder of its files."""
        return Path(os.path.normpath(self.folder / self.root))

    @property
    def gallery(self) -> Path:
        """Return the folder that its pictures lie below."""
        return self.home / "gallery" if (self.home / "gallery").is_dir() else self.home

    def load(self, split: str) -> list[Benchmark]:
        """Load the parts of a split, under this benchmark's name where it is one's own.

        Raises:
            InputInvalid: there is no such split, or an annotation file is missing or broken.
        """
        return load_benchmark(self.format, self.home, split, BenchmarkChoices())

    def write(self, folder: Path) -> None:
        """Write benchmark.json and the digests of the queries' pictures to `folder`, which holds the files already.

        Raises:
            InputInvalid: a split cannot be loaded.
        """
        here = replace(self, folder=folder)
        chosen = [] if self.validation is None else here.load(self.validation)
        np.savez(folder / HELD_OUT, scored=_digest_named(here.load(self.split)), chosen=_digest_named(chosen))
        content = {name: value for name, value in asdict(self).items() if name != "folder"}
        write_json(folder / DESCRIPTION, content)


def open_assembled(folder: Path) -> Assembled:
    """Read the assembled benchmark in `folder`.

    Raises:
        InputInvalid: there is none, or it is damaged.
    """
    try:
        return Assembled(**read_json(folder / DESCRIPTION), folder=folder)
    except (TypeError, json.JSONDecodeError) as error:
        raise InputInvalid(f"{folder} holds no benchmark ({error}); run: dvc repro") from error


def read_held_out(folders: Sequence[Path]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the digests, (n, 16) and (m, 16), of the pictures that benchmarks score and choose dials on.

    Raises:
        InputInvalid: a folder is no assembled benchmark.
    """
    scored, chosen = [np.empty((0, DIGEST_BYTES), np.uint8)], [np.empty((0, DIGEST_BYTES), np.uint8)]
    for folder in folders:
        with open_archive(folder / HELD_OUT, "run: dvc repro") as arrays:
            scored.append(arrays["scored"])
            chosen.append(arrays["chosen"])
    return np.concatenate(scored), np.concatenate(chosen)


def _digest_named(parts: Sequence[Benchmark]) -> NDArray[np.uint8]:
    """Digest the pictures that queries name as reference or answer; those that are not there are left out."""
    digests: set[bytes] = set()
    for part in parts:
        names = {name for it in part.queries for name in (*it.references, *it.targets, *it.also_relevant)}
        for name in tqdm(sorted(names), f"reading {part.label}", unit=" pictures", disable=None, leave=False):
            if part.pictures.has(name) and not part.pictures.is_broken(name):
                digests.add(digest_pixels(part.pictures.read(name)))
    return np.frombuffer(b"".join(sorted(digests)), np.uint8).reshape(-1, DIGEST_BYTES)
