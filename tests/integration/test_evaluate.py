import base64
import json
import re
import shutil
from functools import partial
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from worlds.benchmark import EVALUATION, LEFT_HALF, SAMPLING, make_world

from compodiff.benchmarks.datasets.own import load_triplets
from compodiff.benchmarks.run import EmbeddingSource, ask_queries
from compodiff.embeddings import Embeddings
from compodiff.errors import CheckpointMismatch, EncoderMismatch, InputInvalid
from compodiff.stages.evaluate import RECALLS, evaluate, look_up_mask

ROWS = {"image_only", "text_only", "sum", "product", "prior", "composed"}


@pytest.fixture(scope="module")
def world(tmp_path_factory, tiny_encoder):
    return make_world(tmp_path_factory.mktemp("world"), tiny_encoder)


@pytest.fixture(scope="module")
def outputs(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs")
    run(world, folder)
    return folder


def run(world, folder, **changes):
    paths = vars(world) | changes
    written = {
        "metrics": folder / "emoji.json",
        "report": folder / "report",
        "scenes_metrics": folder / "scenes.json",
        "scenes_report": folder / "scenes_report",
    }
    evaluate(evaluation=EVALUATION, sampling=SAMPLING, **written, **paths)


def test_the_metrics_file_has_every_row_and_relation(outputs):
    found = json.loads((outputs / "emoji.json").read_text())
    assert found.keys() == ROWS | {"record"}
    for name in ROWS:
        row = found[name]
        assert all(0 <= row[recall] <= 1 for recall in RECALLS)
        assert row["relations"].keys() == {"colour", "shape"}
        assert row["relations"]["colour"]["queries"] == 60
        low, high = row["intervals"]["recall_at_5"]
        assert low <= row["recall_at_5"] <= high
    # 60 queries of one relation and 4 of another, which is too few for the mean over relations.
    weights = np.array([60, 4])
    for recall in RECALLS:
        each = [found["sum"]["relations"][relation][recall] for relation in ("colour", "shape")]
        assert found["sum"][recall] == pytest.approx(np.average(each, weights=weights))
        assert found["sum"]["mean_over_relations"][recall] == pytest.approx(each[0])


def test_an_untrained_residual_network_answers_with_the_reference(outputs):
    found = json.loads((outputs / "emoji.json").read_text())
    for recall in RECALLS:
        assert found["composed"][recall] == found["image_only"][recall]
    assert found["image_only"]["recall_at_10"] > found["image_only"]["recall_at_1"]


def test_the_flat_index_serves_what_was_measured(outputs):
    found = json.loads((outputs / "emoji.json").read_text())
    assert found["record"]["index"] == {"kind": "flat", "recall_at_10": found["composed"]["recall_at_10"]}


def test_the_record_says_what_was_chosen_and_what_the_scores_depend_on(outputs):
    found = json.loads((outputs / "emoji.json").read_text())
    assert found["record"]["baselines"]["text_weight"] in EVALUATION.text_weights
    assert found["record"]["baselines"]["product_offset"] in EVALUATION.product_offsets
    assert found["record"]["gallery"] == 24
    assert found["record"]["reference_removed"] is True
    assert found["record"]["encoder"]["name"] == "compodiff-tiny"
    assert len(found["record"]["weights_digest"]["composed"]) == 64


def test_scenes_are_scored_beside_the_emoji_with_masks_and_negative_texts(world, outputs, tmp_path):
    emoji, scenes = (json.loads((outputs / name).read_text()) for name in ("emoji.json", "scenes.json"))
    assert scenes.keys() == emoji.keys()
    assert (scenes["record"]["benchmark"], scenes["record"]["queries"]) == ("scenes", emoji["record"]["queries"] + 2)
    assert "index" not in scenes["record"], "no index serves the scenes"
    assert {"negative", "masked"} <= scenes["composed"]["relations"].keys()
    assert (outputs / "scenes_report" / "report.html").is_file()


def test_a_masked_query_is_asked_with_the_blanked_reference_and_its_mask(world):
    embeddings = Embeddings.load(world.embeddings)
    (part,) = load_triplets(world.scenes, "test")
    asked = ask_queries(part, EmbeddingSource(embeddings, partial(look_up_mask, embeddings, world.scenes)))
    plain, negative, masked = 0, len(part.queries) - 2, len(part.queries) - 1
    np.testing.assert_array_equal(asked.references[masked], embeddings.masked[0])
    np.testing.assert_array_equal(asked.masks[masked].numpy(), LEFT_HALF)
    assert not asked.masks[plain].any()
    assert not asked.masks[negative].any()
    assert asked.negative[[plain, negative]].tolist() == [0, embeddings.text_row["red"]]
    np.testing.assert_array_equal(asked.references[negative], embeddings.pictures[embeddings.picture_row["bar-red"]])


def test_a_mask_that_was_not_embedded_is_refused(world, tmp_path):
    scenes = shutil.copytree(world.scenes, tmp_path / "scenes")
    Image.fromarray(~LEFT_HALF).save(scenes / "mask.png")
    with pytest.raises(InputInvalid, match=r"bar-red is not embedded with mask\.png; run: dvc repro embed"):
        run(world, tmp_path, scenes=scenes)


def test_the_report_is_one_file_with_pictures_that_decode(outputs):
    html = (outputs / "report" / "report.html").read_text()
    assert "src='http" not in html
    assert html.count("class=query") == 2 * EVALUATION.shown_queries
    pictures = re.findall(r"src='data:image/(?:png|jpeg);base64,([^']+)'", html)
    for picture in set(pictures):
        Image.open(BytesIO(base64.b64decode(picture))).load()
    # reference and target, and three rankings, of each shown query; one plot a metric and one of all
    assert len(pictures) >= 2 * EVALUATION.shown_queries * (2 + 3 * EVALUATION.shown_pictures)
    assert (outputs / "report" / "all_queries.png").is_file()


def test_the_same_inputs_give_the_same_bytes(world, outputs, tmp_path):
    run(world, tmp_path)
    for name in ("emoji.json", "report/report.html", "scenes.json", "scenes_report/report.html"):
        assert (tmp_path / name).read_bytes() == (outputs / name).read_bytes()


def test_a_model_of_another_encoder_is_refused(world, tmp_path):
    card = json.loads((world.composed / "config.json").read_text())
    card["encoder"]["weights_digest"] = "f" * 64
    other = tmp_path / "composed"
    other.mkdir()
    (other / "model.safetensors").write_bytes((world.composed / "model.safetensors").read_bytes())
    (other / "config.json").write_text(json.dumps(card))
    with pytest.raises(EncoderMismatch, match="weights_digest"):
        run(world, tmp_path, composed=other)
    assert not (tmp_path / "emoji.json").exists()


def test_a_truncated_model_is_refused(world, tmp_path):
    broken = tmp_path / "prior"
    broken.mkdir()
    (broken / "config.json").write_bytes((world.prior / "config.json").read_bytes())
    (broken / "model.safetensors").write_bytes((world.prior / "model.safetensors").read_bytes()[:100])
    with pytest.raises(CheckpointMismatch, match=r"model\.safetensors"):
        run(world, tmp_path, prior=broken)


def test_embeddings_hold_the_gallery_and_the_mask_of_a_query(world):
    embeddings = Embeddings.load(world.embeddings)
    assert len(embeddings.pictures) == 24
    assert len(embeddings.masked) == 1
