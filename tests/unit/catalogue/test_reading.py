import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compodiff.catalogue.packing import Extent, pack_pictures, read_packed
from compodiff.catalogue.pictures import Catalogue
from compodiff.errors import InputInvalid
from compodiff.images.decoding import paint_on_white


@pytest.fixture
def data(small_data: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(small_data, tmp_path / "data")


def test_a_picture_is_read_as_drawn(small_catalogue: Catalogue) -> None:
    picture = small_catalogue.read("twemoji-1F34E")
    assert (picture.mode, picture.size) == ("RGBA", (64, 64))
    red, green, _, alpha = np.asarray(picture).reshape(-1, 4).mean(axis=0)
    assert red > green
    assert alpha > 0


def test_a_picture_that_is_not_there_is_named(small_catalogue: Catalogue) -> None:
    with pytest.raises(InputInvalid, match="no picture 'twemoji-none'"):
        small_catalogue.read("twemoji-none")


def test_a_truncated_tar_names_the_picture(data: Path) -> None:
    catalogue = Catalogue.load(data)
    last = catalogue.pictures.query("style == 'twemoji'")["offset"].astype(int).idxmax()
    tar = data / "pictures" / "twemoji.tar"
    tar.write_bytes(tar.read_bytes()[: int(catalogue.pictures.at[last, "offset"]) + 10])
    with pytest.raises(InputInvalid, match=rf"twemoji.tar is truncated: picture {last} .* run: compodiff data"):
        catalogue.read(str(last))


@pytest.mark.parametrize("kept", [0, 8, 40])
def test_bytes_that_do_not_decode_name_the_picture(data: Path, kept: int) -> None:
    catalogue = Catalogue.load(data)
    row = catalogue.pictures.loc["twemoji-1F34E"]
    tar = data / "pictures" / "twemoji.tar"
    packed = bytearray(tar.read_bytes())
    start, end = int(row["offset"]) + kept, int(row["offset"]) + int(row["length"])
    packed[start:end] = bytes(end - start)
    tar.write_bytes(packed)
    with pytest.raises(InputInvalid, match="picture twemoji-1F34E does not decode"):
        catalogue.read("twemoji-1F34E")


def test_a_missing_tar_and_a_damaged_table_say_how_to_make_them(data: Path) -> None:
    catalogue = Catalogue.load(data)
    (data / "pictures" / "twemoji.tar").unlink()
    with pytest.raises(InputInvalid, match="run: compodiff data"):
        catalogue.read("twemoji-1F34E")
    table = data / "relations.parquet"
    table.write_bytes(table.read_bytes()[:100])
    with pytest.raises(InputInvalid, match=r"relations.parquet is damaged .* run: compodiff data"):
        Catalogue.load(data)
    table.unlink()
    with pytest.raises(InputInvalid, match=r"relations.parquet is not there; run: compodiff data"):
        Catalogue.load(data)


def test_packed_bytes_are_found_again_and_depend_on_content_alone(tmp_path: Path) -> None:
    pictures = [("first", b"x"), ("second", bytes(2000)), ("third", b"")]
    extents = pack_pictures(tmp_path / "one.tar", pictures)
    pack_pictures(tmp_path / "two.tar", pictures)
    assert [read_packed(tmp_path / "one.tar", name, extents[name]) for name, _ in pictures] == [
        png for _, png in pictures
    ]
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    with pytest.raises(InputInvalid, match="is truncated: picture far"):
        read_packed(tmp_path / "one.tar", "far", Extent(10**9, 1))


def test_transparency_becomes_white() -> None:
    picture = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    picture.putpixel((1, 0), (255, 0, 0, 255))
    flat = paint_on_white(picture)
    assert [flat.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (255, 0, 0)]
