"""`compodiff benchmark run` in a project of its own, on a real tiny CLIP and an untrained composed model."""

import json
import shutil
from pathlib import Path

import pytest
from factories import draw_box_mask
from typer.testing import CliRunner
from worlds.benchmark import drawn

from compodiff.cli import app
from compodiff.embeddings import making
from compodiff.errors import CompoDiffError, EncoderMismatch, InputInvalid
from compodiff.storage.atomic import write_json

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def project(models, tmp_path, monkeypatch):
    shutil.copy(REPOSITORY / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(models, name, root, *options):
    arguments = ["benchmark", "run", name, "--root", root, "--model", models, "--no-track", *options]
    result = CliRunner().invoke(app, list(map(str, arguments)))
    if isinstance(result.exception, CompoDiffError):
        raise result.exception
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def test_a_run_writes_rows_and_all_that_they_depend_on(models, project):
    output = run(models, "triplets", models / "benchmark", "--json", "out.json", "--html", "out.html", "--steps", "1")
    assert "64 queries, gallery 24; 0 pictures missing" in output
    result = json.loads((project / "out.json").read_text())
    assert result["rows"].keys() == {"image_only", "text_only", "sum", "product", "composed"}
    # An untrained residual network answers with the reference.
    assert result["metrics"] == result["rows"]["image_only"]["metrics"]
    record = result["record"]
    assert record["encoder"]["picture"]["activation"] == "gelu"
    assert record["sampling"]["num_inference_steps"] == 1
    assert record["baselines"] == {"text_weight": 0.5, "product_offset": 0.0}
    expected = {"template", "gallery_variant", "weights_digest", "k", "missing_pictures", "bootstrap", "ties"}
    assert expected <= record.keys()
    assert "src='data:image/png" in (project / "out.html").read_text()


def test_a_second_run_embeds_nothing_and_a_changed_picture_is_embedded_again(models, project, monkeypatch):
    own = project / "own"
    (own / "gallery").mkdir(parents=True)
    for colour in ("red", "green", "blue"):
        drawn("disc", colour).save(own / "gallery" / f"{colour}.png")
    query = {"reference": "red", "relative_caption": "make it blue", "target": "blue"}
    (own / "queries.jsonl").write_text(json.dumps(query))
    embedded = []
    embed_pictures = making._embed_pictures

    def counting(encoder, material, params, names):
        embedded.extend(names)
        return embed_pictures(encoder, material, params, names)

    monkeypatch.setattr(making, "_embed_pictures", counting)
    run(models, "triplets", own)
    assert embedded == ["blue", "green", "red"]
    run(models, "triplets", own)
    assert len(embedded) == 3
    drawn("ring", "blue").save(own / "gallery" / "blue.png")
    run(models, "triplets", own)
    assert len(embedded) == 6


def test_negative_texts_and_masks_of_queries_are_asked(models, project):
    own = project / "own"
    (own / "gallery").mkdir(parents=True)
    for colour in ("red", "green", "blue"):
        drawn("disc", colour).save(own / "gallery" / f"{colour}.png")
    draw_box_mask((48, 48), (0, 0, 48, 24)).save(own / "mask.png")
    query = {"reference": "red", "relative_caption": "make it blue", "target": "blue"}
    (own / "queries.jsonl").write_text(json.dumps(query | {"negative": "green", "mask": "mask.png"}))
    assert "1 queries, gallery 3" in run(models, "triplets", own)
    (own / "queries.jsonl").write_text(json.dumps(query | {"mask": "nowhere.png"}))
    with pytest.raises(InputInvalid, match=r"nowhere\.png"):
        run(models, "triplets", own)


@pytest.fixture
def fashion(project):
    """FashionIQ with four pictures of each category."""
    for category in ("dress", "shirt", "toptee"):
        names = [f"{category}-{number}" for number in range(4)]
        queries = [
            {"candidate": names[0], "target": names[1], "captions": ["is red", "is long"]},
            {"candidate": names[2], "target": names[3], "captions": ["is blue", "is short"]},
        ]
        write_json(project / f"fiq/captions/cap.{category}.val.json", queries)
        write_json(project / f"fiq/image_splits/split.{category}.val.json", names)
        (project / "fiq/images").mkdir(exist_ok=True)
        for name, colour in zip(names, ("red", "green", "blue", "gold"), strict=True):
            drawn("box", colour).convert("RGB").save(project / f"fiq/images/{name}.jpg")
    return project / "fiq"


def test_fashioniq_runs_over_its_three_galleries(models, fashion, project):
    run(models, "fashioniq", fashion, "--json", "out.json", "--html", "out.html")
    result = json.loads((project / "out.json").read_text())
    assert result["rows"]["composed"]["parts"].keys() == {"dress", "shirt", "toptee"}
    assert result["metrics"]["recall_at_10"] == 1  # three pictures are left when there are four
    assert result["record"]["gallery"] == 12


def test_missing_pictures_are_named_or_counted(models, fashion, project):
    (fashion / "images/dress-0.jpg").unlink()  # a reference
    (fashion / "images/shirt-3.jpg").unlink()  # a target
    with pytest.raises(InputInvalid, match=r"2 of 12 pictures of fashioniq are missing \(dress-0, shirt-3 \.\.\.\)"):
        run(models, "fashioniq", fashion)
    output = run(models, "fashioniq", fashion, "--skip-missing", "--json", "out.json")
    assert "4 queries, gallery 10; 2 pictures missing" in output
    record = json.loads((project / "out.json").read_text())["record"]
    assert (record["missing_pictures"], record["missing_picture_names"]) == (2, ["dress-0", "shirt-3"])
    assert (record["queries_without_reference"], record["skipped_queries"]) == (1, 1)


def test_a_picture_that_does_not_decode_is_named(models, fashion):
    (fashion / "images/toptee-2.jpg").write_bytes(b"not a picture")
    with pytest.raises(InputInvalid, match=r"picture toptee-2 \(.*toptee-2\.jpg\) cannot be read"):
        run(models, "fashioniq", fashion)


def test_genecis_runs_on_crops_of_its_pictures(models, project):
    def one(number):
        return {"image_id": number, "instance_bbox": [4, 4, 20, 20]}

    item = {"condition": "colour", "reference": one(1), "target": one(2), "gallery": [one(3), one(4)]}
    write_json(project / "genecis/change_attribute.json", [item])
    (project / "genecis/VG_100K").mkdir()
    for number, colour in enumerate(("red", "green", "blue", "gold"), start=1):
        drawn("box", colour).convert("RGB").save(project / f"genecis/VG_100K/{number}.jpg")
    run(models, "genecis-change-attribute", project / "genecis", "--json", "out.json", "--html", "out.html")
    result = json.loads((project / "out.json").read_text())
    assert result["metrics"]["recall_at_3"] == 1
    assert result["record"]["gallery_variant"] == "3 a query"


def test_a_benchmark_without_its_gallery_is_not_run_over_a_smaller_one(models, project):
    item = {"id": 0, "reference_img_id": 1, "relative_caption": "x", "shared_concept": "y"}
    write_json(project / "circo/annotations/val.json", [item | {"target_img_id": 2, "gt_img_ids": [2]}])
    with pytest.raises(InputInvalid, match=r"the gallery of circo val is not there; .*doctor circo"):
        run(models, "circo", project / "circo")


def test_a_model_of_another_encoder_is_refused(models, project):
    other = project / "other"
    shutil.copytree(models / "encoder", other / "encoder")
    shutil.copytree(models / "composed", other / "composed")
    card = json.loads((other / "composed/config.json").read_text())
    card["encoder"]["picture"]["image_size"] = 64
    write_json(other / "composed/config.json", card)
    with pytest.raises(EncoderMismatch, match="image_size"):
        run(other, "triplets", models / "benchmark")
