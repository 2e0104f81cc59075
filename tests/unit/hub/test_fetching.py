"""What arrives by `compodiff get` is whole, is what the hub states, and is found again without the network."""

import hashlib
import json
from pathlib import Path

import pytest
from huggingface_hub import constants
from worlds.hub import LoopbackHub, Repository

from compodiff.errors import CheckpointMismatch, InputInvalid, ResourceUnavailable
from compodiff.hub import find_model
from compodiff.hub.cache import find_model_folder
from compodiff.hub.fetching import fetch_offer, inspect_offer
from compodiff.hub.known import parse_address
from compodiff.hub.listing import list_models

WEIGHTS = bytes(range(256)) * 2000
FILES = {
    "config.json": b'{"hidden_size": 4}',
    "model.safetensors": WEIGHTS,
    "tokenizer/vocab.txt": b"a\nb\n",
    "pytorch_model.bin": b"a pickle",
    "README.md": b"# A model",
}


def get(text: str):
    return fetch_offer(inspect_offer(parse_address(text)))


def test_a_model_arrives_whole_and_is_found_without_the_network(hub: LoopbackHub, home: Path) -> None:
    commit = hub.add("org/tiny", FILES)
    offer = inspect_offer(parse_address("org/tiny"))
    assert (offer.commit, offer.licence, offer.count_missing()) == (commit, "mit", offer.size)
    found = fetch_offer(offer)
    assert found.files == ("config.json", "model.safetensors", "tokenizer/vocab.txt")
    assert {name: (found.folder / name).read_bytes() for name in found.files} == {n: FILES[n] for n in found.files}
    assert inspect_offer(parse_address("org/tiny")).count_missing() == 0
    count = len(hub.asked)
    assert find_model("org/tiny") == found
    assert find_model("org/tiny", commit).folder == find_model_folder("org/tiny") == found.folder
    assert find_model_folder(home) == home
    assert len(hub.asked) == count
    assert constants.HF_HUB_OFFLINE
    (listed,) = [each for each in list_models() if each.name == "org/tiny"]
    assert (listed.state, listed.revision, listed.bytes_here) == ("whole", commit, offer.size)


def test_what_is_here_is_not_fetched_again(hub: LoopbackHub) -> None:
    hub.add("org/tiny", FILES)
    get("org/tiny")
    del hub.asked[:]
    get("org/tiny")
    assert not [each for each in hub.asked if each.method == "GET" and each.path.startswith("/large/")]
    assert not [each for each in hub.asked if each.method == "GET" and each.path.endswith("config.json")]


def test_a_revision_that_was_recorded_is_found_again(hub: LoopbackHub) -> None:
    first = hub.add("org/tiny", FILES)
    get("org/tiny")
    second = hub.add("org/tiny", {**FILES, "config.json": b"{}"})
    hub.repositories["model", "org/tiny"].refs["v1"] = first
    assert find_model("org/tiny").revision == first  # nobody has fetched the second
    assert get("org/tiny@v1").revision == first
    assert get("org/tiny@main").revision == second
    assert find_model("org/tiny").revision == second
    assert find_model("org/tiny@v1").revision == find_model("org/tiny", "v1").revision == first
    with pytest.raises(ResourceUnavailable, match=r"^the model org/tiny@v2 .* run: compodiff get org/tiny@v2$"):
        find_model("org/tiny@v2")


def test_a_commit_alone_stands_for_the_newest(hub: LoopbackHub) -> None:
    commit = hub.add("org/tiny", FILES)
    get(f"org/tiny@{commit}")
    assert find_model("org/tiny").revision == commit


def test_a_set_is_fetched_whole(hub: LoopbackHub) -> None:
    files = {"set.json": b"{}", "train-00000.parquet": b"rows", "README.md": b"# A set"}
    hub.add("org/mine", files, kind="dataset")
    found = get("datasets/org/mine")
    assert {name: (found.folder / name).read_bytes() for name in found.files} == files


def test_a_download_goes_on_where_it_stopped(hub: LoopbackHub, home: Path) -> None:
    content = hashlib.shake_256(b"weights").digest(25_000_000)  # the library writes pieces of 10 MB
    hub.add("org/large", {"model.safetensors": content})
    hub.faults.cut_after = 12_000_000
    # Each piece is taken up by the library itself, until none comes any more.
    offer = inspect_offer(parse_address("org/large"))
    unfinished = home / "hub/models--org--large/blobs" / f"{offer.files[0].digest}.compodiff-partial"
    unfinished.parent.mkdir(parents=True)
    unfinished.write_bytes(content[:11_000_000])
    assert offer.count_missing() == 14_000_000
    found = fetch_offer(offer)
    assert (found.folder / "model.safetensors").read_bytes() == content
    firsts = [each.first for each in hub.asked if each.method == "GET" and each.path.startswith("/large/")]
    assert firsts == [11_000_000, 11_000_000 + 10 * 2**20]
    assert not unfinished.exists()


