"""`compodiff import` and `compodiff export` as a person types them."""

import pytest
from typer.testing import CliRunner
from worlds.foreign import BLUE, RED, write_lines, write_pictures

from compodiff.cli import app
from compodiff.errors import InputInvalid
from compodiff.sets import open_set

pytestmark = pytest.mark.usefixtures("one_process")


def call(*arguments: object) -> str:
    outcome = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    return outcome.output


def test_a_list_is_imported_with_named_columns_and_exported(tmp_path):
    pictures = write_pictures(tmp_path / "photos", {"a.jpg": RED, "b.jpg": BLUE})
    rows = [{"before": "a.jpg", "after": "b.jpg", "one": "bluer", "two": "make it blue"}, {"before": "a.jpg"}]
    path = write_lines(tmp_path / "edits.jsonl", rows)
    columns = ("reference_image=before", "target_image=after", "relative_caption=one", "relative_caption=two")
    given = [part for column in columns for part in ("--column", column)]
    licence = ("--licence", "mine", "--source", "my camera")
    to = ("--format", "manifest", "--pictures", pictures, "--to", tmp_path / "set")
    said = call("import", path, *to, *given, *licence, "--skip-faulty")
    assert said.endswith("set (1 of train); left out: 1 missing picture\n")
    found = open_set(tmp_path / "set")
    assert (found.description.licence, found.description.source) == ("mine", "my camera")
    assert [row["relative_captions"] for row in found.iterate_rows()] == [["bluer", "make it blue"]]
    assert call("export", tmp_path / "set", "--to", tmp_path / "out").startswith("1 rows in ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("import", "x", "--to", "y", "--format", "zip"), r"'zip' is not one of: webdataset, img2dataset, parquet"),
        (("import", "x", "--to", "y", "--column", "z"), r"--column 'z' is not ROLE=NAME"),
        (("import", "x", "--to", "y", "--split", "test"), r"'test' is not one of: train, validation"),
        (("import", "/nowhere", "--to", "y"), r"/nowhere holds nothing in the format webdataset"),
        (("export", "/nowhere", "--to", "y"), r"/nowhere/set\.json is not there"),
    ],
)
def test_what_cannot_be_meant_is_one_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputInvalid, match=message):
        call(*arguments)
    assert not [*tmp_path.iterdir()]
