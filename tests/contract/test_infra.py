"""infra/ as far as it can be judged without Docker, cluster or scheduler: it parses, and agrees with itself and us.

That the servers work together is shown with processes, by tests/servers.
"""

import re
import signal
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from worlds.installing import load_infra, write_sbom

from compodiff.doctor.packages import read_pins

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
COMPOSE: dict[str, Any] = yaml.safe_load((INFRA / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = read_pins(ROOT)
DOCKERFILES = sorted(INFRA.glob("docker/*/Dockerfile"))
MANIFESTS = sorted(INFRA.glob("kubernetes/*.yaml"))


def documents(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text()))


def images() -> Iterator[str]:
    for service in SERVICES.values():
        yield service["image"]
    for path in MANIFESTS:
        yield from re.findall(r"^\s*image: ([^{\s]+)$", path.read_text(), re.MULTILINE)
        for repository, tag in re.findall(r"\{repository: (\S+), (?:prefectT|t)ag: \"?([^\"}]+)", path.read_text()):
            yield f"{repository}:{tag}"
    for path in DOCKERFILES:
        yield from re.findall(r"^FROM (\S+)", path.read_text(), re.MULTILINE)


def test_every_image_is_pinned_to_a_version() -> None:
    found = list(images())
    assert len(found) > 10
    for image in found:
        name, _, tag = image.rpartition(":")
        assert name, f"{image} has no tag"
        assert re.search(r"\d+\.\d+\.\d+|\d+\.\d+-", tag), f"{image} may be another one tomorrow"


def test_ports_of_compose_are_bound_to_loopback() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert all("network_mode" not in service for service in SERVICES.values())


def test_variables_of_compose_are_required_and_in_the_example_and_no_secret_has_a_value() -> None:
    text = (INFRA / "compose.yaml").read_text()
    used = set(re.findall(r"\$\{(\w+):\?\}", text))
    assert set(re.findall(r"\$\{(\w+)", text)) == used, "a variable that is not set must stop compose: ${NAME:?}"
    lines = (INFRA / ".env.example").read_text().splitlines()
    example = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert set(example) == used | {"COMPOSE_PROFILES"}
    secrets = {name: value for name, value in example.items() if re.search("PASSWORD|AUTH|KEY", name)}
    assert len(secrets) == 6
    assert all("replace-me" in value for value in secrets.values())
    ignored = subprocess.run(["git", "check-ignore", "-q", "infra/.env"], cwd=ROOT, check=False)
    assert ignored.returncode == 0


def test_files_that_compose_names_exist() -> None:
    for service in SERVICES.values():
        if "build" in service:
            assert (ROOT / service["build"]["dockerfile"]).is_file()
            assert (INFRA / service["build"]["context"]).resolve() == ROOT
        for volume in service.get("volumes", []):
            place = volume.split(":")[0]
            assert (INFRA / place).exists() if place.startswith(".") else place in COMPOSE["volumes"]
        for part in service.get("command", []):
            assert not part.endswith(".py") or (ROOT / part).is_file()


def test_services_wait_for_services_that_exist_and_say_when_they_are_well() -> None:
    for service in SERVICES.values():
        for name, wanted in service.get("depends_on", {}).items():
            if wanted["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[name]
            else:
                assert "restart" not in SERVICES[name]


def test_the_worker_serves_the_pool_of_the_deployments() -> None:
    deployments = yaml.safe_load((INFRA / "prefect.yaml").read_text())
    pools = {deployment["work_pool"]["name"] for deployment in deployments["deployments"]}
    for worker in ("worker", "gpu-worker"):
        command = SERVICES[worker]["command"]
        assert command[command.index("--pool") + 1] in pools
        assert command[command.index("--limit") + 1] == "1"
    values = yaml.safe_load((INFRA / "kubernetes" / "prefect-worker.yaml").read_text())["worker"]
    assert values["config"]["workPool"] in pools
    assert values["replicaCount"] == values["config"]["limit"] == 1


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_an_image_copies_what_exists_and_installs_what_is_pinned(dockerfile: Path) -> None:
    text = dockerfile.read_text()
    let_in = [line[1:] for line in Path(f"{dockerfile}.dockerignore").read_text().splitlines() if line[:1] == "!"]
    for line in re.findall(r"^COPY (?!\. )(.+) \S+$", text, re.MULTILINE):
        for name in line.split():
            assert (ROOT / name).exists()
            assert name in let_in
    assert all((ROOT / name).exists() for name in let_in)
    assert yaml.safe_load((ROOT / "params.yaml").read_text())["promotion"]["behaviour"] in let_in
    (extras,) = re.findall(r"--editable '\.\[(.+)\]'", text)
    assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])
    assert "--constraint constraints.txt" in text
    assert "\nUSER compodiff\n" in text
    for name, pin in re.findall(r"'([\w-]+)==([\d.]+)'", text):
        assert PINS.get(name, pin) == pin
    python = re.search(r"FROM python:(\d+\.\d+)\.", text)
    assert python is not None
    assert f">={python[1]}" in PROJECT["requires-python"]


