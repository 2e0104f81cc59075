"""Every link of every document: within the project to what is there, outside to an address of the right form."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from worlds.documents import DOCUMENTS

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(\s*<?([^)\s>]+)")
_HEADING = re.compile(r"^#+\s+(.*)$", re.MULTILINE)
_DROPPED = re.compile(r"[^\w\- ]")


def list_anchors(path: Path) -> set[str]:
    """Return the names by which GitHub links to the headings of a page."""
    headings = _HEADING.findall(_FENCE.sub("", path.read_text(encoding="utf-8")))
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", each) for each in headings)
    return {_DROPPED.sub("", each.strip().lower()).replace(" ", "-") for each in plain}


def find_fault(page: Path, link: str) -> str:
    """Return what is wrong with a link of a page, or ""."""
    if re.match(r"[a-z]+:", link):
        parts = urlsplit(link)
        good = parts.scheme == "mailto" or (parts.scheme in ("http", "https") and "." in (parts.hostname or ""))
        return "" if good and " " not in link else f"{link} is no address"
    name, _, anchor = link.partition("#")
    target = (page.parent / name).resolve() if name else page
    if not target.exists():
        return f"{link}: nothing is there"
    if anchor and target.suffix == ".md" and anchor not in list_anchors(target):
        return f"{link}: there is no such heading"
    return ""


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))
    assert [fault for link in links if (fault := find_fault(page, link))] == []


@pytest.mark.parametrize(
    ("link", "fault"),
    [
        ("nowhere.md", "nothing is there"),
        ("README.md#no-such-heading", "there is no such heading"),
        ("htp://example.org", "is no address"),
        ("https://nowhere", "is no address"),
        ("README.md#limits", ""),
        ("https://example.org/a", ""),
    ],
)
def test_a_wrong_link_is_found(link: str, fault: str) -> None:
    found = find_fault(ROOT / "README.md", link)
    assert fault in found
    assert bool(fault) == bool(found)
