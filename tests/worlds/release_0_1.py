"""Make a project as release 0.1 left it, by its own code: PYTHONPATH=OLD/src python release_0_1.py OLD FOLDER.

Encoder, model of random weights and index are those of that release's own tests; two versions are registered, the
first is champion, the second was rolled back from. `answers.json` holds what that release found.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image

OLD, ROOT = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
COMPODIFF = [sys.executable, "-m", "compodiff.cli"]
REFERENCE, TEXT = 0, "in blue"


def main() -> None:
    """Make everything; what fails is this script's fault or that of the old code."""
    sys.path[:0] = [str(OLD / "tests"), str(OLD)]
    from conftest import SMALL_CODEPOINTS
    from search_world import make_project

    from compodiff.catalogue.build import build_catalogue
    from compodiff.catalogue.pictures import Catalogue
    from compodiff.params import DataParams

    ROOT.mkdir(parents=True)
    small = DataParams(seed=17, picture_size=64, train_fraction=0.5, validation_fraction=0.25)
    build_catalogue(ROOT / "data", small, codepoints=SMALL_CODEPOINTS)
    make_project(ROOT, ROOT / "data", Catalogue.load(ROOT / "data"))
    decide()
    make_album()
    ask()


def decide() -> None:
    """Register two versions, promote both, go back from the second."""
    from compodiff.params import load_params
    from compodiff.tracking.promotion import promote, rollback
    from compodiff.tracking.registry import Candidate, register_model

    folders = {name: ROOT / "artifacts" / name for name in ("composed", "encoder", "index")}
    params = load_params(ROOT / "params.yaml")
    for recall in (0.8, 0.95):
        interval = [recall - 0.05, recall + 0.05]
        measured = {"composed": {"recall_at_10": recall, "intervals": {"recall_at_10": interval}, "relations": {}}}
        register_model(ROOT, Candidate(folders, {"emoji": measured, "scenes": measured}, []))
        promote(ROOT, params.promotion, min_relation_queries=1)
    rollback(ROOT, "as a test")


def make_album() -> None:
    """Index a folder of pictures."""
    (ROOT / "album").mkdir()
    for name, colour in (("red", "red"), ("blue", "blue"), ("green", "green")):
        Image.new("RGB", (64, 64), colour).save(ROOT / "album" / f"{name}.png")
    run("index", "build", "album", "--model", "artifacts")


def ask() -> None:
    """Note what this release answers."""
    import pandas as pd

    reference = str(pd.read_parquet(ROOT / "artifacts" / "index" / "pictures.parquet")["picture_id"][REFERENCE])
    found = {
        model: json.loads(run("search", "--model", model, "--reference", reference, "--text", TEXT, "--json"))
        for model in ("artifacts", "models:/compodiff@champion")
    }
    (ROOT / "answers.json").write_text(json.dumps({"reference": reference, "text": TEXT, "found": found}))


def run(*words: str) -> str:
    """Run a command of the old shell in the project."""
    done = subprocess.run([*COMPODIFF, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


if __name__ == "__main__":
    shutil.rmtree(ROOT, ignore_errors=True)
    main()