def test_clients_and_the_prefect_server_of_kubernetes_are_of_one_version() -> None:
    values = yaml.safe_load((INFRA / "kubernetes" / "prefect-server.yaml").read_text())
    assert values["global"]["prefect"]["image"]["prefectTag"].startswith(f"{PINS['prefect']}-")


def test_names_that_kubernetes_values_refer_to_are_there() -> None:
    ours = [each for path in MANIFESTS for each in documents(path) if "kind" in each]
    secrets = {each["metadata"]["name"]: set(each["stringData"]) for each in ours if each["kind"] == "Secret"}
    claims = {each["metadata"]["name"] for each in ours if each["kind"] == "PersistentVolumeClaim"}
    text = "\n".join(path.read_text() for path in MANIFESTS)
    named = re.findall(r"(?:passwordSecret|secret|existing\w*Secret): \{(?:create: false, )?name: ([\w-]+)", text)
    named += re.findall(r"(?:existingSecret|extraEnvVarsSecret): ([\w-]+)", text)
    assert len(named) >= 6
    assert set(named) <= set(secrets)
    assert set(re.findall(r"claimName: ([\w-]+)", text)) == claims
    for secret, keys in re.findall(r"name: ([\w-]+), ((?:\w+Key|keyOf\w+): [^}]+)\}", text):
        assert set(re.findall(r": (\w+)", keys)) <= secrets[secret]
    values = "\n".join(path.read_text() for path in MANIFESTS if path.name != "secrets.example.yaml")
    assert "replace-me" not in values
    assert not re.search(r"(?i)password: (?!password\b)\S", values)


def test_the_kubernetes_job_runs_one_launcher_a_node_that_meet_at_the_first() -> None:
    service, job = documents(INFRA / "kubernetes" / "train.yaml")
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    assert service["spec"]["clusterIP"] == "None"
    assert pod["subdomain"] == service["metadata"]["name"] == job["metadata"]["name"]
    assert service["spec"]["selector"] == job["spec"]["template"]["metadata"]["labels"]
    options = dict(part.lstrip("-").split("=") for part in pod["containers"][0]["command"] if "=" in part)
    assert int(options["nnodes"]) == spec["completions"] == spec["parallelism"]
    assert int(options["nproc-per-node"]) == pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]
    assert options["rdzv-endpoint"].split(":")[0] == f"{job['metadata']['name']}-0.{pod['subdomain']}"
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert pod["containers"][0]["command"][-1] in stages


@pytest.mark.parametrize(
    "script", [*INFRA.rglob("*.sh"), *INFRA.rglob("*.sbatch"), ROOT / ".ci" / "run"], ids=lambda path: path.name
)
def test_a_script_is_bash_that_stops_at_the_first_failure(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)
    assert "set -euo pipefail" in script.read_text()


