"""A hub on 127.0.0.1 that answers the real client: it lists, serves and takes models and sets, and fails on demand.

with LoopbackHub() as hub:
    hub.add("org/name", {"config.json": b"{}", "model.safetensors": weights})
    point_at(hub, tmp_path / "home", monkeypatch)        # this process
    subprocess.run(..., env=os.environ | hub.make_environment(tmp_path / "home"))
"""

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

LARGE = (".safetensors", ".bin", ".parquet", ".tar", ".npy", ".faiss")  # what the hub keeps by sha256


def digest_as_git(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@dataclass
class Repository:
    """A model or a set on the hub; `commits` maps a commit to its files, `refs` a branch or tag to its commit."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    licence: str | None = "mit"
    is_gated: bool = False
    is_private: bool = False

    def commit(self, files: Mapping[str, bytes], revision: str = "main") -> str:
        content = "".join(f"{name}{hashlib.sha256(files[name]).hexdigest()}" for name in sorted(files))
        name = hashlib.sha1(content.encode(), usedforsecurity=False).hexdigest()
        self.commits[name] = dict(files)
        self.refs[revision] = name
        return name

    def find(self, revision: str) -> str | None:
        commit = self.refs.get(revision, revision)
        return commit if commit in self.commits else None


@dataclass
class Faults:
    """What goes wrong until it is taken back."""

    status: int | None = None  # of every answer
    page: bytes | None = None  # that is sent to every question, as a network's log-in does
    cut_after: int | None = None  # bytes of a large file, then the connection ends
    bytes_per_second: float | None = None
    altered: set[str] = field(default_factory=set)  # names of files that arrive with other bytes of the same number


class Asked(NamedTuple):
    """A request; first: the first byte of the range that was asked for."""

    method: str
    path: str
    first: int
    has_token: bool


class LoopbackHub(ThreadingHTTPServer):
    """The hub; large files lie at another address (`elsewhere`), where no token may arrive, as on the real one."""

    daemon_threads = True

    def __init__(self) -> None:
        from worlds.hub_answers import Answers

        super().__init__(("127.0.0.1", 0), Answers)
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.large: dict[str, bytes] = {}  # by sha256
        self.faults = Faults()
        self.token: str | None = None  # where it is set, every request has to bring it
        self.asked: list[Asked] = []
        self.sent = 0  # bytes of large files

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def elsewhere(self) -> str:
        return f"http://localhost:{self.server_address[1]}"

    def __enter__(self) -> "LoopbackHub":
        threading.Thread(target=self.serve_forever, args=[0.02], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def add(self, hub_id: str, files: Mapping[str, bytes] | Path, kind: str = "model", **options: Any) -> str:
        """Put files, or those of a folder, on the hub; return the commit, which is the newest then."""
        repository = self.repositories.setdefault((kind, hub_id), Repository(**options))
        return repository.commit(read_folder(files) if isinstance(files, Path) else files)

    def keep(self, content: bytes) -> str:
        """Keep a large file; return its sha256."""
        digest = hashlib.sha256(content).hexdigest()
        self.large[digest] = content
        return digest

    def make_environment(self, home: Path) -> dict[str, str]:
        """Return what a process needs to use this hub and a cache of its own."""
        return {"HF_ENDPOINT": self.address, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}


def read_folder(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def point_at(hub: LoopbackHub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the hub's library, in this process, use this hub and a cache below `home`."""
    from huggingface_hub import constants

    for name, value in hub.make_environment(home).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{hub.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)


def place_in_cache(home: Path, hub_id: str, files: Mapping[str, bytes] | Path, commit: str = "c" * 40) -> Path:
    """Write a model into the cache below `home` as a fetch would; return its folder."""
    root = home / "hub" / f"models--{hub_id.replace('/', '--')}"
    folder = root / "snapshots" / commit
    for name, content in (read_folder(files) if isinstance(files, Path) else files).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (root / "refs").mkdir(parents=True, exist_ok=True)
    (root / "refs" / "main").write_text(commit, encoding="utf-8")
    return folder


def describe_file(name: str, content: bytes) -> dict[str, Any]:
    """Return a file's entry in the hub's tree."""
    entry: dict[str, Any] = {"type": "file", "path": name, "size": len(content), "oid": digest_as_git(content)}
    if name.endswith(LARGE):
        pointer = json.dumps(name).encode()
        entry["oid"] = digest_as_git(pointer)
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": len(pointer)}
    return entry
