"""What a public project tells people and machines about itself, held to what it is."""

import re
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.version import Version

import compodiff

ROOT = Path(__file__).parents[2]
SECTIONS = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
RELEASES = [
    (Version(number), date.fromisoformat(day), section)
    for section in SECTIONS[1:]
    for number, day in re.findall(r"^\[(\S+)\] - (\S+)$", section.splitlines()[0])
]


# What each workflow runs, of how many commits (0: all), and when.
WORKFLOWS = {
    "ci.yml": (".ci/run", 2, {"push", "pull_request"}),
    "weekly.yml": ("make test-all", 0, {"schedule", "workflow_dispatch"}),
}


def test_there_are_no_other_workflows() -> None:
    assert {path.name for path in (ROOT / ".github" / "workflows").iterdir()} == {*WORKFLOWS}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_runs_one_command_and_nothing_else(name: str) -> None:
    command, commits, events = WORKFLOWS[name]
    workflow: dict[Any, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text(encoding="utf-8"))
    (job,) = workflow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [command]
    uses = {step["uses"].partition("@")[0]: step["with"] for step in job["steps"] if "uses" in step}
    assert uses.keys() == {"actions/checkout", "actions/setup-python"}
    assert uses["actions/checkout"] == {"fetch-depth": commits, "persist-credentials": False}
    assert "run" in job["steps"][-1]
    assert workflow["permissions"] == {"contents": "read"}
    assert not {"env", "defaults"} & (workflow.keys() | job.keys() | job["steps"][-1].keys())
    assert workflow[True].keys() == events  # YAML 1.1 reads `on` as true


def test_actions_are_the_same_in_all_workflows() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / ".github" / "workflows").iterdir()]
    assert len({tuple(re.findall(r"uses: (\S+)", text)) for text in texts}) == 1


def test_what_the_workflows_run_is_there() -> None:
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o100
    assert re.search(r"^test-all:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_hooks_run_what_make_check_runs() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    (repository,) = config["repos"]
    assert repository["repo"] == "local"
    hooks = {hook["entry"].replace(".venv/bin/", "") for hook in repository["hooks"]}
    recipe = re.search(r"^check:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert recipe
    checks = [line.strip().replace("$(BIN)/", "").removesuffix(" .") for line in recipe[1].splitlines()]
    # The last one asks what is installed, which no commit changes.
    assert hooks == {check for check in checks if not check.startswith("python ")}


def test_the_version_has_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in project["project"]
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "compodiff.__version__"}


def test_the_changelog_has_dated_releases_and_the_version_is_the_newest_or_the_next() -> None:
    assert SECTIONS[0].startswith("[Unreleased]\n")
    assert len(RELEASES) == len(SECTIONS) - 1, "a release is headed [X.Y.Z] - YYYY-MM-DD"
    assert sorted(RELEASES, reverse=True) == RELEASES
    version, newest = Version(compodiff.__version__), RELEASES[0][0]
    assert version == newest or (version.is_devrelease and version > newest)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.splitlines()[0])
def test_each_release_has_each_kind_of_change_once(section: str) -> None:
    kinds = re.findall(r"^### (.+)$", section, re.MULTILINE)
    assert len(kinds) == len(set(kinds))
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_first_release_changes_nothing_that_was_there() -> None:
    """What is found here was put under an old release by a merge, and belongs under Unreleased."""
    assert re.findall(r"^### (.+)$", RELEASES[-1][2], re.MULTILINE) == ["Added"]


def test_images_are_named_by_the_newest_release() -> None:
    files = [path for path in (ROOT / "infra").rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")]
    texts = [path.read_text(encoding="utf-8") for path in files]
    pattern = r"compodiff-(?:cpu|gpu|ray)(?::|, prefectTag: \")(\d[\w.]*)"
    named = [version for text in texts for version in re.findall(pattern, text)]
    assert len(named) >= 8
    assert set(named) == {str(RELEASES[0][0])}


def test_the_citation_names_the_newest_release() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (Version(citation["version"]), citation["date-released"]) == RELEASES[0][:2]


def test_the_citation_names_software_paper_and_licence() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()
    licence = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["license"]
    assert citation["license"] == licence
    (identifier,) = citation["preferred-citation"]["identifiers"]
    assert identifier["value"].removeprefix("arXiv:") in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda p: p.name)
def test_forms_of_issues_have_what_github_asks(path: Path) -> None:
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= form.keys()
    ids = [each["id"] for each in form["body"] if each["type"] != "markdown"]
    assert len(ids) == len(set(ids)) > 0
    assert all({"label"} <= each["attributes"].keys() for each in form["body"] if each["type"] != "markdown")
