"""An answer drawn as one picture, for a terminal, a notebook or a file. Nothing here imports torch."""

from PIL import Image, ImageDraw, ImageFont

from compodiff.search.html_page import ShownAnswer

_GAP, _LINE = 8, 14  # pixels between pictures, and of a line of text
_INK, _PAPER, _SOFT = "#16171d", "#ffffff", "#6b7080"


def draw_sheet(shown: ShownAnswer, columns: int, edge: int) -> Image.Image:
    """Draw the query in a row, and below it what was found in rows of `columns` pictures of `edge` pixels."""
    asked = [(each.picture, "reference") for each in shown.references]
    found = [(each.picture, f"{rank}  {score:.3f}") for rank, (each, score) in enumerate(shown.results, 1)]
    rows = [asked[at : at + columns] for at in range(0, len(asked), columns)]
    rows += [found[at : at + columns] for at in range(0, len(found), columns)]
    step, high = edge + _GAP, edge + _LINE + _GAP
    head = _LINE + _GAP if shown.relative_caption else 0
    sheet = Image.new("RGB", (columns * step + _GAP, head + len(rows) * high + _GAP), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(_LINE - 2)
    if head:
        pen.text((_GAP, _GAP / 2), shown.relative_caption, _INK, font)
    for down, row in enumerate(rows):
        for across, (picture, caption) in enumerate(row):
            left, top = _GAP + across * step, head + _GAP + down * high
            _paste(sheet, picture, (left, top), edge)
            pen.text((left, top + edge), caption, _SOFT, font)
    return sheet


def _paste(sheet: Image.Image, picture: Image.Image, corner: tuple[int, int], edge: int) -> None:
    """Paste a picture into the middle of a square; what is clear shows the sheet."""
    small = picture.convert("RGBA")
    scale = edge / max(small.size)
    small = small.resize((max(1, round(small.width * scale)), max(1, round(small.height * scale))))
    place = corner[0] + (edge - small.width) // 2, corner[1] + (edge - small.height) // 2
    sheet.paste(small, place, small)
