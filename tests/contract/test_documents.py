"""What the documents tell people to run exists: commands, options and targets of make."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from pydantic import TypeAdapter
from worlds.documents import DOCUMENTS, FORMS, ROOT, Told, find_fault, find_misuse, told_commands, told_values

from compodiff.cli import app
from compodiff.interchange.formats import FORMATS
from compodiff.params import Params, load_params

TREE: Any = typer.main.get_command(app)
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
TOLD = [told for path in (*DOCUMENTS, *FORMS) for told in told_commands(path, "compodiff")]
REPRODUCTION = ROOT / "docs" / "reproduction.md"
# Pages keep to 120 columns; tables, pictures and code cannot be broken.
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
NARROW = DOCUMENTS
# Pages that tell people what to run; others name commands where they speak of them.
TELLING = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *TUTORIALS]
TELLING.remove(ROOT / "docs" / "architecture.md")
VALUES = [(path, *told) for path in TELLING for told in told_values(path)]
PARTS = ["Status", "Context", "Decision", "Consequences", "Figures"]


@pytest.mark.parametrize("told", TOLD, ids=lambda told: f"{told.where}: {told.command}")
def test_a_command_that_a_document_tells_exists(told: Told) -> None:
    assert not find_fault(told.command, TREE)


@pytest.mark.parametrize("path", TELLING, ids=lambda path: path.name)
def test_a_command_to_run_is_one_that_the_program_takes(path: Path) -> None:
    """Arguments, options and their values, as the program itself reads them."""
    faults = {told.command: find_misuse(told.command, TREE) for told in told_commands(path, "compodiff")}
    assert {command: fault for command, fault in faults.items() if fault} == {}


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("compodiff captions keywords C --to k.parquet --seed N", "Invalid value for '--seed'"),
        ("compodiff import A --format manifest", "Missing option '--to'"),
        ("compodiff finetune --from models:/compodiff@champion", "Missing option '--set'"),
        ("compodiff captions keywords C --to k.parquet [--seed N]", ""),
        ("compodiff import", ""),
    ],
)
def test_a_command_that_the_program_would_refuse_is_found(command: str, fault: str) -> None:
    assert find_misuse(command, TREE).startswith(fault)
    assert bool(find_misuse(command, TREE)) == bool(fault)


@pytest.mark.parametrize(("path", "section", "value"), VALUES, ids=[f"{path.name}-{name}" for path, name, _ in VALUES])
def test_what_a_page_gives_for_params_fits(path: Path, section: str, value: Any) -> None:
    default = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    whole = value if section in ("sets", "benchmarks") else default[section] | value
    TypeAdapter(Params.model_fields[section].annotation).validate_python(whole)


def test_formats_that_are_told_exist() -> None:
    told = {word for each in TOLD for word in re.findall(r"compodiff import .*--format (\S+)", each.command)}
    assert {"manifest", "img2dataset", "webdataset"} <= told
    assert told - {"F"} <= {*FORMATS}, "F stands for any of them, in the table below"
    table = (
        (ROOT / "docs" / "synthesis.md").read_text(encoding="utf-8").partition("| `--format` |")[2].partition("\n\n")
    )
    assert set(re.findall(r"`([a-z0-9-]+)`", "".join(re.findall(r"^\|([^|]*)\|", table[0], re.MULTILINE)))) == {
        *FORMATS
    }


def test_the_commands_are_found() -> None:
    """Otherwise the test above would pass over nothing."""
    assert len(TOLD) > 100
    told_in = {told.where for told in TOLD}
    assert {"README.md", "SECURITY.md", *(str(path.relative_to(ROOT)) for path in TUTORIALS)} <= told_in
    assert {word for told in TOLD for word in told.command.split()[1:2]} >= {
        "search",
        "index",
        "serve",
        "import",
        "benchmark",
        "promote",
    }


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("compodiff serach --text a", "there is no command 'serach'"),
        ("compodiff index bulid FOLDER", "there is no command 'bulid'"),
        ("compodiff search --texts a", "it has no option '--texts'"),
        ("compodiff captions keywords C --to k.parquet [--encodr DIR]", "it has no option '--encodr'"),
        ("compodiff benchmark run cirr --root=C -k 3", "it has no option '-k'"),
        ("compodiff search --reference 🔺 --text \"pointing down\" -k 20", ""),
    ],
)  # fmt: skip
def test_a_wrong_command_is_found(command: str, fault: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"Run `{command}`, or\n\n```\n{command}   # once\n```\n", encoding="utf-8")
    told = list(told_commands(page, "compodiff"))
    assert [each.command for each in told] == [command, command]
    assert find_fault(command, TREE) == fault


def test_targets_of_make_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    told = [each for path in (*DOCUMENTS, *FORMS) for each in told_commands(path, "make")]
    named = {(each.where, target) for each in told for target in re.findall(r"^make ([a-z-]+)", each.command)}
    assert {("CONTRIBUTING.md", name) for name in ("check", "test", "run", "docs")} <= named
    assert [each for each in sorted(named) if each[1] not in targets] == []


@pytest.mark.parametrize("path", NARROW, ids=lambda path: path.name)
def test_pages_keep_to_120_columns(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line) > 120 and not line.startswith(("|", "!["))] == []


def test_the_readme_says_up_to_what_size_an_index_is_exact() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (said,) = re.findall(r"`index\.flat_up_to` \(([\d,]+)\)", text)
    assert int(said.replace(",", "")) == load_params(ROOT / "params.yaml").index.flat_up_to
    assert "set `index.kind`" not in text, "it is chosen by itself"


def test_the_figures_of_the_readme_are_those_of_the_results() -> None:
    """README.md has R@1 and R@10 of all benchmarks in one row; docs/results.md has a table for each benchmark."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    results = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    figures = r"(?<![.\d])[01]\.\d{3}"
    for row, name in (
        ("image only", "image only"),
        ("text only", "text only"),
        ("sum of embeddings", "sum of embeddings"),
        (r"\*\*composed model\*\*", r"\*\*composed \(stage 2\)\*\*"),
    ):
        (told,) = re.findall(rf"^\| {row} \|.*$", readme, re.MULTILINE)
        found = [re.findall(figures, line) for line in re.findall(rf"^\| {name} \|.*$", results, re.MULTILINE)]
        assert len(found) == 3
        assert re.findall(figures, told) == [figure for recalls in found for figure in (recalls[0], recalls[2])]


def test_the_figures_of_experiments_are_of_the_models_of_dvc_lock() -> None:
    told = re.findall(r"Of the models of dvc.lock: prior\s+`(\S+)`,\s+composed\s+`(\S+)`", REPRODUCTION.read_text())
    stages = yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"]
    made = {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", ())}
    assert told == [(made["artifacts/prior"], made["artifacts/composed"])], (
        "run: compodiff experiment all --document docs/reproduction.md"
    )


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.name)
def test_decisions_have_one_format(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# {path.name[:4]}: ")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == PARTS
    assert all(part.strip() for part in re.split(r"^## .+$", text, flags=re.MULTILINE))
