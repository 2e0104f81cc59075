"""The stages up to a training's material, run as `compodiff run` does, over a small catalogue with a tiny real CLIP."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from worlds.exact_edits import make_exact_edits_params

from compodiff.catalogue.pictures import Catalogue
from compodiff.embeddings import SetEmbeddings
from compodiff.embeddings.set_arrays import ASKED, REFERENCE, REFERENCE_CAPTION, SCORED_TARGET, TARGET_CAPTION
from compodiff.encoders import Encoder, load_encoder, save_encoder
from compodiff.errors import DataRejected, InputInvalid
from compodiff.images import decode
from compodiff.model.sampling.process import Process
from compodiff.params import load_params
from compodiff.sets import Place, TrainingSet, open_set
from compodiff.stages.declaration import run_stage
from compodiff.stages.training_material import load_material
from compodiff.training.batches import Batches
from compodiff.training.examples import TARGET
from compodiff.training.fit import TrainingMaterial

PARAMS = Path(__file__).parents[2] / "params.yaml"
SETS = ("emoji", "emoji_edits", "scenes", "exact_edits")
BENCHMARKS = ("emoji", "scenes")
ALL_THROUGH = dict.fromkeys(
    ("image_image", "image_caption_reference", "image_caption_target", "directional", "keyword_image"), -1.0
)


def small_params() -> dict[str, Any]:
    """The default's params at the size of the small catalogue; nothing is dropped, as its CLIP knows nothing."""
    params: dict[str, Any] = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    for own in params["sets"].values():
        own["min_rows"] = 1
        own["floors"] = None if own["floors"] is None else ALL_THROUGH
    params["sets"]["scenes"]["families"] = {"train": 3, "validation": 1}
    params["sets"]["exact_edits"] = make_exact_edits_params(min_rows=1).model_dump()
    params["benchmarks"]["scenes"]["families"] = {"validation": 1, "test": 1}
    params["synthesis"]["rows_per_shard"] = 100
    params["validation"]["max_rejected_fraction"] = 0.2  # of few pictures, many look alike
    return params


def make_project(root: Path, data: Path, encoder: Encoder) -> Path:
    (root / "params.yaml").write_text(yaml.safe_dump(small_params(), sort_keys=False))
    (root / "data").symlink_to(data)
    save_encoder(encoder, root / "artifacts" / "encoder")
    return root


def run_all(root: Path) -> None:
    for name in SETS:
        run_stage(f"make_set@{name}", root)
        run_stage(f"embed@{name}", root)
    for name in BENCHMARKS:
        run_stage(f"assemble_benchmark@{name}", root)
        run_stage(f"embed_benchmark@{name}", root)
    for name in SETS:
        run_stage(f"validate@{name}", root)
    for name in ("prior", "composed"):
        run_stage(f"mix@{name}", root)


@pytest.fixture(scope="module", autouse=True)
def one_process() -> Any:
    # A spawned process would not know the tiny CLIP, which open_clip was told of in this one.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPODIFF_WORKERS", "1")
        yield


