"""What the loopback hub answers: the parts of the hub's interface that `compodiff get` and `push` use."""

import base64
import json
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from worlds.hub import LARGE, Asked, Repository, describe_file, digest_as_git

if TYPE_CHECKING:
    from worlds.hub import LoopbackHub

_PIECE = 2**16


class Answers(BaseHTTPRequestHandler):
    """One request; the paths are the hub's."""

    server: "LoopbackHub"
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        first = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0]
        has_token = "Authorization" in self.headers
        self.server.asked.append(Asked(self.command, path, int(first or 0), has_token))
        if self.server.faults.status is not None:
            self._send(self.server.faults.status, b"{}")
        elif self.server.faults.page is not None:
            self._send(200, self.server.faults.page, {"Content-Type": "text/html"})
        elif path.startswith("/large/"):
            self._serve_large(path.removeprefix("/large/"))
        elif self.server.token and self.headers.get("Authorization") != f"Bearer {self.server.token}":
            self._refuse(401, message="Invalid credentials in Authorization header")
        elif path.startswith("/api/"):
            self._answer_interface(path.removeprefix("/api/"))
        elif path.endswith(".git/info/lfs/objects/batch"):
            self._answer_batch()
        else:
            self._resolve(path.removeprefix("/"))

    def _answer_interface(self, path: str) -> None:
        if path == "repos/create":
            asked = json.loads(self.body)
            kind, hub_id = asked.get("type", "model"), f"{asked['organization']}/{asked['name']}"
            if (kind, hub_id) in self.server.repositories:
                self._send_json({"url": f"{self.server.address}/{hub_id}"}, status=409)
                return
            made = Repository(is_private=asked.get("visibility") == "private")
            made.commit({".gitattributes": b"*.safetensors filter=lfs"})
            self.server.repositories[kind, hub_id] = made
            self._send_json({"url": f"{self.server.address}/{hub_id}"})
            return
        if path == "validate-yaml":
            self._send_json({"errors": [], "warnings": []})
            return
        if path.count("/") < 2:
            self._refuse(404)
            return
        kinds, organisation, name, *rest = path.split("/")
        kind, hub_id = kinds.removesuffix("s"), f"{organisation}/{name}"
        repository = self._find_repository(kind, hub_id)
        if repository is None:
            return
        action, revision = (*rest, "", "main")[:2] if len(rest) < 2 else (rest[0], "/".join(rest[1:]))
        if action == "commit":
            self._take_commit(repository, hub_id, revision)
        elif action == "preupload":
            self._send_json({"files": [_say_how(each) for each in json.loads(self.body)["files"]]})
        elif (commit := self._find_commit(repository, revision or "main")) is not None:
            files = repository.commits[commit]
            if action == "tree":
                self._send_json([describe_file(each, files[each]) for each in sorted(files)])
            else:
                card = {"license": repository.licence} if repository.licence else None
                self._send_json({"id": hub_id, "sha": commit, "cardData": card, "siblings": []})

    def _resolve(self, path: str) -> None:
        """Answer `org/name/resolve/REVISION/FILE`: a small file itself, of a large one where it lies."""
        kind, path = ("dataset", path.removeprefix("datasets/")) if path.startswith("datasets/") else ("model", path)
        organisation, name, _, revision, *parts = path.split("/")
        repository = self._find_repository(kind, f"{organisation}/{name}")
        commit = self._find_commit(repository, revision) if repository else None
        if repository is None or commit is None:
            return
        content = repository.commits[commit].get("/".join(parts))
        if content is None:
            self._refuse(404, "EntryNotFound")
            return
        headers = {"X-Repo-Commit": commit, "ETag": f'"{digest_as_git(content)}"'}
        if not parts[-1].endswith(LARGE):
            self._send(200, self._alter("/".join(parts), content), headers)
            return
        digest = self.server.keep(content)
        served = self._alter("/".join(parts), content)
        if served != content:
            self.server.large[digest] = served
        headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
        self._send(302, b"", headers | {"Location": f"{self.server.elsewhere}/large/{digest}"})

    def _serve_large(self, digest: str) -> None:
        if self.command == "PUT":
            stored = self.server.keep(self.body)
            self._send(200 if stored == digest else 400, b"")
            return
        content = self.server.large[digest]
        first = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0]
        part = content[int(first) :]
        self.send_response(206 if int(first) else 200)
        self.send_header("Content-Length", str(len(part)))
        if int(first):
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "GET":
            self._write_slowly(part)

    def _write_slowly(self, part: bytes) -> None:
        faults = self.server.faults
        for start in range(0, len(part), _PIECE):
            if faults.cut_after is not None and start >= faults.cut_after:
                self.close_connection = True
                return
            try:
                self.wfile.write(part[start : start + _PIECE])
                self.server.sent += len(part[start : start + _PIECE])
            except (BrokenPipeError, ConnectionResetError):  # the client was killed
                self.close_connection = True
                return
            if faults.bytes_per_second:
                time.sleep(_PIECE / faults.bytes_per_second)

    def _answer_batch(self) -> None:
        def describe(asked: dict[str, Any]) -> dict[str, Any]:
            if asked["oid"] in self.server.large:
                return asked
            return asked | {"actions": {"upload": {"href": f"{self.server.elsewhere}/large/{asked['oid']}"}}}

        self._send_json({"transfer": "basic", "objects": [describe(each) for each in json.loads(self.body)["objects"]]})

    def _take_commit(self, repository: Repository, hub_id: str, revision: str) -> None:
        files = dict(repository.commits.get(repository.refs.get(revision, ""), {}))
        for line in self.body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]
            elif entry["key"] == "deletedFile":
                files.pop(value["path"], None)
        commit = repository.commit(files, revision)
        self._send_json({"commitOid": commit, "commitUrl": f"{self.server.address}/{hub_id}/commit/{commit}"})

    def _find_repository(self, kind: str, hub_id: str) -> Repository | None:
        repository = self.server.repositories.get((kind, hub_id))
        if repository is None or (repository.is_private and "Authorization" not in self.headers):
            self._refuse(404, "RepoNotFound")
            return None
        if repository.is_gated:
            self._refuse(403, "GatedRepo")
            return None
        return repository

    def _find_commit(self, repository: Repository, revision: str) -> str | None:
        commit = repository.find(revision)
        if commit is None:
            self._refuse(404, "RevisionNotFound")
        return commit

    def _alter(self, name: str, content: bytes) -> bytes:
        return bytes(len(content)) if name in self.server.faults.altered else content

    def _refuse(self, status: int, code: str = "", message: str = "refused") -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": message})

    def _send_json(self, content: object, status: int = 200) -> None:
        self._send(status, json.dumps(content).encode())

    def _send(self, status: int, content: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _say_how(asked: Mapping[str, Any]) -> dict[str, Any]:
    mode = "lfs" if asked["path"].endswith(LARGE) else "regular"
    return {"path": asked["path"], "uploadMode": mode, "shouldIgnore": False, "oid": None}