def test_an_unfinished_file_that_is_too_long_or_wrong_is_fetched_anew(hub: LoopbackHub, home: Path) -> None:
    hub.add("org/tiny", FILES)
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    unfinished = home / "hub/models--org--tiny/blobs" / f"{digest}.compodiff-partial"
    unfinished.parent.mkdir(parents=True)
    unfinished.write_bytes(b"x" * (len(WEIGHTS) + 1))
    assert get("org/tiny").files
    (unfinished.parent / digest).unlink()
    unfinished.write_bytes(b"x" * 100)
    with pytest.raises(ResourceUnavailable, match=r"came with the digest \w{12}, .* run the same command again$"):
        get("org/tiny")
    assert (get("org/tiny").folder / "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_with_another_digest_is_refused_and_removed(hub: LoopbackHub, home: Path, name: str) -> None:
    hub.add("org/tiny", FILES)
    hub.faults.altered = {name}
    with pytest.raises(ResourceUnavailable, match=rf"^{name} of org/tiny came with the digest"):
        get("org/tiny")
    with pytest.raises(ResourceUnavailable, match="compodiff get org/tiny"):
        find_model("org/tiny")
    hub.faults.altered = set()
    assert len(list((home / "hub/models--org--tiny/blobs").glob("*-partial"))) == 0
    hub.large.clear()
    assert get("org/tiny").files


def test_a_model_of_which_a_file_went_is_not_whole(hub: LoopbackHub) -> None:
    hub.add("org/tiny", FILES)
    found = get("org/tiny")
    weights = (found.folder / "model.safetensors").resolve()
    weights.write_bytes(WEIGHTS[:10])
    with pytest.raises(ResourceUnavailable, match=r"not whole .*1 of 3 files .* model.safetensors\); run: comp"):
        find_model("org/tiny")
    (listed,) = [each for each in list_models() if each.name == "org/tiny"]
    assert listed.state == "in part"
    assert get("org/tiny") == find_model("org/tiny") == found
    weights.unlink()
    assert get("org/tiny") == find_model("org/tiny") == found


def test_pickles_are_refused_before_anything_is_fetched(hub: LoopbackHub) -> None:
    hub.add("org/pickled", {"config.json": b"{}", "pytorch_model.bin": b"x"})
    with pytest.raises(CheckpointMismatch, match="pickle only"):
        get("org/pickled")
    assert not [each for each in hub.asked if "resolve" in each.path]


@pytest.mark.parametrize("name", ["../../evil.json", "/evil.json", "..\\evil.json", "C:\\evil.json", "a/../../b.json"])
def test_a_name_that_leads_out_of_the_cache_is_refused(hub: LoopbackHub, home: Path, name: str) -> None:
    hub.add("org/evil", {name: b"{}", "model.safetensors": b"x"})
    with pytest.raises(InputInvalid, match="leads astray"):
        get("org/evil")
    assert not home.exists()


@pytest.mark.parametrize("commit", ["../../../evil", "main", "C" * 40])
def test_a_commit_that_is_none_is_refused(hub: LoopbackHub, home: Path, commit: str) -> None:
    repository = hub.repositories.setdefault(("model", "org/evil"), Repository())
    repository.commits[commit] = dict(FILES)
    repository.refs["main"] = commit
    with pytest.raises(InputInvalid, match="names no commit"):
        get("org/evil")
    assert not home.exists()


def test_what_the_hub_does_not_state_the_table_does(hub: LoopbackHub) -> None:
    hub.add("navervision/CompoDiff-Aesthetic", {"config.json": b"{}", "pytorch_model.bin": b"x"}, licence=None)
    offer = inspect_offer(parse_address("compodiff-aesthetic"))
    assert offer.licence == "Apache-2.0"
    assert fetch_offer(offer).files == ("config.json", "pytorch_model.bin")


def test_a_cache_that_another_program_filled_is_used(hub: LoopbackHub) -> None:
    from huggingface_hub import hf_hub_download

    from compodiff.hub.online import allow_network

    hub.add("org/tiny", {"config.json": b"{}", "model.safetensors": WEIGHTS})
    with allow_network():
        for name in ("config.json", "model.safetensors"):
            hf_hub_download("org/tiny", name)
    assert find_model("org/tiny").files == ("config.json", "model.safetensors")
    assert json.loads((find_model("org/tiny").folder / "config.json").read_text()) == {}
