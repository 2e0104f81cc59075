"""What counts as a text, and as a list of rows: nothing is taken for what it is not, and no letter is lost."""

import json
import math

import pandas as pd
import pytest
from worlds.foreign import BLUE, RED, bring, rows_of, write_csv, write_parquet, write_pictures

from compodiff.errors import InputInvalid

EDIT = {"input_image": "a.jpg", "output_image": "b.jpg", "edit": "bluer"}


@pytest.fixture
def pictures(tmp_path):
    return write_pictures(tmp_path / "pictures", {"a.jpg": RED, "b.jpg": BLUE})


@pytest.mark.parametrize("name", ["edits.csv", "edits.tsv"])
def test_a_table_that_is_not_utf8_loses_no_letter_in_silence(tmp_path, pictures, name, caplog):
    path = write_csv(tmp_path / name, [EDIT, EDIT | {"edit": "caf\u00e9"}], "\t" if name.endswith("tsv") else ",")
    text = path.read_text()
    path.write_text(text, encoding="latin-1")
    with pytest.raises(InputInvalid, match=r"a row is not UTF-8 text: 'a\.jpg'; save the file as UTF-8; leave"):
        bring(path, "manifest", tmp_path / "set", pictures=pictures)
    found, tally = bring(path, "manifest", tmp_path / "set", pictures=pictures, skip_faulty=True)
    assert (len(rows_of(found)), tally.notes) == (1, {"bad_text": 1})
    path.write_text(text, encoding="utf-16")
    with pytest.raises(InputInvalid, match=f"{name} is not UTF-8 text; save it as UTF-8"):
        bring(path, "manifest", tmp_path / "utf-16", pictures=pictures)


def test_a_column_that_stands_twice_in_a_table_is_refused(tmp_path, pictures):
    path = tmp_path / "edits.csv"
    path.write_text("input_image,output_image,edit,edit\na.jpg,b.jpg,bluer,redder\n")
    with pytest.raises(InputInvalid, match=r"edits\.csv has the column 'edit' twice; rename one"):
        bring(path, "manifest", tmp_path / "set", pictures=pictures)


@pytest.mark.parametrize("missing", [math.nan, None, ""])
def test_a_missing_text_is_none_and_bytes_are_read(tmp_path, pictures, missing):
    columns = {"input_image": ["a.jpg", "a.jpg"], "output_image": ["b.jpg", "b.jpg"], "edit": [b"bluer", b"caf\xe9"]}
    path = tmp_path / "edits.parquet"
    pd.DataFrame(columns | {"relation": [missing, missing]}).to_parquet(path)
    found, tally = bring(path, "parquet", tmp_path / "set", pictures=pictures, skip_faulty=True)
    (row,) = rows_of(found)
    assert (row["relative_captions"], row["relation"], tally.notes) == (["bluer"], None, {"bad_text": 1})
    pairs = write_parquet(tmp_path / "pairs.parquet", {"image": ["a.jpg", "b.jpg"], "caption": [1.5, math.nan]})
    found, tally = bring(pairs, "parquet", tmp_path / "pairs", pictures=pictures, skip_faulty=True)
    assert ([row["texts"] for row in rows_of(found)], tally.notes) == ([["1.5"]], {"empty_text": 1})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (json.dumps({"data": [EDIT]}), r"edits\.json is not a list of objects, or an empty one; write the list alone"),
        ("[]", r"edits\.json is not a list of objects, or an empty one"),
        (f"{json.dumps(EDIT)}\n{json.dumps(EDIT)}\n", "if it has one object a line, name it .jsonl"),
    ],
)
def test_json_that_is_no_list_says_what_it_should_be(tmp_path, pictures, content, message):
    (tmp_path / "edits.json").write_text(content)
    with pytest.raises(InputInvalid, match=message):
        bring(tmp_path / "edits.json", "manifest", tmp_path / "set", pictures=pictures)
