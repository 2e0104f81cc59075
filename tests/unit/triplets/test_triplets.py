import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import pytest
from compodiff.triplets.making import TripletMaker, plan_shards, plan_sources
from compodiff.triplets.manifest import finish, measure_acceptance
from compodiff.triplets.sources import RereadPairs
from factories import make_floors
from PIL import Image

from compodiff.catalogue.pictures import Catalogue, paint_on_white
from compodiff.errors import InputInvalid
from compodiff.pairs.pair import CaptionPair, CatalogueGenerator, PictureGenerator, PicturePair
from compodiff.storage import shards

if TYPE_CHECKING:
    pass

LET_ALL_THROUGH = make_floors()


def pair(number: int, split: str = "train", reference: str = "square", target: str = "disc") -> CaptionPair:
    captions = (f"a {reference}", f"a {target}", f"make it a {target}")
    return CaptionPair(f"{split}-{number:08d}", split, reference, target, *captions, relation="shape", keyword=target)


@dataclass
class Painter:
    """Draws two candidates of each pair in a colour that follows from the key, as a diffusion model would."""

    drawn: int = 0

    def generate(self, pairs: Sequence[CaptionPair]) -> Iterator[PicturePair]:
        for captions in pairs:
            for candidate in range(2):
                key = f"{captions.key}-{candidate}"
                colour = tuple(np.random.default_rng(list(key.encode())).integers(0, 255, 3).tolist())
                named = replace(captions, key=key, reference=f"{key}-reference", target=f"{key}-target")
                self.drawn += 1
                yield PicturePair(named, Image.new("RGB", (40, 40), colour), Image.new("RGB", (40, 40), "white"))


def test_shards_have_one_split_and_keep_the_order(tmp_path):
    pairs = [pair(n) for n in range(5)] + [pair(n, "validation") for n in range(2)]
    plans = plan_shards(tmp_path, pairs, 2)
    names = ["train-00000.tar", "train-00001.tar", "train-00002.tar", "validation-00000.tar"]
    assert [plan.path.name for plan in plans] == names
    assert [it for plan in plans for it in plan.pairs] == pairs


def test_a_shard_has_one_source_and_numbers_run_through(tmp_path):
    sources = [[pair(0), pair(1, "validation")], [], [pair(2), pair(3)]]
    plans = list(plan_sources(tmp_path, sources, 1))
    made = [(plan.path.name, plan.source, plan.pairs[0].key) for plan in plans]
    assert made == [
        ("train-00000.tar", 0, "train-00000000"),
        ("validation-00000.tar", 0, "validation-00000001"),
        ("train-00001.tar", 2, "train-00000002"),
        ("train-00002.tar", 2, "train-00000003"),
    ]


def test_a_plan_is_there_as_soon_as_it_is_full(tmp_path):
    read = []

    def pairs() -> Iterator[CaptionPair]:
        for number in range(10):
            read.append(number)
            yield pair(number)

    plans = plan_sources(tmp_path, [RereadPairs(pairs)], 3)
    assert [len(next(plans).pairs) for _ in range(2)] == [3, 3]
    assert len(read) == 6
    assert [len(plan.pairs) for plan in plans] == [3, 1]


def test_the_catalogue_gives_both_pictures_on_white(small_data, small_catalogue: Catalogue):
    generator: PictureGenerator = CatalogueGenerator(small_data)
    first, second = small_catalogue.pictures.index[:2]
    (made,) = generator.generate([pair(0, reference=first, target=second)])
    for picture, name in ((made.reference, first), (made.target, second)):
        assert picture.mode == "RGB"
        assert picture.tobytes() == paint_on_white(small_catalogue.read(name)).tobytes()
    with pytest.raises(InputInvalid, match="there is no picture 'square'"):
        next(generator.generate([pair(0)]))


def test_a_generator_that_draws_several_candidates_fills_a_shard(tmp_path, encoder_folder):
    (plan,) = plan_shards(tmp_path, [pair(n) for n in range(3)], 10)
    TripletMaker(Painter, encoder_folder, LET_ALL_THROUGH, 2)(plan)
    rows = shards.read_table(shards.name_sidecar(plan.path))
    assert rows["key"].tolist() == [f"train-{n:08d}-{candidate}" for n in range(3) for candidate in range(2)]
    entries = dict(shards.read_entries(plan.path))
    assert list(entries) == rows["key"].tolist()
    drawn = {it.captions.key: it for it in Painter().generate(plan.pairs)}
    for row in rows.to_dict("records"):
        files = entries[row["key"]]
        with Image.open(BytesIO(files["reference.png"])) as stored:
            assert stored.tobytes() == drawn[row["key"]].reference.tobytes()
        described = json.loads(files["json"])
        assert described.pop("keyword") == "disc"
        assert described == pytest.approx(row)


