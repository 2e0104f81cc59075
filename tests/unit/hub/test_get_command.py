"""`compodiff get`: what it shows before it fetches, and one line with a way out for whatever goes wrong."""

import json
import socket
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import constants
from worlds.hub import LoopbackHub

from compodiff.errors import ResourceUnavailable
from compodiff.hub import find_model
from compodiff.hub.fetching import fetch_offer, inspect_offer
from compodiff.hub.known import parse_address

Run = Callable[..., tuple[int, str, str]]
FILES = {"config.json": b"{}", "model.safetensors": bytes(300_000)}


def test_size_licence_and_revision_are_shown_first(hub: LoopbackHub, compodiff: Run) -> None:
    commit = hub.add("org/tiny", FILES, licence="apache-2.0")
    code, out, err = compodiff("get", "org/tiny", "--dry-run")
    assert (code, err) == (0, "")
    assert out == f"org/tiny at {commit[:12]}; 300 kB in 2 files, 300 kB to fetch; licence: apache-2.0\n"
    assert not [each for each in hub.asked if "resolve" in each.path]
    code, out, err = compodiff("get", "org/tiny")
    folder = find_model("org/tiny").folder
    assert (code, err) == (0, "")
    assert out.splitlines()[1:] == [f"org/tiny is here: {folder}"]
    assert "nothing to fetch" in compodiff("get", "org/tiny")[1]


def test_a_program_reads_what_was_fetched(hub: LoopbackHub, compodiff: Run) -> None:
    commit = hub.add("org/tiny", FILES)
    code, out, _ = compodiff("get", "org/tiny", "--json")
    (told,) = json.loads(out)
    assert code == 0
    assert told == {
        "name": "org/tiny",
        "hub_id": "org/tiny",
        "revision": commit,
        "pinned": False,
        "licence": "mit",
        "bytes": 300_002,
        "bytes_to_fetch": 300_002,
        "files": ["config.json", "model.safetensors"],
        "folder": str(find_model("org/tiny").folder),
    }
    assert json.loads(compodiff("get", "org/tiny", "--dry-run", "--json")[1])[0]["folder"] is None


def test_a_pinned_commit_is_taken_and_what_a_model_needs_comes_along(
    hub: LoopbackHub, compodiff: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = hub.add("openai/clip-vit-large-patch14", FILES)
    hub.add("openai/clip-vit-large-patch14", {**FILES, "config.json": b"[]"})
    bigg = hub.add("laion/CLIP-ViT-bigG-14-laion2B-39B-b160k", FILES)
    hub.add("navervision/CompoDiff-Aesthetic", {"config.json": b"{}", "pytorch_model.bin": b"x"})
    known = {"clip-l14": pinned, "clip-bigg14": bigg}
    table = read_table() | {name: change_revision(name, commit) for name, commit in known.items()}
    # These weights are none, of which no model could be made.
    table["compodiff-aesthetic"] = replace(table["compodiff-aesthetic"], library="compodiff")
    monkeypatch.setattr("compodiff.hub.known.read_known", lambda: table)
    code, out, _ = compodiff("get", "compodiff-aesthetic", "clip-l14")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[:3]] == ["compodiff-aesthetic:", "clip-l14:", "clip-bigg14:"]
    assert f"at {pinned[:12]}, pinned; " in out
    assert find_model("clip-l14").revision == find_model("openai/clip-vit-large-patch14").revision == pinned


def read_table() -> dict:
    from compodiff.hub.known import read_known

    return dict(read_known())


def change_revision(name: str, commit: str):
    return replace(read_table()[name], revision=commit)


def test_the_list_names_what_is_known_and_what_is_here(hub: LoopbackHub, compodiff: Run) -> None:
    hub.add("org/tiny", FILES)
    compodiff("get", "org/tiny")
    code, out, _ = compodiff("get", "--list")
    assert code == 0
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in out.splitlines()}
    assert lines["clip-l14"].startswith("not here 1.7 GB MIT")
    assert lines["org/tiny"] == "whole 300 kB"
    told = {each["name"]: each for each in json.loads(compodiff("get", "--list", "--json")[1])}
    assert told["compodiff-aesthetic"]["state"] == "not here"
    assert told["org/tiny"]["bytes_here"] == 300_002


def refuse(run: Run, *arguments: str, code: int) -> str:
    """Run a command that fails; return its one line."""
    got, out, err = run(*arguments)
    assert (got, out) == (code, "")
    assert err.startswith("compodiff: ")
    assert err.count("\n") == 1
    return err.removeprefix("compodiff: ").rstrip("\n")


