"""known.toml has the form that its readers expect, and names are understood or refused with the nearest ones."""

import dataclasses
import re
import tomllib
from pathlib import Path
from typing import get_args

import open_clip
import pytest

import compodiff.hub.known as module
from compodiff.errors import InputInvalid
from compodiff.hub import KnownModel, read_known
from compodiff.hub.known import COMMIT, Library, parse_address

TABLE = tomllib.loads(Path(module.__file__).with_name("known.toml").read_text(encoding="utf-8"))
FIELDS = {field.name for field in dataclasses.fields(KnownModel)} - {"name"}


@pytest.mark.parametrize("name", list(TABLE))
def test_an_entry_says_what_is_needed_to_fetch_and_open_it(name: str) -> None:
    entry, known = TABLE[name], read_known()[name]
    assert set(entry) <= FIELDS
    assert re.fullmatch(r"[a-z0-9-]+", name)
    assert parse_address(name).hub_id == parse_address(known.hub_id).hub_id == known.hub_id
    assert known.revision is None or COMMIT.fullmatch(known.revision)
    assert known.library in get_args(Library)
    assert known.licence
    assert known.purpose
    assert known.megabytes is None or known.megabytes > 0
    assert set(known.needs) <= set(TABLE) - {name}
    assert known.is_pickle == any(pattern.endswith(".bin") for pattern in known.files)


def test_models_of_open_clip_are_named_as_open_clip_names_them() -> None:
    listed = [it for it in read_known().values() if it.library == "open_clip"]
    assert listed
    for it in listed:
        tags = open_clip.list_pretrained_tags_by_model(it.architecture)
        found = [open_clip.get_pretrained_cfg(it.architecture, tag) for tag in tags]
        (config,) = [each for each in found if each.get("hf_hub", "").rstrip("/") == it.hub_id]
        assert config.get("quick_gelu", False) == it.quick_gelu


def test_the_released_model_brings_both_encoders() -> None:
    released = read_known()["compodiff-aesthetic"]
    assert [read_known()[name].hub_id for name in released.needs] == [
        "openai/clip-vit-large-patch14",
        "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k",
    ]


@pytest.mark.parametrize("text", ["clipl14", "clip-l15", "clip l14"])
def test_an_unknown_name_shows_the_nearest(text: str) -> None:
    with pytest.raises(InputInvalid, match=rf"^'{text}' is no model that compodiff knows \(near: clip-l14"):
        parse_address(text)


@pytest.mark.parametrize(
    "text",
    ["", "org/", "/name", "org/name/more", "../etc/passwd", "org/..", "org/na--me", "org/.name", "a b/c"],
)
def test_a_hub_id_of_the_wrong_form_is_one_line(text: str) -> None:
    with pytest.raises(InputInvalid, match=r"^[^\n]* no hub id \(org/name\)$"):
        parse_address(text)


@pytest.mark.parametrize("revision", ["", "../x", "/x", "a b", "-x"])
def test_a_revision_of_the_wrong_form_is_refused(revision: str) -> None:
    with pytest.raises(InputInvalid, match="names no revision; write NAME@COMMIT"):
        parse_address(f"org/name@{revision}")


def test_a_revision_may_be_named_and_is_pinned_otherwise() -> None:
    pinned = read_known()["clip-l14"].revision
    assert parse_address("clip-l14").revision == pinned
    assert parse_address("openai/clip-vit-large-patch14").revision == pinned
    assert parse_address("clip-l14@main").revision == "main"
    assert parse_address("org/name", "v1").revision == "v1"
    assert str(parse_address("clip-l14")) == "clip-l14"
    assert str(parse_address("clip-l14@v2")) == "clip-l14@v2"
    assert parse_address("datasets/org/set").kind == "dataset"
