"""Exact edits: what each does to a picture, what is said of it, and triplets of the catalogue's and of own pictures."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from factories import draw_patches
from PIL import Image
from worlds.exact_edits import make_exact_edits_params, make_folder_edits_params

from compodiff.errors import InputInvalid
from compodiff.scenes.exact.captions import BACK, GROUND, MIRROR, TINT, describe_edited, list_wordings
from compodiff.scenes.exact.generator import EditChoices, ExactEditor, load_subjects, make_exact_pairs
from compodiff.scenes.exact.operations import COLOURS, ExactEdit, edit_picture
from compodiff.scenes.scene import CANVAS

CHOICES = EditChoices(seed=17, edits_per_picture=4)
PICTURE = draw_patches(3).resize((CANVAS, CANVAS))
PIXELS = np.asarray(PICTURE).astype(int)


def edit(relation: str, **more):
    return np.asarray(edit_picture(PICTURE, ExactEdit(relation, **more))).astype(int)


@pytest.mark.parametrize(
    ("relation", "pixels"),
    [
        (MIRROR, PIXELS[:, ::-1]),
        ("upside down", PIXELS[::-1, ::-1]),
        ("turn left", np.rot90(PIXELS)),
        ("turn right", np.rot90(PIXELS, -1)),
        ("negative", 255 - PIXELS),
    ],
)
def test_turned_mirrored_and_negative_pictures_have_the_same_pixels(relation, pixels):
    assert (edit(relation) == pixels).all()


def test_light_and_detail():
    assert edit("darken", strength=1.0).mean() < edit("darken", strength=0.0).mean() < PIXELS.mean()
    for way in (0, 1):
        assert edit("brighten", way=way).mean() > PIXELS.mean()
    grey = edit("grey")
    assert (grey == grey[..., :1]).all()
    steps = [np.abs(np.diff(pixels, axis=0)).sum() for pixels in (edit("blur", strength=1.0), edit("blur"), PIXELS)]
    assert steps == sorted(steps)


@pytest.mark.parametrize("way", [0, 1, 2])
@pytest.mark.parametrize("colour", ["red", "blue"])
def test_a_tint_moves_a_picture_towards_its_colour(colour, way):
    channel = {"red": 0, "blue": 2}[colour]
    share = [pixels[..., channel].sum() / pixels.sum() for pixels in (edit(TINT, colour=colour, way=way), PIXELS)]
    assert share[0] > share[1]


def test_distance():
    around = edit("farther", strength=1.0, way=2)
    assert around[0].max() == 0  # a black margin
    assert around[CANVAS // 2].max() > 0
    closer = edit("closer", strength=1.0)
    middle = Image.fromarray(PIXELS.astype(np.uint8)).crop((45, 45, 115, 115)).resize((CANVAS, CANVAS))
    assert np.abs(closer - np.asarray(middle).astype(int)).mean() < 2


@pytest.mark.parametrize("relation", [*BACK, *BACK.values()])
def test_every_edit_has_wordings_of_its_own(relation):
    colour = "red" if relation in (TINT, GROUND, "untint") else ""
    wordings = list_wordings(relation, colour)
    assert len(set(wordings)) == len(wordings) >= 6
    assert not any("{" in wording or "  " in wording for wording in wordings)
    others = {text for other in {*BACK, *BACK.values()} - {relation} for text in list_wordings(other, colour)}
    assert not others & set(wordings)
    if relation in BACK:
        assert describe_edited(relation, colour)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    for number in range(4):
        draw_patches(number).save(folder / f"{number}.png")
    with_ground = draw_patches(5).convert("RGBA")
    with_ground.putalpha(Image.linear_gradient("L").resize(with_ground.size))
    with_ground.save(folder / "5.png")
    return folder


def list_of_split(params, reads):
    return partial(load_subjects, params, reads)


def test_pictures_of_the_catalogue_are_edited_there_and_back(small_data):
    of_split = list_of_split(make_exact_edits_params(), small_data)
    pairs = list(make_exact_pairs(of_split, CHOICES))
    assert pairs == list(make_exact_pairs(of_split, CHOICES))
    assert len({pair.key for pair in pairs}) == len(pairs) == 2 * 4 * (3 + 1)
    assert [pair.split for pair in pairs] == ["train"] * 24 + ["validation"] * 8
    for there, back in zip(pairs[::2], pairs[1::2], strict=True):
        assert (there.reference, there.target) == (back.target, back.reference)
        assert there.target_caption.startswith(there.reference_caption)
        assert BACK[there.relation] == back.relation
        colour = next((name for name in (*COLOURS, "white") if f" {name}" in f" {there.relative_caption}"), "")
        assert colour or there.relation not in (TINT, GROUND) or there.relation == GROUND
    drawn = list(ExactEditor(of_split, CHOICES).generate(pairs))
    again = {it.captions.key: it for it in ExactEditor(of_split, CHOICES).generate(pairs[::-1])}
    assert len(drawn) >= 20  # those that change something
    for it in drawn:
        assert it.reference.size == it.target.size == (CANVAS, CANVAS)
        assert it.reference.tobytes() != it.target.tobytes()
        assert again[it.captions.key].target.tobytes() == it.target.tobytes()


def test_a_picture_that_an_edit_does_not_change_is_no_row(tmp_path):
    Image.new("RGB", (8, 8), "black").save(tmp_path / "black.png")
    of_split = list_of_split(make_folder_edits_params(validation_fraction=0.0), tmp_path)
    choices = EditChoices(seed=1, edits_per_picture=len(BACK))
    pairs = list(make_exact_pairs(of_split, choices))
    changed = {it.captions.relation for it in ExactEditor(of_split, choices).generate(pairs)}
    assert not changed & {MIRROR, "turn left", "grey", "blur", "darken"}
    assert "negative" in changed


def test_pictures_of_ones_own_are_divided_and_edited(pictures):
    of_split = list_of_split(make_folder_edits_params(validation_fraction=0.4), pictures)
    assert [of_split(split).count() for split in ("train", "validation")] == [3, 2]
    pairs = list(make_exact_pairs(of_split, EditChoices(seed=2, edits_per_picture=len(BACK))))
    grounds = [pair for pair in pairs if pair.relation == GROUND]
    assert len(grounds) == 2, "of the picture with transparency alone, there and back"
    assert "white" in grounds[1].relative_caption
    (there, back) = ExactEditor(of_split, EditChoices(2, len(BACK))).generate(grounds)
    assert there.reference.tobytes() == back.target.tobytes() != there.target.tobytes()


def test_a_folder_without_pictures_is_named(tmp_path: Path):
    with pytest.raises(InputInvalid, match=f"{tmp_path} holds no picture"):
        load_subjects(make_folder_edits_params(), tmp_path, "train")


def test_pairs_of_other_params_are_refused(small_data):
    of_split = list_of_split(make_exact_edits_params(), small_data)
    (pair, *_) = make_exact_pairs(of_split, EditChoices(seed=18, edits_per_picture=len(BACK)))
    editor = ExactEditor(of_split, EditChoices(seed=17, edits_per_picture=1))
    with pytest.raises(InputInvalid, match="was drawn with other params; run: dvc repro"):
        list(editor.generate([pair]))