def test_scores_are_the_encoders_and_only_accepted_rows_are_in_the_tar(tmp_path, encoder_folder):
    from compodiff.encoders import load_encoder
    from compodiff.pairs.similarity import compare_with_keyword

    (plan,) = plan_shards(tmp_path, [pair(n) for n in range(4)], 10)
    encoder = load_encoder(encoder_folder)
    targets = [it.target for it in Painter().generate(plan.pairs)]
    keywords = encoder.encode_texts(["disc"] * len(targets)).pooled.numpy()
    expected = compare_with_keyword(keywords, encoder.encode_images(targets).numpy())
    references = [it.reference for it in Painter().generate(plan.pairs)]
    similar = np.einsum(
        "nd,nd->n",
        *(
            (made := encoder.encode_images(pictures).numpy()) / np.linalg.norm(made, axis=1, keepdims=True)
            for pictures in (references, targets)
        ),
    )
    floor = float(np.median(similar))
    TripletMaker(Painter, encoder_folder, LET_ALL_THROUGH.model_copy(update={"image_image": floor}), 3)(plan)
    rows = shards.read_table(shards.name_sidecar(plan.path))
    np.testing.assert_allclose(rows["keyword_image"], expected, atol=1e-4)
    np.testing.assert_allclose(rows["image_image"], similar, atol=1e-4)
    assert 0 < rows["accepted"].sum() < len(rows)
    assert set(rows.loc[~rows["accepted"], "rejected_by"]) == {"image_image"}
    assert [key for key, _ in shards.read_entries(plan.path)] == rows.loc[rows["accepted"], "key"].tolist()


def test_where_no_keyword_is_known_the_target_is_held_against_the_relative_caption(tmp_path, encoder_folder):
    from compodiff.encoders import load_encoder
    from compodiff.pairs.similarity import compare_with_keyword

    (plan,) = plan_shards(tmp_path, [replace(pair(0), keyword="", relative_caption="paint it black"), pair(1)], 10)
    TripletMaker(Painter, encoder_folder, LET_ALL_THROUGH, 3)(plan)
    encoder = load_encoder(encoder_folder)
    asked = encoder.encode_texts(["paint it black"] * 2 + ["disc"] * 2).pooled.numpy()
    targets = encoder.encode_images([it.target for it in Painter().generate(plan.pairs)]).numpy()
    rows = shards.read_table(shards.name_sidecar(plan.path))
    np.testing.assert_allclose(rows["keyword_image"], compare_with_keyword(asked, targets), atol=1e-4)


def test_each_distinct_picture_and_text_of_a_shard_is_embedded_once(tmp_path, encoder_folder, small_data, monkeypatch):
    from compodiff.encoders import Encoder

    names = Catalogue.load(small_data).pictures.index[:4]
    pairs = [pair(n, reference=a, target=b) for n, (a, b) in enumerate((a, b) for a in names for b in names if a != b)]
    (plan,) = plan_shards(tmp_path, pairs, 100)
    pictures, texts = [], []
    encode_images, encode_texts = Encoder.encode_images, Encoder.encode_texts

    def counted_images(self, given, *rest):
        pictures.extend(given := list(given))
        return encode_images(self, given, *rest)

    def counted_texts(self, given):
        texts.extend(given)
        return encode_texts(self, given)

    monkeypatch.setattr(Encoder, "encode_images", counted_images)
    monkeypatch.setattr(Encoder, "encode_texts", counted_texts)
    TripletMaker(partial(CatalogueGenerator, small_data), encoder_folder, LET_ALL_THROUGH, 5)(plan)
    assert len(pictures) == 4
    assert sorted(texts) == sorted({f"a {name}" for name in names} | set(names))


def test_the_report_says_what_each_filter_lets_through(tmp_path, encoder_folder):
    pairs = [pair(n) for n in range(5)] + [pair(n, "validation") for n in range(2)]
    plans = plan_shards(tmp_path, pairs, 3)
    maker = TripletMaker(Painter, encoder_folder, LET_ALL_THROUGH.model_copy(update={"directional": 0.0}), 4)
    for plan in plans:
        maker(plan)
    finish(tmp_path, [plan.path for plan in plans])
    rows = shards.read_table(tmp_path / "manifest.parquet")
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["candidates"] == len(rows) == 14
    assert report["accepted"] == rows["accepted"].sum() == sum(seal["entries"] for seal in report["shards"].values())
    assert report["accepted_by_filter"]["directional"] == pytest.approx((rows["directional"] >= 0).mean())
    assert report["accepted_by_filter"]["image_image"] == 1
    assert report == measure_acceptance(rows) | {"shards": report["shards"]}
    assert list(report["shards"]) == [plan.path.name for plan in plans]
