"""A model packed for the wheel and unpacked from it: the same trained tensors, rounded, and the packages' towers."""

import json
import shutil

import pytest
import safetensors.torch
import torch

from compodiff.bundled import DESCRIPTION, WEIGHTS, read_description
from compodiff.bundled.packing import choose_demo, pack_model
from compodiff.bundled.unpacking import unpack_model
from compodiff.encoders.edit_maps import FILE as EDIT_MAPS
from compodiff.encoders.edit_maps import RECORD as EDITS_DIGEST
from compodiff.errors import EncoderMismatch, InputInvalid
from compodiff.search.composer import Composer
from compodiff.search.query import Query
from compodiff.storage.digests import digest_file

DEMO = {"pictures": {}, "queries": []}


@pytest.fixture(scope="module")
def artifacts(search_project):
    return search_project / "artifacts"


@pytest.fixture(scope="module")
def packed(artifacts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    pack_model(artifacts / "composed", artifacts / "encoder", folder, version="version 7", demo=DEMO)
    return folder


def test_what_is_unpacked_is_the_model_in_half_precision_with_the_packages_towers(artifacts, packed, tmp_path):
    place = unpack_model(tmp_path / "models", packed)
    before, after = (safetensors.torch.load_file(each / "encoder" / "model.safetensors") for each in (artifacts, place))
    assert before.keys() == after.keys()
    trained = [name for name in before if not torch.equal(before[name], after[name])]
    assert trained
    assert all(name.startswith(("text.proj", "visual.proj", "logit_scale")) for name in trained)
    assert all(torch.equal(before[name].half().float(), after[name]) for name in trained)
    ours, theirs = (Composer.load(each / "composed", each / "encoder") for each in (artifacts, place))
    query = [Query(None, "a red circle")]
    assert torch.nn.functional.cosine_similarity(ours.compose(query), theirs.compose(query)).item() > 0.999


def test_the_towers_are_not_packed_and_a_second_time_nothing_is_written(artifacts, packed, tmp_path):
    size = (packed / WEIGHTS).stat().st_size
    assert size < (artifacts / "encoder" / "model.safetensors").stat().st_size / 10
    place = unpack_model(tmp_path, packed)
    written = (place / "encoder" / "model.safetensors").stat().st_mtime_ns
    assert unpack_model(tmp_path, packed) == place
    assert (place / "encoder" / "model.safetensors").stat().st_mtime_ns == written


def test_packages_with_other_towers_are_refused_and_leave_nothing(packed, tmp_path):
    said = json.loads((packed / DESCRIPTION).read_text())
    said["encoder"]["picture"]["weights_digest"] = "0" * 64
    other = tmp_path / "other"
    other.mkdir()
    (other / DESCRIPTION).write_text(json.dumps(said))
    (other / WEIGHTS).symlink_to(packed / WEIGHTS)
    with pytest.raises(EncoderMismatch, match=r"a package brings other towers; install with the pins"):
        unpack_model(tmp_path / "models", other)
    assert list((tmp_path / "models").iterdir()) == []


def test_what_the_encoder_knows_of_edits_goes_with_it(artifacts, tmp_path):
    encoder = tmp_path / "encoder"
    shutil.copytree(artifacts / "encoder", encoder)
    maps = {"up": torch.ones(2, 3, dtype=torch.float16)}
    safetensors.torch.save_file(maps, encoder / EDIT_MAPS)
    manifest = json.loads((encoder / "manifest.json").read_text())
    manifest["record"] = {EDITS_DIGEST: digest_file(encoder / EDIT_MAPS)}
    (encoder / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "packed").mkdir()
    pack_model(artifacts / "composed", encoder, tmp_path / "packed", version="", demo=DEMO)
    place = unpack_model(tmp_path / "models", tmp_path / "packed")
    kept = json.loads((place / "encoder" / "manifest.json").read_text())["record"][EDITS_DIGEST]
    assert digest_file(place / "encoder" / EDIT_MAPS) == kept


def test_an_installation_without_a_model_says_so(tmp_path):
    assert read_description(tmp_path) is None
    with pytest.raises(InputInvalid, match="this installation carries no model"):
        unpack_model(tmp_path / "models", tmp_path)


def test_the_demonstration_has_the_pictures_of_its_queries_and_others_evenly_spread():
    names = {f"openmoji-{place:02}": f"picture {place}" for place in range(40)}
    query = {"reference": "openmoji-03", "relative_caption": "blue", "targets": ["openmoji-04", "openmoji-05"]}
    demo = choose_demo([query], names, 10)
    assert demo["queries"] == [query]
    assert {"openmoji-03", "openmoji-04", "openmoji-05"} < demo["pictures"].keys()
    assert len(demo["pictures"]) == 10
    assert max(demo["pictures"]) > "openmoji-30"
