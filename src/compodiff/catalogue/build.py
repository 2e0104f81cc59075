"""Build data/ from the pinned packages: the same packages and params give the same bytes. Run: compodiff data."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from compodiff.catalogue.attribution import write_attribution
from compodiff.catalogue.drawing import STYLES, EmojiDrawing, draw
from compodiff.catalogue.families import DIRECTION
from compodiff.catalogue.names import GENDER, HAIR, SKIN_TONE, Emoji, name_codepoints, parse_emoji
from compodiff.catalogue.packing import Extent, pack_pictures
from compodiff.catalogue.relations import RELATIONS, STYLE, find_changes, find_relations, make_picture_id
from compodiff.catalogue.splits import connect_concepts, split_concepts
from compodiff.params import DataParams
from compodiff.storage.atomic import replace_folder

_ATTRIBUTE_COLUMNS = (SKIN_TONE, GENDER, HAIR, DIRECTION)


def build_catalogue(data: Path, params: DataParams, *, codepoints: Collection[str] | None = None) -> None:
    """Draw, name, relate and split the pictures, and write them as the folder `data`, whole or not at all.

    Args:
        data: the folder to write; an earlier one is replaced.
        params: picture size, seed and fractions of the split.
        codepoints: only these emoji (as in names.py), for a small catalogue; all by default.

    Raises:
        ResourceUnavailable: a package with drawings is missing, or the disk is full.
    """
    emoji = parse_emoji(name_codepoints())
    if codepoints is not None:
        emoji = [each for each in emoji if each.codepoints in codepoints]
    drawings = _draw_all(emoji, params.picture_size)
    digests = {name: drawing.pixel_digest for name, drawing in drawings.items()}
    split_of = _split(emoji, digests, params)
    with replace_folder(data, "catalogue") as folder:
        extents = _pack(folder, drawings)
        _tabulate_pictures(emoji, digests, split_of, extents).to_parquet(folder / "pictures.parquet", index=False)
        _tabulate_relations(emoji, digests, split_of).to_parquet(folder / "relations.parquet", index=False)
        write_attribution(folder, params.picture_size)


def name_shard(style: str) -> str:
    """Return the tar of a style, relative to data/."""
    return f"pictures/{style}.tar"


def _draw_all(emoji: Iterable[Emoji], size: int) -> dict[str, EmojiDrawing]:
    """Return picture_id -> drawing, sorted, of the emoji that each style has."""
    wanted = {each.codepoints for each in emoji}
    found = {
        make_picture_id(style.key, codepoints): svg
        for style in STYLES
        for codepoints, svg in style.list_drawings().items()
        if codepoints in wanted
    }
    progress = tqdm(sorted(found.items()), desc="drawing", unit=" pictures", disable=None)
    return {name: draw(svg, size) for name, svg in progress}


def _split(emoji: Iterable[Emoji], digests: Mapping[str, str], params: DataParams) -> dict[str, str]:
    """Return concept -> split: concepts with equal pictures go together, strata are the rarest relation."""
    emoji = list(emoji)
    looks = [
        (each.concept, digests.get(make_picture_id(style.key, each.codepoints), each.codepoints))
        for each in emoji
        for style in STYLES
    ]
    groups = connect_concepts(looks)
    strata = dict.fromkeys(groups.values(), STYLE)
    for reference, _, relation in find_changes(emoji):
        group = groups[reference.concept]
        strata[group] = min(strata[group], relation, key=RELATIONS.index)
    return split_concepts(groups, strata, params)


def _pack(folder: Path, drawings: Mapping[str, EmojiDrawing]) -> dict[str, Extent]:
    extents: dict[str, Extent] = {}
    (folder / "pictures").mkdir()
    for style in STYLES:
        own = ((name, drawing.png) for name, drawing in drawings.items() if name.startswith(f"{style.key}-"))
        extents |= pack_pictures(folder / name_shard(style.key), own)
    return extents


def _tabulate_pictures(
    emoji: Iterable[Emoji], digests: Mapping[str, str], split_of: Mapping[str, str], extents: Mapping[str, Extent]
) -> pd.DataFrame:
    by_codepoints = {each.codepoints: each for each in emoji}
    canonical: dict[tuple[str, str], str] = {}
    rows = []
    for name, extent in extents.items():
        style, codepoints = name.split("-", 1)
        each = by_codepoints[codepoints]
        rows.append(
            {
                "picture_id": name,
                "style": style,
                "codepoints": codepoints,
                "name": each.name,
                "caption": each.caption,
                "concept": each.concept,
                "split": split_of[each.concept],
                **{attribute: each.attributes.get(attribute) for attribute in _ATTRIBUTE_COLUMNS},
                "pixel_digest": digests[name],
                "twin_of": canonical.setdefault((style, digests[name]), name),
                "shard": name_shard(style),
                "offset": extent.offset,
                "length": extent.length,
            }
        )
    return pd.DataFrame(rows)


def _tabulate_relations(emoji: list[Emoji], digests: dict[str, str], split_of: Mapping[str, str]) -> pd.DataFrame:
    """Keep the changes whose ends share a split; only clock faces can lose any, being concepts of their own."""
    split_of_codepoints = {each.codepoints: split_of[each.concept] for each in emoji}
    rows = []
    for change in find_relations(emoji, digests):
        splits = {split_of_codepoints[end.split("-", 1)[1]] for end in (change.reference, change.target)}
        if len(splits) == 1:
            rows.append({**vars(change), "split": splits.pop()})
    return pd.DataFrame(rows)
