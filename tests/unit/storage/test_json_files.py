import json

import pytest

from compodiff.benchmarks.datasets.own import load_triplets
from compodiff.captions.edit_rows import read_edit_rows
from compodiff.catalogue.emoji_benchmark import read_queries
from compodiff.errors import InputInvalid
from compodiff.storage.json_files import parse_json, read_json, read_json_lines

ODD = "one\u2028two\u2029three\u0085four\x0bfive\x0csix"


def test_only_a_line_feed_ends_a_line_and_a_mark_is_skipped(tmp_path):
    path = tmp_path / "lines.jsonl"
    text = json.dumps({"a": ODD}, ensure_ascii=False).replace("\\u000b", "\x0b").replace("\\f", "\\u000c")
    text = text.replace("\x0b", "\\u000b")
    path.write_bytes(b"\xef\xbb\xbf" + f'{text}\r\n\n  \n{{"a": 2}}'.encode())
    assert list(read_json_lines(path)) == [(1, {"a": ODD}), (4, {"a": 2})]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"\xff\xfe{\0}\0", "line 1 is not UTF-8 text"),
        (b"{}\n[1]", "line 2 is not an object"),
        (b"{}\n{", "line 2 is not JSON"),
        (b"[" * 100_000, "line 1 is not JSON"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "line 1 is not JSON"),
    ],
)
def test_what_is_no_object_is_named_by_its_line(tmp_path, content, fault):
    (tmp_path / "lines.jsonl").write_bytes(content)
    with pytest.raises(InputInvalid, match=rf"lines\.jsonl: {fault}"):
        list(read_json_lines(tmp_path / "lines.jsonl"))


def test_files_that_cannot_be_read_are_named(tmp_path):
    for path in (tmp_path / "away.json", tmp_path, tmp_path / ("x" * 300)):
        with pytest.raises(InputInvalid, match=r"is not there|cannot be read"):
            read_json(path)
        with pytest.raises(InputInvalid, match=r"is not there|cannot be read"):
            list(read_json_lines(path))
    assert parse_json(b"\xef\xbb\xbf[1]", "it") == [1]


def test_every_reader_of_json_lines_takes_them_so(tmp_path):
    mark = b"\xef\xbb\xbf"
    asked = {"reference": "a", "relative_caption": ODD, "target": "b"}
    (tmp_path / "queries.jsonl").write_bytes(mark + json.dumps(asked, ensure_ascii=False).encode())
    assert load_triplets(tmp_path, "test")[0].queries[0].relative_caption == ODD
    edit = {"input": "a dog", "edit": f"make it {ODD}", "output": "a cat"}
    (tmp_path / "edits.jsonl").write_bytes(mark + json.dumps(edit, ensure_ascii=False).encode())
    assert [row.result for row in read_edit_rows(tmp_path / "edits.jsonl")] == ["a cat"]
    (tmp_path / "queries.test.jsonl").write_bytes(b"{}\n")
    with pytest.raises(InputInvalid, match="is damaged"):
        read_queries(tmp_path, "test")