@pytest.fixture
def slurm(tmp_path: Path) -> Callable[[str], tuple[list[Any], dict[str, str]]]:
    """Slurm's commands, replaced by ones that print what they are given; what starts the job, by what srun does."""

    def make(launched: str) -> tuple[list[Any], dict[str, str]]:
        hosts = "printf 'node7\\nnode8\\n'"
        tools = {"srun": launched, "scontrol": f'[ "$1" = show ] && {hosts} || echo scontrol "$@"'}
        for name, body in tools.items():
            (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
            (tmp_path / name).chmod(0o755)
        (tmp_path / ".venv" / "bin").mkdir(parents=True)
        (tmp_path / ".venv" / "bin" / "activate").touch()
        env = {
            "PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_JOB_NODELIST": "node[7-8]",
            "SLURM_NNODES": "2", "SLURM_GPUS_ON_NODE": "4", "SLURM_JOB_ID": "9",
        }  # fmt: skip
        return ["bash", INFRA / "slurm" / "train.sbatch", "train_prior"], env

    return make


def test_the_slurm_job_starts_the_launcher_that_training_is_tested_with(
    slurm: Callable[[str], tuple[list[Any], dict[str, str]]],
) -> None:
    command, env = slurm('echo srun "$@"')
    said = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    launched = "srun --kill-on-bad-exit=1 torchrun --nnodes 2 --nproc-per-node 4 --rdzv-id 9 --rdzv-backend c10d"
    assert said.strip() == f"{launched} --rdzv-endpoint node7:29500 -m compodiff.cli run train_prior"
    assert subprocess.run(command[:2], env=env, capture_output=True, check=False).returncode != 0


def test_a_slurm_job_whose_time_is_up_queues_again_after_the_checkpoint(
    slurm: Callable[[str], tuple[list[Any], dict[str, str]]],
) -> None:
    command, env = slurm("trap 'echo checkpoint; exit 75' TERM; echo begun; while :; do sleep 0.05; done")
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout is not None
        assert job.stdout.readline() == "begun\n"
        job.send_signal(signal.SIGTERM)
        said, _ = job.communicate(timeout=20)
    assert said.splitlines() == ["checkpoint", "scontrol requeue 9"]


@pytest.mark.parametrize("page", ["docs/operating.md", "docs/tutorials/operate-it.md", "infra/prefect.yaml"])
def test_a_prefect_server_is_started_without_telemetry_wherever_it_is_told_how(page: str) -> None:
    before, start, _ = (ROOT / page).read_text(encoding="utf-8").partition("prefect server start")
    assert start
    assert "export PREFECT_SERVER_ANALYTICS_ENABLED=false" in before


@pytest.mark.parametrize("versions", [{}, {"torch": "1.0"}, {"gone": "2.0"}], ids=["as installed", "changed", "gone"])
def test_a_release_takes_a_list_of_what_is_installed_and_no_stale_one(
    versions: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    release = load_infra("release")
    monkeypatch.setattr("sys.argv", ["release.py", "no-such-model"])
    with pytest.raises(SystemExit, match=r"^release: there is no build/sbom\.json; `make sbom` makes it"):
        release.main()
    write_sbom(tmp_path, **versions)
    lists = [f"of {name} it lists {version}, installed is " for name, version in versions.items()]
    with pytest.raises(SystemExit) as ended:
        release.main()
    assert str(ended.value).startswith(f"release: build/sbom.json is stale: {lists[0]}" if lists else "release: ")
    assert ("sbom" in str(ended.value)) == bool(lists), "what is installed was refused"
    assert not (tmp_path / "dist").exists()


def test_make_makes_the_list_anew_before_each_release() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^release:.*\bsbom\b", makefile, re.MULTILINE)
    assert re.search(r"^\.PHONY:.*\bsbom\b", makefile, re.MULTILINE)
