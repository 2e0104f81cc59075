"""DVC in a team: git clones that share artifacts by way of S3, and what happens when the S3 fails."""

import shutil
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import pytest
from worlds.processes import ROOT, Server, environment, s3_client_variables, s3_server

DVC_YAML = """
stages:
  draw: {cmd: "cp data/words drawn", deps: [data], outs: [drawn]}
  train:
    cmd: "mkdir trained && for i in 1 2 3 4 5 6; do echo $i ${rate} >> trained/$i; done && cat drawn > metrics.yaml"
    deps: [drawn]
    params: [rate]
    outs: [trained]
    metrics: [metrics.yaml]
"""


@dataclass(frozen=True)
class Clone:
    """A git clone, and the variables that its DVC reaches the S3 by."""

    folder: Path
    variables: dict[str, str]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        env = environment(**self.variables, DVC_SITE_CACHE_DIR=str(self.folder.parent / f"{self.folder.name}.site"))
        return subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, check=False)

    def dvc(self, *arguments: str) -> str:
        done = self.run(sys.executable, "-m", "dvc", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def refused(self, *arguments: str) -> str:
        done = self.run(sys.executable, "-m", "dvc", *arguments)
        assert done.returncode != 0
        return done.stderr

    def git(self, *arguments: str) -> None:
        done = self.run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments)
        assert done.returncode == 0, done.stderr

    def clone(self, name: str, **variables: str) -> "Clone":
        """A second person's: the same commit, an empty cache, and the remote named in a file that git ignores."""
        self.git("clone", "--quiet", str(self.folder), str(self.folder.parent / name))
        other = Clone(self.folder.parent / name, {**self.variables, **variables})
        other.use_remote(self.bucket)
        return other

    def use_remote(self, bucket: str) -> None:
        """As docs/operating.md says it."""
        self.dvc("remote", "add", "--quiet", "--local", "--default", "team", f"s3://{bucket}/dvc")
        self.dvc("remote", "modify", "--quiet", "--local", "team", "verify", "true")

    @property
    def bucket(self) -> str:
        return self.folder.parent.name.replace("_", "-").lower()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that was run, in git; made once, as each command of DVC takes a second."""
    folder = tmp_path_factory.mktemp("template") / "first"
    folder.mkdir()
    first = Clone(folder, {})
    first.git("init", "--quiet")
    first.dvc("init", "--quiet")
    (folder / "data").mkdir()
    (folder / "data" / "words").write_text("recall: 0.5\n")
    (folder / "params.yaml").write_text("rate: 1\n")
    (folder / "dvc.yaml").write_text(DVC_YAML)
    first.dvc("add", "--quiet", "data")
    first.dvc("repro", "--quiet")
    first.git("add", ".")
    first.git("commit", "--quiet", "--message", "first")
    return folder


@pytest.fixture
def first(template: Path, tmp_path: Path, s3: Server) -> Clone:
    clone = Clone(shutil.copytree(template, tmp_path / "first"), s3_client_variables(s3))
    storage(s3).create_bucket(Bucket=clone.bucket)
    clone.use_remote(clone.bucket)
    return clone


def storage(server: Server, key: str = "a-key", secret: str = "its-secret") -> "boto3.client":  # noqa: S107
    address = s3_client_variables(server)["AWS_ENDPOINT_URL"]
    return boto3.client(
        "s3", endpoint_url=address, aws_access_key_id=key, aws_secret_access_key=secret, region_name="us-east-1"
    )


def test_a_second_clone_pulls_everything_and_has_nothing_to_run(first: Clone) -> None:
    first.dvc("push", "--quiet")
    second = first.clone("second")
    second.dvc("pull", "--quiet")
    assert (second.folder / "trained" / "6").read_text() == "6 1\n"
    said = second.dvc("repro")
    assert "up to date" in said
    assert "Running stage" not in said
    # A file that was damaged on this machine is found by its hash and brought back.
    damaged = second.folder / "trained" / "6"
    damaged.chmod(0o644)
    damaged.write_text("damaged\n")
    assert "trained" in second.dvc("status")
    second.dvc("checkout", "--force", "--quiet")
    if damaged.read_text() != "6 1\n":  # the link led into the cache: DVC found that too and dropped it
        second.dvc("pull", "--force", "--quiet")
    assert damaged.read_text() == "6 1\n"


def test_an_experiment_is_compared_and_kept_beside_the_commit(first: Clone) -> None:
    first.dvc("exp", "run", "--quiet", "--name", "faster", "--set-param", "rate=2")
    assert "rate" in first.dvc("params", "diff", "HEAD")
    shown = first.dvc("exp", "show", "--csv")
    assert "faster" in shown
    first.git("checkout", "--quiet", "--force", "HEAD")
    assert (first.folder / "params.yaml").read_text() == "rate: 1\n"
    first.dvc("exp", "apply", "faster")
    assert (first.folder / "params.yaml").read_text() == "rate: 2\n"


def test_an_object_that_was_corrupted_in_the_bucket_is_refused_and_put_back(first: Clone, s3: Server) -> None:
    first.dvc("push", "--quiet")
    objects = storage(s3)
    small = next(each for each in objects.list_objects_v2(Bucket=first.bucket)["Contents"] if each["Size"] == 4)
    content = objects.get_object(Bucket=first.bucket, Key=small["Key"])["Body"].read()
    objects.put_object(Bucket=first.bucket, Key=small["Key"], Body=content[::-1])
    second = first.clone("second")
    said = second.refused("pull")
    assert "trained" in said
    assert not [path for path in second.folder.glob("trained/*") if path.read_bytes() == content[::-1]]
    gone = next(each for each in objects.list_objects_v2(Bucket=first.bucket)["Contents"] if each["Size"] == 12)
    objects.delete_object(Bucket=first.bucket, Key=gone["Key"])
    assert "up to date" in first.dvc("push")  # DVC notes what it pushed, and does not look
    checking = Clone(first.folder, {**first.variables, "PYTHONPATH": str(ROOT)})
    broken, lacking = ("".join(each["Key"].split("/")[-2:]) for each in (small, gone))
    elsewhere = Clone(second.folder, {**second.variables, "PYTHONPATH": str(ROOT)})
    refused = elsewhere.run(sys.executable, "-m", "flows.processes.mend_remote")
    assert refused.returncode == 1
    assert f"not in this cache: {broken};" in refused.stderr
    assert f"put back: {lacking}\n" in refused.stdout  # it was pulled before it went
    done = checking.run(sys.executable, "-m", "flows.processes.mend_remote")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[1:] == [f"put back: {broken}"]
    assert "0 put back" in checking.run(sys.executable, "-m", "flows.processes.mend_remote").stdout
    second.dvc("pull", "--quiet")
    assert "up to date" in second.dvc("repro")


class _Line(socketserver.BaseRequestHandler):
    """Forwards one connection, until the wire is cut."""

    def handle(self) -> None:
        wire: Wire = self.server  # type: ignore[assignment]
        with socket.create_connection(wire.target) as upstream:
            back = threading.Thread(target=self._pump, args=(upstream, self.request), daemon=True)
            back.start()
            while chunk := self._received(self.request):
                wire.puts += chunk.count(b"PUT /")
                if wire.puts > wire.cut_after:
                    break
                upstream.sendall(chunk)
            for end in (upstream, self.request):
                end.close()

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        while chunk := self._received(one):
            try:
                other.sendall(chunk)
            except OSError:
                return

    @staticmethod
    def _received(one: socket.socket) -> bytes:
        try:
            return one.recv(65536)
        except OSError:
            return b""


class Wire(socketserver.ThreadingTCPServer):
    """A way to the S3 that is gone for good after some PUT requests."""

    daemon_threads = True

    def __init__(self, target: Server, cut_after: int) -> None:
        super().__init__(("127.0.0.1", 0), _Line)
        parts = urlsplit(s3_client_variables(target)["AWS_ENDPOINT_URL"])
        self.target = (str(parts.hostname), int(parts.port or 0))
        self.puts, self.cut_after = 0, cut_after
        threading.Thread(target=self.serve_forever, daemon=True).start()


def test_a_push_that_is_cut_off_is_said_and_the_next_one_completes_it(first: Clone, s3: Server) -> None:
    with Wire(s3, cut_after=3) as wire:
        away = Clone(first.folder, {
            **first.variables, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{wire.server_address[1]}",
            "AWS_MAX_ATTEMPTS": "1",
        })  # fmt: skip
        assert "failed to transfer" in away.refused("push", "--jobs", "1")
        wire.shutdown()
    pushed = storage(s3).list_objects_v2(Bucket=first.bucket)["KeyCount"]
    assert pushed < 10
    first.dvc("push", "--quiet")
    second = first.clone("second")
    second.dvc("pull", "--quiet")
    assert "up to date" in second.dvc("repro")


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[Server, str, str]]:
    """An S3 that lets in one key, with the key and its secret."""
    server = s3_server(tmp_path, requests_before_keys_count=3).start()
    address = s3_client_variables(server)
    iam = boto3.client(
        "iam", endpoint_url=address["AWS_ENDPOINT_URL"], aws_access_key_id="a", aws_secret_access_key="a",  # noqa: S106
        region_name="us-east-1",
    )  # fmt: skip
    iam.create_user(UserName="ada")
    policy = '{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}'
    iam.put_user_policy(UserName="ada", PolicyName="all", PolicyDocument=policy)
    key = iam.create_access_key(UserName="ada")["AccessKey"]
    yield server, key["AccessKeyId"], key["SecretAccessKey"]
    server.stop()


def test_a_wrong_key_pushes_nothing_says_so_and_does_not_tell_it(
    guarded: tuple[Server, str, str], template: Path, tmp_path: Path
) -> None:
    server, key, secret = guarded
    storage(server, key, secret).create_bucket(Bucket="guarded")
    folder = shutil.copytree(template, tmp_path / "first")
    wrong = Clone(folder, s3_client_variables(server, key, "not-the-secret"))
    wrong.use_remote("guarded")
    refused = wrong.refused("push")
    assert "not-the-secret" not in refused
    looking = Clone(folder, {**wrong.variables, "PYTHONPATH": str(ROOT)}).run(
        sys.executable, "-m", "flows.processes.mend_remote"
    )
    assert looking.returncode == 1
    assert looking.stderr.startswith("compodiff: the remote cannot be read: ")
    assert "not-the-secret" not in looking.stderr
    assert storage(server, key, secret).list_objects_v2(Bucket="guarded")["KeyCount"] == 0
    right = Clone(folder, s3_client_variables(server, key, secret))
    right.dvc("push", "--quiet")
    assert storage(server, key, secret).list_objects_v2(Bucket="guarded")["KeyCount"] >= 9
    config = (folder / ".dvc" / "config.local").read_text() + (folder / ".dvc" / "config").read_text()
    assert secret not in config