@pytest.fixture(scope="module")
def root(small_data: Path, tiny_encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with everything that training needs; read only."""
    root = make_project(tmp_path_factory.mktemp("project"), small_data, tiny_encoder)
    run_all(root)
    return root


def copy_of(root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(root, tmp_path / "project", symlinks=True))


def artifact(root: Path, kind: str, name: str) -> Path:
    return root / "artifacts" / kind / name


def open_material(root: Path) -> TrainingMaterial:
    names = ("mixtures/composed", "embeddings", "validation", "encoder")
    return load_material(*(root / "artifacts" / name for name in names))


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_sets_refer_to_pictures_where_they_lie(root: Path, small_catalogue: Catalogue) -> None:
    emoji = open_set(artifact(root, "sets", "emoji"))
    for row in list(emoji.iterate_rows())[::25]:
        place = Place.of(row["picture"])
        assert emoji.places.read(place) == small_catalogue.read_bytes(place.name)
    splits = small_catalogue.pictures["split"].value_counts()
    assert emoji.description.rows == {"train": splits["train"], "validation": splits["validation"]}
    assert not list(artifact(root, "sets", "emoji").glob("*.tar")), "no picture is stored a second time"


def test_no_row_is_of_a_test_concept(root: Path, small_catalogue: Catalogue) -> None:
    test = set(small_catalogue.pictures.index[small_catalogue.pictures["split"] == "test"])
    rows = list(open_set(artifact(root, "sets", "emoji_edits")).iterate_rows())
    assert rows
    assert not {row[end]["name"] for row in rows for end in ("reference", "target")} & test


@pytest.mark.parametrize("name", ["emoji_edits", "scenes"])
def test_arrays_hold_what_the_encoder_says_of_each_row(root: Path, name: str) -> None:
    own, arrays = (
        open_set(artifact(root, "sets", name)),
        SetEmbeddings.load(artifact(root, "embeddings", name)),
    )
    encoder = load_encoder(root / "artifacts" / "encoder")
    scored = arrays.open_array("scored")
    rows = list(own.iterate_rows())
    assert len(rows) == len(scored) == len(arrays.open_array("keys"))
    for number in (0, len(rows) // 2, len(rows) - 1):
        row = rows[number]
        pictures = [decode(own.places.read(Place.of(row[end]))) for end in ("reference", "target")]
        texts = [row["reference_caption"], row["target_caption"], row["keyword"]]
        images = arrays.images[scored[number, [REFERENCE, SCORED_TARGET]]]
        pooled = arrays.texts_pooled[scored[number, [REFERENCE_CAPTION, TARGET_CAPTION, ASKED]]]
        # float16 keeps 11 bits: at values up to 4 that is 2e-3.
        np.testing.assert_allclose(images, encoder.encode_images(pictures).numpy(), atol=4e-3)
        np.testing.assert_allclose(pooled, encoder.encode_texts(texts).pooled.numpy(), atol=4e-3)


def test_masks_of_scenes_are_what_their_rows_say(root: Path) -> None:
    own, arrays = open_set(artifact(root, "sets", "scenes")), SetEmbeddings.load(artifact(root, "embeddings", "scenes"))
    rows = list(own.iterate_rows())
    table = np.array(arrays.open_array("masked"))
    for row in table[:: max(1, len(table) // 10)]:
        bits = np.frombuffer(rows[row[0]]["mask"], np.uint8)
        np.testing.assert_array_equal(np.packbits(arrays.read_masks([row[3]])[0].reshape(-1)), bits)


def test_a_batch_is_drawn_of_every_set_in_its_share(root: Path) -> None:
    params = load_params(root / "params.yaml").composed.model_copy(update={"batch_size": 100, "condition_dropout": 0.0})
    material = open_material(root)
    batches = Batches(material.mixture, params, Process("diffusion", 1000))
    (batch,) = batches.make_microbatches(0, rank=0, world_size=1)
    tasks = params.tasks.by_task
    drawn = {"masked": (batch.rows.mask >= 0).sum(), "text_to_image": (batch.rows.image < 0).sum()}
    assert all(int(count) == round(100 * sum(tasks[task].values())) for task, count in drawn.items())
    plan = batches.draw_plan(np.random.default_rng(1))
    shares = [sum(of_task.get(name, 0.0) for of_task in tasks.values()) for name in sorted(SETS)]
    assert [*np.bincount(plan.rows[:, 4])] == [round(100 * share) for share in shares if share]
    assert len(material.queries.own) > 10


def test_a_second_run_makes_the_same_bytes(root: Path, small_data: Path, tiny_encoder: Encoder, tmp_path: Path) -> None:
    again = make_project(tmp_path, small_data, tiny_encoder)
    run_all(again)
    for kind in ("sets", "embeddings", "mixtures", "benchmarks"):
        assert bytes_below(again / "artifacts" / kind).keys() == bytes_below(root / "artifacts" / kind).keys()
    for name in SETS:
        for kind in ("sets", "embeddings"):
            one, two = bytes_below(artifact(again, kind, name)), bytes_below(artifact(root, kind, name))
            assert [path for path in one if one[path] != two[path]] == []


def test_a_new_caption_embeds_its_shard_alone(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = copy_of(root, tmp_path)
    before = SetEmbeddings.load(artifact(project, "embeddings", "emoji_edits"))
    kept = [np.array(before.open_array(name)) for name in ("images", "triplet", "scored", "text_offsets")]
    embedded: list[str] = []
    from compodiff.embeddings import set_making

    class Counting(set_making.SetEmbedder):
        def __call__(self, task: Any) -> int:
            embedded.append(task.shard.file)
            return super().__call__(task)

    monkeypatch.setattr(set_making, "SetEmbedder", Counting)
    run_stage("embed@emoji_edits", project)
    assert embedded == [], "nothing changed"
    after = SetEmbeddings.load(artifact(project, "embeddings", "emoji_edits"))
    for name, old in zip(("images", "triplet", "scored", "text_offsets"), kept, strict=True):
        np.testing.assert_array_equal(after.open_array(name), old)
    edit_first_caption(open_set(artifact(project, "sets", "emoji_edits")))
    run_stage("embed@emoji_edits", project)
    assert embedded == ["train-00000.parquet"]


def edit_first_caption(own: TrainingSet) -> None:
    """Change a relative caption in the first shard, and seal the set anew."""
    import pyarrow.parquet as pq

    from compodiff.sets import finish_set

    path = Path(own.address) / own.description.shards[0].file
    rows = pq.read_table(path)
    content = rows.to_pylist()
    content[0]["relative_captions"] = ["quite another wish"]
    pq.write_table(type(rows).from_pylist(content, schema=rows.schema), path)
    finish_set(Path(own.address), own.description.kind, licence="", source="")


def test_a_set_that_was_made_anew_is_not_validated_by_old_embeddings(root: Path, tmp_path: Path) -> None:
    project = copy_of(root, tmp_path)
    edit_first_caption(open_set(artifact(project, "sets", "emoji_edits")))
    with pytest.raises(InputInvalid, match=r"is not the one that was embedded; run: dvc repro"):
        run_stage("validate@emoji_edits", project)


def test_other_floors_judge_again_without_a_picture(root: Path, tmp_path: Path) -> None:
    project = copy_of(root, tmp_path)
    rows = pd.read_parquet(artifact(root, "validation", "emoji_edits") / "rows.parquet")
    floor = float(rows["image_image"].quantile(0.3))
    params = small_params()
    params["sets"]["emoji_edits"]["floors"] = ALL_THROUGH | {"image_image": floor}
    (project / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    (project / "data").unlink()  # the pictures are gone
    run_stage("validate@emoji_edits", project)
    judged = pd.read_parquet(artifact(project, "validation", "emoji_edits") / "rows.parquet")
    dropped = judged["rejected_by"].str.contains("image_image")
    assert dropped.tolist() == (judged["image_image"] < np.float32(floor)).tolist()
    result = json.loads((artifact(project, "validation", "emoji_edits") / "result.json").read_text())
    assert result["dropped_by_floor"] == {"image_image": int(dropped.sum())}
    train = np.load(artifact(project, "validation", "emoji_edits") / "train" / "triplet.npy")
    assert len(train) == int((judged["accepted"] & (judged["split"] == "train")).sum())
    arrays = SetEmbeddings.load(artifact(project, "embeddings", "emoji_edits"))
    reference, target = (arrays.images[train[:, column]].astype(np.float32) for column in (1, TARGET))
    cosines = (reference * target).sum(1) / np.linalg.norm(reference, axis=1) / np.linalg.norm(target, axis=1)
    assert (cosines >= floor - 1e-3).all()


def test_too_few_rows_stop_the_pipeline_and_say_so(root: Path, tmp_path: Path) -> None:
    project = copy_of(root, tmp_path)
    params = small_params()
    params["sets"]["scenes"]["min_rows"] = 100_000
    (project / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    with pytest.raises(DataRejected, match=r"enough_rows found .* at least 100,000 are wanted; see .*quarantine"):
        run_stage("validate@scenes", project)
    assert not (artifact(project, "validation", "scenes") / "train").exists(), "nothing to train on is left behind"


def test_a_set_that_does_not_fit_its_task_is_named_before_training(root: Path, tmp_path: Path) -> None:
    project = copy_of(root, tmp_path)
    params = small_params()
    params["composed"]["tasks"] = {"text_to_image": {"emoji": 0.5}, "masked": {}, "triplet": {"emoji": 0.5}}
    (project / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    with pytest.raises(InputInvalid, match=r"the set emoji has no example of the task triplet, .* of triplets"):
        run_stage("mix@composed", project)


def test_another_set_makes_nothing_anew(root: Path, tmp_path: Path) -> None:
    project = copy_of(root, tmp_path)
    params = small_params()
    own = artifact(root, "sets", "scenes") / "set.json"
    params["sets"]["mine"] = {"recipe": "own", "reads": str(own), "min_rows": 1, "floors": None}
    (project / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    for stage in ("make_set@mine", "embed@mine", "validate@mine", "mix@prior", "mix@composed"):
        run_stage(stage, project)
    for name in ("prior", "composed"):
        assert bytes_below(artifact(project, "mixtures", name)) == bytes_below(artifact(root, "mixtures", name))
    one, two = (SetEmbeddings.load(artifact(project, "embeddings", name)) for name in ("mine", "scenes"))
    np.testing.assert_array_equal(one.images, two.images)


def test_a_set_removed_between_two_stages_is_one_line(root: Path, tmp_path: Path) -> None:
    project = copy_of(root, tmp_path)
    shutil.rmtree(artifact(project, "validation", "scenes"))
    with pytest.raises(InputInvalid, match=r"scenes.*result.json is not there; run: dvc repro embed@scenes"):
        open_material(project)


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ("embed@mine", "no stage 'embed@mine'; params.yaml gives: embed@emoji, embed@emoji_edits, embed@scenes"),
        ("embed", "there is no stage 'embed'; params.yaml gives: embed@emoji"),
        ("train_prior@emoji", "there is no stage 'train_prior@emoji'; params.yaml gives: train_prior"),
        ("synthesize", "there is no stage 'synthesize'; the stages are: make_set"),
    ],
)
def test_a_stage_that_is_none_is_named(root: Path, stage: str, message: str) -> None:
    with pytest.raises(InputInvalid, match=message):
        run_stage(stage, root)


def test_an_input_that_is_missing_is_named_with_the_way_to_it(root: Path, tmp_path: Path) -> None:
    project = copy_of(root, tmp_path)
    shutil.rmtree(artifact(project, "sets", "emoji"))
    with pytest.raises(InputInvalid, match=r"embed@emoji needs artifacts/sets/emoji, .* run there: dvc repro embed@"):
        run_stage("embed@emoji", project)
