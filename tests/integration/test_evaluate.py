import base64
import json
import re
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
import torch
from factories import make_index_params
from PIL import Image
from worlds.benchmark import COLOURS, EMBEDDING, EVALUATION, LEFT_HALF, SAMPLING, drawn, make_world

from compodiff.benchmarks.datasets.assembled import Assembled, open_assembled
from compodiff.benchmarks.datasets.embedding import embed_parts, find_present
from compodiff.benchmarks.datasets.own import load_triplets
from compodiff.benchmarks.run import EmbeddingSource, ask_queries, make_masks
from compodiff.benchmarks.run_assembled import RECALLS
from compodiff.embeddings import Embeddings, blank_masked
from compodiff.encoders import load_encoder
from compodiff.errors import CheckpointMismatch, EncoderMismatch
from compodiff.index import index
from compodiff.stages.evaluate import evaluate
from compodiff.storage.atomic import write_json

ROWS = {"image_only", "text_only", "sum", "product", "prior", "composed"}


@pytest.fixture(scope="module")
def world(tmp_path_factory, tiny_encoder):
    return make_world(tmp_path_factory.mktemp("world"), tiny_encoder)


@pytest.fixture(scope="module")
def outputs(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs")
    for name in ("emoji", "scenes"):
        run(world, folder, name)
    return folder


def run(world, folder, name="emoji", **changes):
    paths = {each: getattr(world, each) for each in ("encoder", "prior", "composed", "index")}
    own = {
        "emoji": {"benchmark": world.benchmark, "embeddings": world.embeddings},
        "scenes": {"benchmark": world.scenes, "embeddings": world.scenes_embeddings},
    }
    written = {"metrics": folder / f"{name}.json", "report": folder / name}
    evaluate(evaluation=EVALUATION, sampling=SAMPLING, **(paths | own[name] | written | changes))


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
    assert found["record"]["encoder"]["picture"]["name"] == "compodiff-tiny"
    assert len(found["record"]["weights_digest"]["composed"]) == 64


def test_scenes_are_scored_with_masks_and_negative_texts(outputs):
    emoji, scenes = (json.loads((outputs / name).read_text()) for name in ("emoji.json", "scenes.json"))
    assert scenes.keys() == emoji.keys()
    assert (scenes["record"]["benchmark"], scenes["record"]["queries"]) == ("scenes", emoji["record"]["queries"] + 3)
    assert {"negative", "masked"} <= scenes["composed"]["relations"].keys()
    page = (outputs / "scenes" / "report.html").read_text()
    for row in (row for name, row in scenes.items() if name != "record"):
        assert {"kept", "arrived"} <= row.keys() & row["intervals"].keys()
        assert 0 <= row["kept"] <= 1
        assert 0 <= row["arrived"] <= 1
    assert "<th>kept</th><th>arrived</th>" in page
    assert "kept" not in emoji["composed"], "where no region is known, nothing is said"


def test_a_masked_query_is_asked_with_the_blanked_reference_and_its_mask(world):
    embeddings, encoder = Embeddings.load(world.scenes_embeddings), load_encoder(world.encoder)
    (part,) = load_triplets(world.scenes, "test")
    asked = ask_queries(part, EmbeddingSource(embeddings, make_masks(world.scenes, encoder)))
    plain, negative, masked = 0, len(part.queries) - 2, len(part.queries) - 1
    pixels = encoder.preprocess(part.pictures.read("bar-red"))[None]
    blanked = encoder.encode_pixels(blank_masked(pixels, torch.from_numpy(LEFT_HALF)[None]))[0]
    np.testing.assert_allclose(asked.references[masked], blanked.numpy(), atol=1e-5)
    np.testing.assert_array_equal(asked.masks[masked].numpy(), LEFT_HALF)
    assert not asked.masks[plain].any()
    assert not asked.masks[negative].any()
    assert asked.negative[[plain, negative]].tolist() == [0, embeddings.text_row["red"]]
    whole = embeddings.pictures[embeddings.picture_row["bar-red"]]
    np.testing.assert_array_equal(asked.references[negative], whole)
    assert np.abs(asked.references[masked] - whole).max() > 1e-3


def test_an_index_of_another_gallery_serves_nothing_of_this_benchmark(world, tmp_path):
    embedded = Embeddings.load(world.embeddings)
    fewer = list(embedded.picture_row)[1:]
    table = {"picture_id": fewer, "name": fewer, "path": "x", "offset": 0, "length": 0, "sha256": fewer}
    index.build(
        tmp_path / "index",
        embeddings=embedded.pictures[1:],
        pictures=pd.DataFrame(table),
        encoder=embedded.encoder,
        params=make_index_params(),
        pictures_root="..",
    )
    run(world, tmp_path, index=tmp_path / "index")
    assert "index" not in json.loads((tmp_path / "emoji.json").read_text())["record"]


def test_a_benchmark_in_files_of_its_own_reports_the_figures_of_its_protocol(world, tmp_path):
    folder, embeddings = make_fashion(tmp_path, load_encoder(world.encoder))
    run(world, tmp_path, benchmark=folder, embeddings=embeddings)
    found = json.loads((tmp_path / "emoji.json").read_text())
    assert found.keys() == ROWS | {"record"}
    assert {"recall_at_10", "recall_at_50"} <= found["composed"].keys()
    assert "recall_at_1" not in found["composed"]
    assert found["record"]["benchmark"] == "mine"
    assert found["record"]["baselines"] == {"text_weight": 0.5, "product_offset": 0.0}  # no validation split
    assert "index" not in found["record"]


def make_fashion(root, encoder):
    """FashionIQ with four pictures of each category, assembled under the name `mine` and embedded."""
    for category in ("dress", "shirt", "toptee"):
        names = [f"{category}-{number}" for number in range(4)]
        queries = [{"candidate": names[0], "target": names[1], "captions": ["is red", "is long"]}]
        write_json(root / f"fiq/captions/cap.{category}.val.json", queries)
        write_json(root / f"fiq/image_splits/split.{category}.val.json", names)
        (root / "fiq/images").mkdir(exist_ok=True)
        for name, colour in zip(names, COLOURS, strict=False):
            drawn("box", colour).convert("RGB").save(root / f"fiq/images/{name}.jpg")
    (root / "assembled").mkdir()
    Assembled("mine", "fashioniq", "../fiq", "val", None).write(root / "assembled")
    parts = open_assembled(root / "assembled").load("val")
    embed_parts(root / "embedded", find_present(parts, skip_missing=False), encoder, EMBEDDING)
    return root / "assembled", root / "embedded"


def test_the_report_is_one_file_with_pictures_that_decode(outputs):
    html = (outputs / "emoji" / "report.html").read_text()
    assert "src='http" not in html
    assert html.count("class=query") == 2 * EVALUATION.shown_queries
    pictures = re.findall(r"src='data:image/(?:png|jpeg);base64,([^']+)'", html)
    for picture in set(pictures):
        Image.open(BytesIO(base64.b64decode(picture))).load()
    # reference and target, and three rankings, of each shown query; one plot a metric and one of all
    assert len(pictures) >= 2 * EVALUATION.shown_queries * (2 + 3 * EVALUATION.shown_pictures)
    assert (outputs / "emoji" / "all_queries.png").is_file()


def test_the_same_inputs_give_the_same_bytes(world, outputs, tmp_path):
    for name in ("emoji", "scenes"):
        run(world, tmp_path, name)
    for name in ("emoji.json", "emoji/report.html", "scenes.json", "scenes/report.html", "emoji/outcomes.json"):
        assert (tmp_path / name).read_bytes() == (outputs / name).read_bytes()


def test_a_model_of_another_encoder_is_refused(world, tmp_path):
    card = json.loads((world.composed / "config.json").read_text())
    card["encoder"]["picture"]["weights_digest"] = "f" * 64
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
