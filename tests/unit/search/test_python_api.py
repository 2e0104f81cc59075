import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from factories import draw_box_mask
from PIL import Image

from compodiff import Blend, Searcher
from compodiff.errors import InputInvalid

RED, BLUE = "twemoji-1F534", "twemoji-1F535"


@pytest.fixture(scope="module")
def searcher(search_project) -> Searcher:
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(search_project)
        return Searcher.load("artifacts")


def _ids(ranking) -> list[str]:
    return [found.picture_id for found in ranking]


def test_five_lines_are_enough(searcher):
    ranking = searcher.search(reference=RED, text="make it blue", negative="square", k=5)
    assert [found.rank for found in ranking] == [1, 2, 3, 4, 5]
    assert [found.score for found in ranking] == sorted((found.score for found in ranking), reverse=True)
    assert ranking[0].path.is_file()
    assert ranking[:2] == (ranking[0], ranking[1])
    assert set(ranking.seconds) == {"encode", "sample", "search"}


def test_a_picture_its_file_and_its_emoji_are_one_reference(searcher, small_catalogue, tmp_path):
    (tmp_path / "mine.png").write_bytes(small_catalogue.read_bytes(RED))
    rankings = [
        _ids(searcher.search(given, "make it blue", mode="image", exclude=(RED,)))
        for given in (RED, "🔴", tmp_path / "mine.png", str(tmp_path / "mine.png"), small_catalogue.read(RED))
    ]
    assert all(ranking == rankings[0] for ranking in rankings)


def test_an_answer_is_the_next_reference_and_several_are_averaged(searcher):
    first = searcher.search(RED, "make it blue")
    assert _ids(searcher.search(first, mode="image", k=3, exclude=(RED,))) == _ids(first)[:3]
    mean = searcher.search([RED, BLUE], mode="image")
    assert _ids(mean) == _ids(searcher.search(Blend((RED, BLUE), (2, 2)), mode="image"))
    only = searcher.search(Blend((RED, BLUE), (0, 1)), mode="image", k=5)
    assert _ids(only) == _ids(searcher.search(BLUE, mode="image", k=5, exclude=(RED,)))


def test_an_answer_prints_and_draws_itself(searcher, search_project, tmp_path):
    ranking = searcher.search([RED, Image.new("RGB", (40, 40), "green")], "make it <blue>", k=5)
    lines = repr(ranking).splitlines()
    assert lines[0] == 'Ranking of 5 pictures for "make it <blue>"'
    assert [line.split()[0] for line in lines[1:]] == ["1", "2", "3", "4", "5"]
    html = ranking._repr_html_()
    assert html.count("data:image/png;base64,") == 7
    assert "make it &lt;blue&gt;" in html
    assert "body" not in html, "a notebook has one"
    narrow, wide = (ranking.draw(columns, 50) for columns in (2, 5))
    assert narrow.width < wide.width
    assert narrow.height > wide.height
    assert wide.getbbox() is not None
    for _ in range(2):
        ranking.save_page(tmp_path / "answer.html", "drawn by us")
    assert "drawn by us" in (tmp_path / "answer.html").read_text()
    (tmp_path / "mine.html").write_text("mine")
    with pytest.raises(InputInvalid, match=r"mine\.html"):
        ranking.save_page(tmp_path / "mine.html")
    assert ranking[0].path == ranking[0].path.resolve()
    assert repr(searcher) == f"Searcher(157 pictures of {ranking[0].path.parent}, artifacts)"


def test_a_masked_reference_is_drawn_with_its_mask(searcher):
    picture, mask = Image.new("RGB", (40, 40), "white"), draw_box_mask((40, 40), (0, 0, 20, 40))
    (shown,) = searcher.search(picture, "a hat", mask=mask).drawn_from.read(()).references
    left, right = shown.picture.getpixel((5, 20)), shown.picture.getpixel((35, 20))
    assert left[0] > left[1] + 80
    assert right == (255, 255, 255)


