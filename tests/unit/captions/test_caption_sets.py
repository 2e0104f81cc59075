"""Caption sets of any form as a stream, and which of their captions are usable."""

import json
from collections import Counter

import pandas as pd
import pytest
from factories import write_tar
from hypothesis import given
from hypothesis import strategies as st

from compodiff.captions.caption_sets import TALLY, SeenTexts, read_captions, select_captions
from compodiff.errors import InputInvalid


def test_a_set_is_read_from_text_parquet_and_webdataset_alike(tmp_path):
    wanted = ["a dog on a beach", "", "two cats"]
    (tmp_path / "a.txt").write_text("\n".join(wanted) + "\n")
    pd.DataFrame({"url": 1, "TEXT": [wanted[0], None, wanted[2]]}).to_parquet(tmp_path / "b.parquet")
    members = {"0.jpg": b"\xff", "0.txt": wanted[0].encode(), "1.json": b'{"caption": null}', "1.cls": b"3"}
    write_tar(tmp_path / "c.tar", members | {"2.json": json.dumps({"caption": wanted[2]}).encode()})
    for name in ("a.txt", "b.parquet", "c.tar"):
        assert [caption.strip() for caption in read_captions(tmp_path / name)] == wanted
    assert [caption.strip() for caption in read_captions(tmp_path)] == wanted * 3


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a.csv", b"x", "is no caption set"),
        ("a.parquet", b"PAR1", "cut short or not parquet"),
        ("a.tar", b"x" * 700, "cut short or no tar"),
        ("none.txt", None, "is no caption set"),
    ],
)
def test_a_set_that_cannot_be_read_is_named(tmp_path, name, content, fault):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputInvalid, match=fault):
        list(read_captions(tmp_path / name))


def test_a_cell_may_hold_a_list_of_captions_and_nothing_but_texts(tmp_path):
    captions = ["a dog on a beach", "two cats"]
    pd.DataFrame({"caption": [captions]}).to_parquet(tmp_path / "a.parquet")
    (tmp_path / "b.jsonl").write_text(json.dumps({"caption": captions}))
    write_tar(tmp_path / "c.tar", {"0.json": json.dumps({"caption": captions}).encode()})
    for name in ("a.parquet", "b.jsonl", "c.tar"):
        assert list(read_captions(tmp_path / name)) == captions
    (tmp_path / "d.jsonl").write_text('{"caption": {"raw": "a dog"}}')
    with pytest.raises(InputInvalid, match=r"d\.jsonl: line 1 has \{'raw': 'a dog'\} for a caption; captions"):
        list(read_captions(tmp_path / "d.jsonl"))


def test_a_table_without_captions_names_the_columns(tmp_path):
    pd.DataFrame({"url": ["a b"]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputInvalid, match="no column caption; give a parquet file with a column caption or text"):
        list(read_captions(tmp_path / "a.parquet"))


def test_what_is_wrong_with_a_caption_is_counted_under_its_name():
    good = "a red dog  on a sandy beach "
    bad = {
        "empty": ["", "  \n"],
        "one_word": ["dog"],
        "too_long": ["dog " * 60],
        "not_english": [
            "Eine rote Katze auf dem Tisch",
            "un chat noir sur la table",
            "赤い 犬 が 走る",
            "a dog \ufffd",
        ],
        "duplicate": ["A red dog on a sandy beach"],
    }
    tally = Counter()
    given_captions = [good, *(caption for faulty in bad.values() for caption in faulty)]
    assert list(select_captions(given_captions, tally, min_english=0.8, max_characters=200)) == [
        good.strip().replace("  ", " ")
    ]
    assert tally == {name: len(faulty) for name, faulty in bad.items()} | {"usable": 1, "read": len(given_captions)}
    assert set(tally) == set(TALLY)


@given(st.lists(st.text(max_size=4)))
def test_seen_is_a_set_up_to_case(texts):
    seen, expected = SeenTexts(), set()
    for text in texts:
        assert seen.add(text) == (text.lower() not in expected)
        expected.add(text.lower())


def test_a_tar_cut_short_is_named(tmp_path):
    path = write_tar(tmp_path / "captions.tar", {f"{number}.txt": b"a dog on a beach 000" for number in range(40)})
    whole = path.read_bytes()
    assert len(list(read_captions(path))) == 40
    for length in (len(whole) // 2, 20 * 1024, 20 * 1024 + 300):  # within a file, between two, within a header
        path.write_bytes(whole[:length])
        with pytest.raises(InputInvalid, match=r"captions\.tar is cut short or no tar"):
            list(read_captions(path))


FOREIGN = (
    "un perro en la playa", "un hombre con un sombrero negro", "dos gatos duermen en el sof\u00e1",
    "un chien sur la plage", "une femme lit un livre", "ein Hund am Strand", "eine Frau liest ein Buch",
    "un cane sulla spiaggia", "een hond op het strand", "um cachorro na praia",
)  # fmt: skip
ENGLISH = (
    "a dog on a beach in Los Angeles", "A LA CARTE DINNER ON A TABLE", "a van at the den met a man",
    "I am on the UN stage", "a sombrero on a piano", "the red house by the sea in Las Vegas", "two people who just met",
)  # fmt: skip


def test_captions_of_other_languages_are_left_out_and_english_ones_with_loans_are_not():
    tally = Counter()
    kept = list(select_captions((*FOREIGN, *ENGLISH), tally, min_english=0.7, max_characters=200))
    assert kept == [*ENGLISH]
    assert tally["not_english"] == len(FOREIGN)
