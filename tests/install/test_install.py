"""`make` installs so that one can watch, goes on where it was stopped, and says in one line why it could not."""

import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from worlds.installing import ROOT, Make, load_infra, python, script

NO_NETWORK = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}


@pytest.fixture(scope="module")
def install() -> ModuleType:
    return load_infra("install")


@pytest.fixture
def uv(path: Path) -> Path:
    """Put a uv on the path that installs nothing; return the file of the arguments that it was given."""
    python(path / "python3.12", "3.12")
    arguments = path.parent / "arguments"
    script(path / "uv", f'echo fetching torch; printf "%s\\n" "$@" > "{arguments}"')
    return arguments


def test_uv_installs_where_it_is_there_and_a_second_make_does_nothing(project: Path, make: Make, uv: Path) -> None:
    done = make(".venv/.installed")
    assert done.returncode == 0, done.stderr
    assert "installing the pinned packages into .venv by uv, with Python" in done.stderr
    assert "about 3 GB to fetch, 8 GB on" in done.stderr
    assert "fetching torch\n" in done.stderr
    given = uv.read_text().splitlines()
    assert given[:2] == ["pip", "install"]
    assert {"--compile-bytecode", "constraints.txt", ".[cpu,photos,postgres,s3,test]", "pip"} <= set(given)
    assert given[given.index("--python") + 1] == str(project / ".venv" / "bin" / "python")
    uv.unlink()
    start = time.monotonic()
    assert "up to date" in make(".venv/.installed").stdout
    assert time.monotonic() - start < 1
    assert not uv.exists()


def test_pins_that_changed_are_installed(project: Path, make: Make, uv: Path) -> None:
    assert make(".venv/.installed").returncode == 0
    uv.unlink()
    later = time.time() + 5
    os.utime(project / "constraints.txt", (later, later))
    assert make(".venv/.installed").returncode == 0
    assert uv.exists()


def test_a_half_made_environment_is_gone_on_with(project: Path, make: Make, uv: Path) -> None:
    assert make(".venv/.installed").returncode == 0
    (project / ".venv" / ".installed").unlink()
    (project / ".venv" / "kept").touch()
    assert make(".venv/.installed").returncode == 0
    assert (project / ".venv" / "kept").exists()


def test_an_environment_whose_python_is_gone_is_made_anew(project: Path, make: Make, uv: Path) -> None:
    (project / ".venv" / "bin").mkdir(parents=True)
    (project / ".venv" / "bin" / "python").symlink_to("/gone/python3.12")
    done = make(".venv/.installed")
    assert done.returncode == 0, done.stderr
    assert "has no working Python of this version; it is made anew" in done.stderr


def test_no_git_is_told_to_dvc_and_git_that_comes_later_too(project: Path) -> None:
    settings = project / ".dvc" / "config.local"
    command = [sys.executable, "-m", "flows.processes.source_control"]
    (project / ".git").rmdir()
    for comes in (None, (project / ".git").mkdir):
        if comes:
            comes()
        before = settings.read_text() if settings.exists() else ""
        subprocess.run(command, cwd=project, check=True)
        once = settings.read_text()
        assert once != before
        assert ("no_scm = true" in once) is (comes is None)
        subprocess.run(command, cwd=project, check=True)
        assert settings.read_text() == once


def test_what_pip_says_is_seen_and_its_failure_is_kept_for_the_doctor(project: Path, path: Path, make: Make) -> None:
    python(path / "python3.11", "3.11")
    done = make("run", **NO_NETWORK)
    assert done.returncode
    assert "Installing build dependencies" in done.stderr
    reason = (
        "the package index lacks a version of constraints.txt; look at PIP_INDEX_URL and: pip config list, then run"
    )
    assert f"\nmake: {reason}" in done.stderr
    doctor = make("doctor", **NO_NETWORK)
    assert doctor.returncode
    assert "the last one failed: the package index lacks a version of constraints.txt" in doctor.stdout


def test_a_proxy_that_does_not_answer(project: Path, path: Path, make: Make) -> None:
    python(path / "python3.11", "3.11")
    proxy = {"HTTPS_PROXY": "http://me:secret@127.0.0.1:9", "PIP_INDEX_URL": "https://index.example/simple"}
    done = make("run", **proxy, PIP_RETRIES="1", PIP_CONFIG_FILE=os.devnull)
    assert done.returncode
    assert "\nmake: the proxy does not let the download through (HTTPS_PROXY=http://127.0.0.1:9);" in done.stderr
    assert "secret" not in (project / ".venv" / ".failed").read_text()


def test_a_package_that_must_be_built_without_a_compiler(install: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "made.c").write_text("int made;")
    (tmp_path / "setup.py").write_text(
        "from setuptools import Extension, setup\nsetup(name='made', ext_modules=[Extension('made', ['made.c'])])"
    )
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-index",
        "--no-build-isolation",
        "--target",
        str(tmp_path / "to"),
    ]
    code, output = install.run_watched(["env", "CC=/gone/gcc", *pip, str(tmp_path)], tmp_path)
    assert code
    assert "there is no compiler; install one (Debian, Ubuntu: sudo apt" in install.explain(output, tmp_path)


def test_a_disk_that_fills_up_in_the_middle(install: ModuleType, tmp_path: Path, disk: Path) -> None:
    wheel = tmp_path / "made-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("made.py", os.urandom(2**20).hex())
        file.writestr("made-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: made\nVersion: 1\n")
        file.writestr("made-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr("made-1.dist-info/RECORD", "")
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--target", str(disk / "to"), str(wheel)]
    code, output = install.run_watched(pip, disk)
    assert code
    assert install.explain(output, disk).startswith("the disk is full (0.0 GB are free of the 8 that it takes);")


def test_a_checkout_that_cannot_be_written(install: ModuleType) -> None:
    with pytest.raises(
        install.Refused, match=r"^a file or folder may not be written \(/sys.*\); change its rights, or"
    ):
        install.make_environment(Path("/sys/.venv"))


def test_a_pipeline_in_a_checkout_that_cannot_be_written_says_so_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    bind = ["mount", "--bind", tmp_path, tmp_path]
    if subprocess.run(bind, check=False).returncode:
        pytest.skip("mounting takes root")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", tmp_path], check=True)
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
        command = [sys.executable, "-m", "flows.pipeline"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)
    assert done.returncode == 6
    assert (
        done.stderr
        == f"pipeline: {tmp_path} cannot be written; copy the project to a folder of yours and run it there\n"
    )


def test_what_is_not_known_is_left_to_the_installer_to_say(install: ModuleType, tmp_path: Path) -> None:
    assert install.explain("ERROR: something new", tmp_path).startswith("the installer failed, and the lines above")


def test_the_installation_can_be_stopped_and_is_told_how_it_goes_on(project: Path, path: Path) -> None:
    python(path / "python3.12", "3.12")
    script(path / "uv", f'echo fetching; exec "{shutil.which("sleep")}" 60')
    command = [sys.executable, str(project / "infra" / "install.py")]
    # Tests that were started in the background ignore Ctrl-C, and what they start would too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        command, env={"PATH": str(path)}, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    signal.signal(signal.SIGINT, before)
    assert process.stderr
    while process.stderr.readline() != "fetching\n":
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    assert "make: the installation was stopped; make goes on from here" in process.communicate(timeout=30)[1]
    assert process.returncode == 130