def test_masks_come_as_pictures_files_and_cells(searcher, tmp_path):
    picture = Image.new("RGB", (40, 40), "red")
    mask = draw_box_mask((40, 40), (0, 0, 20, 40))
    mask.save(tmp_path / "mask.png")
    cells = np.zeros((64, 64), bool)
    cells[:, :32] = True
    rankings = [_ids(searcher.search(picture, "a hat", mask=given)) for given in (mask, tmp_path / "mask.png", cells)]
    assert rankings[0] == rankings[1] == rankings[2] != _ids(searcher.search(picture, "a hat"))


def test_conditions_and_seeds(searcher):
    found = searcher.search(text="a face", where="picture_id like 'openmoji%'", k=30)
    assert all(each.picture_id.startswith("openmoji") for each in found)
    first, again, other = (searcher.search(RED, "a hat", seed=seed, k=50) for seed in (1, 1, 2))
    assert [each.score for each in first] == [each.score for each in again] != [each.score for each in other]


def test_many_threads_get_the_answers_of_one(searcher):
    texts = [f"colour {number}" for number in range(24)]
    alone = [_ids(searcher.search(RED, text)) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda text: _ids(searcher.search(RED, text)), texts)) == alone


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "neither a reference nor a text"),
        ({"reference": "nowhere.png"}, "nowhere.png is neither a picture file nor in the index"),
        ({"reference": "blue circle"}, r"which holds \w+-1F535 \(blue circle \(\w+\)\), \w+-1F535 "),
        ({"text": "a", "k": 0}, "k is 0"),
        ({"text": "a", "where": "height > 3"}, 'column "height" not found'),
        ({"reference": [RED, BLUE], "text": "a", "mask": np.ones((64, 64), bool)}, "a mask needs one reference"),
        ({"reference": RED, "mask": np.ones((3, 3), bool)}, r"the mask has the shape \(3, 3\)"),
    ],
)
def test_what_cannot_be_answered_is_said_in_words(searcher, arguments, message):
    with pytest.raises(InputInvalid, match=message):
        searcher.search(**arguments)


def test_blends_need_fitting_weights():
    for weights in ((1.0,), (0.0, 0.0), (-1.0, 2.0), (float("nan"), 1.0)):
        with pytest.raises(InputInvalid, match="weights"):
            Blend(("a", "b"), weights)


def test_models_and_indexes_that_are_not_there_are_named(search_project, monkeypatch):
    monkeypatch.chdir(search_project)
    with pytest.raises(InputInvalid, match="name a folder with composed/ and encoder/"):
        Searcher.load("nowhere")
    with pytest.raises(InputInvalid, match="there is no index at nowhere; run: compodiff index build"):
        Searcher.load("artifacts", index="nowhere")


# Each takes a part of a second, or seconds, to import, and a search needs none.
HEAVY = (
    "torch._dynamo",
    "sympy",
    "scipy",
    "transformers",
    "open_clip",
    "timm",
    "torchvision",
    "boto3",
    "mlflow",
    "duckdb",
)


def test_a_search_imports_nothing_heavy_and_opens_the_image_tower_for_a_picture_that_no_index_holds(
    search_project, searcher, small_catalogue, tmp_path
):
    drawn = small_catalogue.read(RED).transpose(Image.Transpose.TRANSPOSE).resize((50, 40))
    drawn.save(tmp_path / "drawn.png")
    code = (
        "import sys; from compodiff import Searcher; searcher = Searcher.load('artifacts'); "
        f"[searcher.search({RED!r}, 'make it blue'), searcher.search(text='circle')]; "
        "pictures = searcher.composer.encoder.picture; print(pictures.is_open); "
        "print(searcher.search(sys.argv[1], 'make it blue').embedding.tobytes().hex(), pictures.is_open); "
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "drawn.png")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=search_project, check=True)
    expected = searcher.search(drawn, "make it blue").embedding
    opened, found, heavy = done.stdout.splitlines()
    assert (opened, found.split()[1], heavy) == ("False", "True", "[]")
    # Two processes may round otherwise, where memory that they multiply begins elsewhere.
    assert np.frombuffer(bytes.fromhex(found.split()[0]), np.float32) == pytest.approx(expected, abs=1e-6)
    assert expected.shape == (32,)


def test_importing_the_package_imports_no_torch():
    code = "import sys, compodiff; print('torch' in sys.modules); compodiff.Searcher; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
    assert not hasattr(__import__("compodiff"), "nothing")
