"""A folder of pictures with an index inside, that inverted lists would hold once it has more than a thousand."""

from pathlib import Path
from typing import Any

from factories import draw_patches, make_index_params

from compodiff.encoders import Encoder
from compodiff.images import list_pictures
from compodiff.index import INSIDE
from compodiff.index.folder import BuildPlan, FolderBuild, build_folder_index
from compodiff.params import IndexParams

PARAMS = make_index_params(flat_up_to=1000, kind="ivf_sq8", lists=2)


def draw_album(folder: Path) -> Path:
    """Eight pictures of which no two look alike: a/1.png, a/3.png ... and b/0.png, b/2.png ..."""
    for number in range(8):
        path = folder / ("a" if number % 2 else "b") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_patches(number).save(path)
    return folder


def build(
    album: Path, encoder: Encoder, *, files: list[Path] | None = None, params: IndexParams = PARAMS, **how: Any
) -> FolderBuild:
    plan = BuildPlan(list_pictures(album).files if files is None else files, **how)
    return build_folder_index(album, album / INSIDE, encoder, params, plan)


def add(album: Path, encoder: Encoder, *paths: Path, **more: Any) -> FolderBuild:
    return build(album, encoder, files=list(paths), keep=True, **more)