def test_names_that_stand_for_nothing(hub: LoopbackHub, compodiff: Run) -> None:
    hub.add("org/tiny", FILES)
    assert "near: clip-l14" in refuse(compodiff, "get", "clip-l4", code=1)
    assert refuse(compodiff, "get", "org/na me", code=1).endswith("no hub id (org/name)")
    assert refuse(compodiff, "get", code=1).startswith("name a model")
    assert "no model org/nothing, or it is private" in refuse(compodiff, "get", "org/nothing", code=1)
    gone = refuse(compodiff, "get", "org/tiny@v9", code=1)
    assert gone == "org/tiny has no revision v9, or none any more; compodiff get org/tiny@main takes the newest"
    assert "run: hf auth login" not in gone


def test_who_may_not_have_it(hub: LoopbackHub, compodiff: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("org/gated", FILES, is_gated=True)
    hub.add("org/tiny", FILES)
    assert "the authors of org/gated decide who gets it; ask on" in refuse(compodiff, "get", "org/gated", code=6)
    hub.token = "hf_right"  # noqa: S105
    for token in ("", "hf_secret"):
        monkeypatch.setenv("HF_TOKEN", token)
        told = refuse(compodiff, "get", "org/tiny", code=6)
        assert told == "the hub does not know who asks for org/tiny (401); log in: hf auth login, or set HF_TOKEN"
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    code, out, err = compodiff("get", "org/tiny")
    assert code == 0
    assert "hf_right" not in out + err
    # The address of large files is another server's: it gets no token.
    assert {each.has_token for each in hub.asked if each.path.startswith("/large/")} == {False}


def test_a_hub_that_cannot_be_reached_or_fails(
    hub: LoopbackHub, compodiff: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("org/tiny", FILES)
    hub.faults.status = 503
    assert refuse(compodiff, "get", "org/tiny", code=6).startswith("the hub answers 503 to org/tiny; run the same")
    hub.faults.status = 403
    assert "no right to fetch org/tiny (403)" in refuse(compodiff, "get", "org/tiny", code=6)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
        told = refuse(compodiff, "get", "org/tiny", code=6)
    assert told.startswith("the hub at http://127.0.0.1:")
    assert "cannot be reached (ConnectError); check the network" in told


def test_a_file_that_never_comes_whole(hub: LoopbackHub, compodiff: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)  # between the library's own tries
    hub.add("org/tiny", FILES)
    hub.faults.cut_after = 0
    code, out, err = compodiff("get", "org/tiny")
    assert (code, out.count("\n"), err.count("\n")) == (6, 1, 1)
    assert "cannot be reached (RemoteProtocolError)" in err
    hub.faults.cut_after = None
    assert compodiff("get", "org/tiny")[0] == 0


def test_a_full_disk(hub: LoopbackHub, compodiff: Run, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("org/tiny", FILES)  # 300 KB, and the disk has 256
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(disk / "hub"))
    code, out, err = compodiff("get", "org/tiny")
    assert (code, out.count("\n"), err.count("\n")) == (6, 1, 1)
    assert "org/tiny needs 300 kB, and the disk of " in err
    monkeypatch.setattr("compodiff.hub.fetching._require_space", lambda offer: None)  # another process takes the rest
    code, out, err = compodiff("get", "org/tiny")
    assert (code, err.count("\n")) == (6, 1)
    assert f"the disk of {disk / 'hub'} is full; free some space" in err


def test_a_cache_that_cannot_be_written(
    hub: LoopbackHub, compodiff: Run, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("org/here", {"config.json": b"{}", "model.safetensors": bytes(1000)})
    hub.add("org/other", {"config.json": b"{}", "model.safetensors": bytes(1000)})
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(disk / "hub"))
    assert compodiff("get", "org/here")[0] == 0
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    code, out, err = compodiff("get", "org/here")  # a cache that many share is often read-only
    assert (code, err) == (0, "")
    assert f"org/here is here: {find_model('org/here').folder}" in out
    code, out, err = compodiff("get", "org/other")
    assert (code, err.count("\n")) == (6, 1)
    assert "cannot be written (Read-only file system); make it writable, or set HF_HOME to a folder of your own" in err


def test_a_log_in_page_in_place_of_the_hub(hub: LoopbackHub, compodiff: Run) -> None:
    hub.add("org/tiny", FILES)
    hub.faults.page = b"<html>Welcome to our hotel</html>"
    told = refuse(compodiff, "get", "org/tiny", code=6)
    assert told == (
        f"what answers at {hub.address} is no hub (it sends no JSON); log in to the network if it asks for that, and "
        "check HF_ENDPOINT"
    )


def test_a_log_in_page_in_place_of_a_file(hub: LoopbackHub) -> None:
    hub.add("org/tiny", FILES)
    offer = inspect_offer(parse_address("org/tiny"))
    hub.faults.page = b"<html>Welcome to our hotel</html>"
    with pytest.raises(ResourceUnavailable, match=r"^config.json of org/tiny came with another size than the 2 bytes"):
        fetch_offer(offer)
    hub.faults.page = None
    assert fetch_offer(offer).files
