"""Sets that lie at addresses: they are listed and referred to there; what cannot be opened is one line."""

import functools
import http.server
import threading
from pathlib import Path

import pytest
import s3fs
from worlds.foreign import BLUE, RED, bring, draw, rows_of, see, write_lines, write_parquet, write_pictures, write_tar
from worlds.foreign import downloaded as entry

from compodiff.errors import InputInvalid, ResourceUnavailable
from compodiff.interchange import listing
from compodiff.sets.addresses import as_path

EDIT = {"q_img": "a.jpg", "q_text": ["bluer"], "t_img": "b.jpg"}


@pytest.fixture
def upload(bucket):
    """Put a folder at an address."""

    def put(folder, name):
        for path in folder.rglob("*"):
            if path.is_file():
                bucket.upload_file(str(path), "sets", f"{name}/{path.relative_to(folder).as_posix()}")
        s3fs.S3FileSystem.clear_instance_cache()  # it remembers what it listed
        return as_path(f"s3://sets/{name}")

    return put


def test_tars_of_img2dataset_are_referred_to_at_their_address(tmp_path, upload):
    for number, picture in enumerate((RED, BLUE)):
        write_tar(tmp_path / "laion" / f"0000{number}.tar", entry(str(number), picture, f"caption {number}"))
    write_parquet(tmp_path / "laion" / "00001.parquet", {"key": ["1", "9"], "status": ["success", "failed"]})
    found, tally = bring(upload(tmp_path / "laion", "laion"), "img2dataset", tmp_path / "set")
    rows = rows_of(found)
    assert [(row["key"], row["texts"]) for row in rows] == [("0", ["caption 0"]), ("1", ["caption 1"])]
    assert [row["picture"]["file"] for row in rows] == ["s3://sets/laion/00000.tar", "s3://sets/laion/00001.tar"]
    assert [see(found, row["picture"]) for row in rows] == [RED, BLUE]
    assert tally.notes == {"not_downloaded": 1}
    here, _ = bring(tmp_path / "laion", "img2dataset", tmp_path / "here")
    assert [row["picture"]["offset"] for row in rows_of(here)] == [row["picture"]["offset"] for row in rows]
    one, _ = bring(as_path("s3://sets/laion/00001.tar"), "img2dataset", tmp_path / "one")
    assert [row["key"] for row in rows_of(one)] == ["1"]


@pytest.mark.parametrize("packed", [True, False])
def test_a_list_at_an_address_finds_files_and_members_of_tars_below_another(tmp_path, upload, packed):
    write_tar(tmp_path / "pictures" / "x" / "0.tar", {"a.jpg": RED})
    write_pictures(tmp_path / "pictures", {"y/b.jpg": BLUE})
    row = EDIT | {"t_img": "y/b", "hns": ["s3://sets/pictures/y/b.jpg"]}
    write_lines(tmp_path / "lists" / ("pairs.jsonl.gz" if packed else "pairs.jsonl"), [row])
    pictures = upload(tmp_path / "pictures", "pictures")
    found, _ = bring(upload(tmp_path / "lists", "lists"), "megapairs", tmp_path / "set", pictures=pictures)
    (row,) = rows_of(found)
    assert [row[end]["file"].rpartition("pictures/")[2] for end in ("reference", "target")] == ["x/0.tar", "y/b.jpg"]
    assert [see(found, row[end]) for end in ("reference", "target")] == [RED, BLUE]
    assert [see(found, place) for place in row["negatives"]] == [BLUE]
    for wrong, message in (("gone", "which is not in s3://sets/pictures"), ("s3://other/b.jpg", "not below s3://")):
        path = write_lines(tmp_path / "wrong.jsonl", [EDIT | {"t_img": wrong}])
        with pytest.raises(InputInvalid, match=rf"row 1: names the picture .*{message}"):
            bring(path, "megapairs", tmp_path / "wrong", pictures=pictures)


def test_masks_and_boxes_of_pictures_at_an_address_are_read(tmp_path, upload):
    write_pictures(tmp_path / "pictures", {"a.jpg": RED, "b.jpg": BLUE, "m.png": draw("white", "PNG")})
    both = EDIT | {"mask": "m.png"}, EDIT | {"mask_box": [0, 0, 32, 16]}
    path = write_lines(tmp_path / "pairs.jsonl", both)
    found, _ = bring(path, "megapairs", tmp_path / "set", pictures=upload(tmp_path / "pictures", "pictures"))
    assert [row["mask"] for row in rows_of(found)] == [b"\xff" * 512] * 2


