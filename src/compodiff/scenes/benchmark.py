"""The scenes benchmark: edits of scenes of unseen concepts, among all other edits of the same scenes.

    gallery/validation.tar, gallery/test.tar      every scene of every family
    masks/*.png                                   64 x 64, white where reference and target differ
    queries.validation.jsonl, queries.test.jsonl  as the emoji benchmark's; some with "negative" or "mask"

Removals are asked a second time with what is to go as negative text (group `negative`), replacements a second time with
the mask of what is to be replaced (group `masked`).
"""

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from numpy.random import Generator
from PIL import Image

from compodiff.catalogue.emoji_benchmark import SPLITS, QueryLine, format_line
from compodiff.catalogue.packing import pack_pictures
from compodiff.catalogue.pictures import Catalogue
from compodiff.params import ScenesBenchmarkParams
from compodiff.scenes.captions import ADD, REMOVE, REPLACE
from compodiff.scenes.edits import SceneEdit, SceneFamily, draw_family, make_family_generator
from compodiff.scenes.objects import ObjectStock, draw_one
from compodiff.scenes.scene import Painter

NEGATIVE, MASKED = "negative", "masked"


def write_scenes(folder: Path, catalogue: Catalogue, params: ScenesBenchmarkParams) -> None:
    """Write the benchmark into the folder `folder`; the same inputs give the same bytes.

    Raises:
        InputInvalid: a split has too few objects for scenes, or a picture's tar is missing or truncated.
    """
    painter = Painter(catalogue.read)
    (folder / "gallery").mkdir()
    (folder / "masks").mkdir()
    for split in SPLITS:
        families = _draw_families(ObjectStock(catalogue, split), split, params)
        scenes = {scene.name: scene for family, _ in families for scene in family.scenes}
        pictures = ((name, save_png(painter.paint_picture(scenes[name]))) for name in sorted(scenes))
        pack_pictures(folder / "gallery" / f"{split}.tar", pictures)
        queries = [
            query
            for number, (family, generator) in enumerate(families)
            for query in _make_queries(family, f"{split} family {number}", generator)
        ]
        for edited in {query.edited: query for query in queries}.values():
            mask = painter.paint_mask(scenes[edited.reference], scenes[edited.targets[0]])
            (folder / edited.edited).write_bytes(save_png(Image.fromarray(mask)))
        lines = "".join(f"{format_line(query)}\n" for query in queries)
        (folder / f"queries.{split}.jsonl").write_text(lines, encoding="utf-8")


def _draw_families(
    stock: ObjectStock, split: str, params: ScenesBenchmarkParams
) -> list[tuple[SceneFamily, Generator]]:
    generators = [
        make_family_generator(params.seed, split, number) for number in range(params.families.model_dump()[split])
    ]
    return [(draw_family(stock, params.edits_per_relation, generator), generator) for generator in generators]


def _make_queries(family: SceneFamily, concept: str, generator: Generator) -> Iterator[QueryLine]:
    """Yield a query of each edit, in a direction drawn: for additions and removals always from the base."""
    for edit in family.edits:
        there, undone = edit.list_relative_captions()
        ends = family.base.name, edit.after.name
        turned = edit.relation not in (ADD, REMOVE) and generator.random() < 0.5
        reference, target = reversed(ends) if turned else ends
        caption = draw_one(undone if turned else there, generator)
        relation, edited = edit.back if turned else edit.relation, f"masks/{reference}-{target}.png"
        query = QueryLine(reference, caption, [target], relation, concept, edited=edited)
        yield query
        yield from _make_harder(query, edit)


def _make_harder(query: QueryLine, edit: SceneEdit) -> Iterator[QueryLine]:
    if edit.relation == REMOVE:
        yield replace(query, group=NEGATIVE, negative=edit.there["name"])
    if edit.relation == REPLACE:
        yield replace(query, group=MASKED, mask=query.edited)


def save_png(picture: Image.Image) -> bytes:
    """Return a picture as PNG."""
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()
