"""The page "A domain of my own, from nothing", run as it stands by somebody with an installed package.

Its script draws the pictures, its commands are run in the order in which they stand. Only sizes are smaller: few emoji,
a small encoder at 64 pixels, a small network, fewer steps.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from worlds.installed import install_wheel
from worlds.operated import BIN, change_values, environment

from compodiff.params import load_params
from compodiff.sets import Place, open_set
from compodiff.stages.declaration import STAGES, list_keys

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tutorials" / "own-domain.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [line for kind, block in BLOCKS if not kind for line in block.splitlines()]
SMALL: dict[str, Any] = {
    "encoder": {
        "embedded": {"image_size": 64, "components": 48, "steps": 60, "batch_size": 48, "max_variants": 8}
        | {"maps": {"pixels": {"grid": 4, "dimensions": 16}, "stride_8": {"grid": 2, "dimensions": 16}}}
        | {"classes": None, "edits": None}  # which so small an encoder sees where there are none: they would decide
        | {"image_learning_rate": 1e-3, "text_learning_rate": 3e-3, "warmup_steps": 5}
    },
    "denoiser": {"width": 64, "depth": 1, "heads": 2, "cross_heads": 2, "head_width": 32, "mask_size": 4},
    "prior": {"steps": 10, "batch_size": 64, "warmup_steps": 2, "validate_every": 10},
    "composed": {"steps": 300, "batch_size": 64, "validate_every": 300, "checkpoint_every": 300},
    "evaluation": {"bootstrap_draws": 100},
}

Run = Callable[..., str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run a command of the page where a person would be by then; `cd` goes on into a folder."""
    here = tmp_path_factory.mktemp("empty")
    programs = install_wheel(tmp_path_factory.mktemp("installed"))
    settings = environment(here, PYTHONPATH="", PATH=f"{programs}:{BIN}:{os.environ['PATH']}")

    def run_command(command: str, **more: str) -> str:
        nonlocal here
        program, *words = shlex.split(command)
        if program == "cd":
            here = here / words[0]
            return ""
        found = programs / program if (programs / program).exists() else BIN / program
        done = subprocess.run(
            [found, *words], cwd=here, env=settings | more, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    return run_command


@pytest.fixture(scope="module")
def project(run: Run, small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project after the commands of the page."""
    assert COMMANDS[:2] == ["compodiff init shapes", "cd shapes"]
    for command in COMMANDS[:2]:
        run(command)
    root = Path(run('python -c "import os; print(os.getcwd())"').strip())
    (script,) = (block for kind, block in BLOCKS if kind == "python")
    (root / "draw.py").write_text(script)
    params = change_values(yaml.safe_load((root / "params.yaml").read_text()), SMALL)
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    for command in COMMANDS[2:]:
        if command == "compodiff data":  # a few emoji in the place of all of them
            shutil.copytree(small_data, root / "data")
            run("dvc add data")
        else:
            (root / "said.txt").write_text(run(command))
    return root


def test_the_page_goes_from_an_empty_folder_to_a_search() -> None:
    programs = [" ".join(command.split()[:2]) for command in COMMANDS]
    expected = ["compodiff init", "cd shapes", "python draw.py", "compodiff import", "compodiff import"]
    expected += ["compodiff benchmark", "compodiff data", "dvc repro", "compodiff promote", "compodiff search"]
    assert programs == expected


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_model_of_its_own_learns_becomes_champion_and_finds_the_blue_one(project: Path, run: Run) -> None:
    """Measured: recall@10 0.98, of the sum of embeddings 0.48; with two answers at random it would be 0.1."""
    params = load_params(project / "params.yaml")
    stages = {f"{name}@{key}" if key else name for name in STAGES for key in list_keys(name, params) or [""]}
    assert set(yaml.safe_load((project / "dvc.lock").read_text())["stages"]) == {"installed", *stages}
    scores = json.loads((project / "artifacts" / "metrics" / "mine.json").read_text())
    assert scores["composed"]["recall_at_10"] > 0.8
    assert scores["composed"]["recall_at_10"] > scores["sum"]["recall_at_10"] + 0.2

    asked = next(command for command in COMMANDS if command.startswith("compodiff search"))
    answer = json.loads(run(f"{asked} --json"))
    assert answer["query"]["model"] == "models:/compodiff@champion"
    first = answer["results"][0]
    assert first["picture_id"].startswith("blue-disc-")
    assert Path(first["file"]).parent == project / "benchmarks" / "mine" / "gallery"
    assert (project / "answer.html").is_file()

    for name, rows in (("pairs", 384), ("mine", 1152)):
        own = open_set(str(project / "artifacts" / "sets" / name))
        places = [Place.of(row["picture" if name == "pairs" else "target"]) for row in own.iterate_rows()]
        assert len(places) == rows
        found = {Path(os.path.realpath(Path(own.address) / place.file)) for place in places}
        assert all(path.is_file() and path.is_relative_to(project / "pictures") for path in found)
    held = {path.name for path in (project / "artifacts").glob("*/*") if path.parent.name not in ("prior", "composed")}
    assert not {name for name in held if "emoji" in name or "scenes" in name}


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_flow_takes_over_where_the_commands_ended(project: Path, run: Run) -> None:
    said = run("python -m flows.pipeline")
    assert "champion already" in said
    assert " failed" not in said
    assert "make ui" not in said, "there is no Makefile"
    (tried,) = (line.removeprefix("try      ") for line in said.splitlines() if line.startswith("try "))
    assert json.loads(run(f"{tried} --json"))["results"], tried