def test_pictures_with_texts_beside_them_and_tables_are_read_at_an_address(tmp_path, upload):
    write_pictures(tmp_path / "mine", {"train/a.jpg": RED, "train/a.txt": b"a red disc\nround", "val/b.jpg": BLUE})
    found, tally = bring(upload(tmp_path / "mine", "mine"), "captions", tmp_path / "set", skip_faulty=True)
    assert [(row["key"], row["texts"]) for row in rows_of(found)] == [("train/a.jpg", ["a red disc", "round"])]
    assert tally.notes == {"empty_text": 1}
    write_parquet(tmp_path / "hub" / "data" / "train.parquet", {"image": [RED], "text": ["red"]})
    found, _ = bring(upload(tmp_path / "hub", "hub"), "parquet", tmp_path / "other")
    assert see(found, rows_of(found)[0]["picture"]) == RED


def test_tars_and_lists_are_read_over_http(tmp_path):
    write_tar(tmp_path / "laion" / "0.tar", entry("0", RED, "red"))
    write_pictures(tmp_path / "pictures", {"a.jpg": RED, "b.jpg": BLUE})
    write_lines(tmp_path / "pairs.jsonl", [EDIT])
    handler = functools.partial(_Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        at = f"http://127.0.0.1:{server.server_address[1]}"
        found, _ = bring(as_path(f"{at}/laion/0.tar"), "img2dataset", tmp_path / "set")
        assert rows_of(found)[0]["picture"]["file"] == f"{at}/laion/0.tar"
        options = {"pictures": as_path(f"{at}/pictures")}
        triplets, _ = bring(as_path(f"{at}/pairs.jsonl"), "megapairs", tmp_path / "triplets", **options)
        assert see(triplets, rows_of(triplets)[0]["target"]) == BLUE
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer a range, as servers of data do, and SimpleHTTPRequestHandler does not."""
        asked = self.headers.get("Range")
        if asked is None:
            return super().do_GET()
        content = Path(self.translate_path(self.path)).read_bytes()
        first, _, last = asked.removeprefix("bytes=").partition("-")
        part = content[int(first) : int(last) + 1 if last else None]
        self.send_response(206)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(part)
        return None


@pytest.mark.parametrize("form", ["img2dataset", "parquet", "megapairs", "captions", "clip-retrieval"])
def test_an_address_that_holds_nothing_is_one_line(tmp_path, bucket, form):
    with pytest.raises(InputInvalid, match=r"^(nothing is at )?s3://sets/nothing( holds nothing in the format .*)?$"):
        bring(as_path("s3://sets/nothing"), form, tmp_path / "set")
    with pytest.raises((InputInvalid, ResourceUnavailable), match=r"s3://away/set"):
        bring(as_path("s3://away/set"), form, tmp_path / "set")
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("form", ["img2dataset", "parquet", "megapairs", "captions"])
def test_missing_credentials_and_a_dead_server_are_one_line(tmp_path, monkeypatch, bucket, form):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(ResourceUnavailable, match=r"^s3://sets/laion cannot be read: .*check the network and cred.*$"):
        bring(as_path("s3://sets/laion"), form, tmp_path / "set")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(ResourceUnavailable, match=r"^s3://sets/laion cannot be read: .*check the network and cred.*$"):
        bring(as_path("s3://sets/laion"), form, tmp_path / "set")


def test_an_address_of_no_kind_that_is_known_is_one_line():
    with pytest.raises(InputInvalid, match=r"nowhere://set cannot be opened: .*nowhere"):
        as_path("nowhere://set")


def test_a_tar_that_is_cut_at_its_address_is_named(tmp_path, upload):
    path = write_tar(tmp_path / "laion" / "0.tar", entry("0", RED, "red") | entry("1", BLUE, "blue"))
    path.write_bytes(path.read_bytes()[:-10240])
    with pytest.raises(InputInvalid, match=r"s3://sets/laion/0\.tar is cut short, .*; leave such out: --skip-faulty"):
        bring(upload(tmp_path / "laion", "laion"), "img2dataset", tmp_path / "set")


def test_tars_are_listed_once_each_and_again_where_one_was_fetched_again(tmp_path, monkeypatch):
    for number, picture in enumerate((RED, BLUE)):
        write_tar(tmp_path / "pictures" / f"{number}.tar", {f"{'ab'[number]}.jpg": picture})
    whole = (tmp_path / "pictures" / "1.tar").read_bytes()
    (tmp_path / "pictures" / "1.tar").write_bytes(whole[:900])
    path = write_lines(tmp_path / "pairs.jsonl", [EDIT])
    listed = []
    monkeypatch.setattr(
        listing, "list_members", lambda path, own=listing.list_members: listed.append(path.name) or own(path)
    )
    for _ in range(2):
        with pytest.raises(InputInvalid, match=r"1\.tar is cut short"):
            bring(path, "megapairs", tmp_path / "set", pictures=tmp_path / "pictures")
    assert listed == ["0.tar", "1.tar"]
    (tmp_path / "pictures" / "1.tar").write_bytes(whole)
    found, _ = bring(path, "megapairs", tmp_path / "set", pictures=tmp_path / "pictures")
    assert listed == ["0.tar", "1.tar", "1.tar"]
    assert see(found, rows_of(found)[0]["target"]) == BLUE
    assert not [*(tmp_path / "set").rglob("*.sqlite")]
