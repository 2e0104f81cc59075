"""The pages of a validation, made to work offline: a first page of our own, and those of Great Expectations behind it.

Great Expectations' pages load styles and scripts from other hosts; without a network its first page is empty.
"""

import re
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

_FETCHED = re.compile(r"<link[^>]*href=[\"']https?:[^>]*>|<script\b.*?</script>", re.DOTALL)
_STYLE = """
:root { color-scheme: light dark; }
body { margin: 2rem auto; max-width: 72rem; padding: 0 1rem; font: 15px/1.45 system-ui, sans-serif; }
table { border-collapse: collapse; margin: .6rem 0; }
th, td { padding: .3rem .8rem .3rem 0; text-align: left; border-bottom: 1px solid #8884; vertical-align: top; }
td, li { overflow-wrap: anywhere; }
.yes { color: light-dark(#17693f, #6ee7a8); } .no { color: light-dark(#a61e34, #fca5a5); font-weight: 600; }
a { color: light-dark(#4338ca, #a5b4fc); }
"""
_INDEX = "index.html"


def write_pages(docs: Path, name: str, result: Mapping[str, Any]) -> None:
    """Make what Great Expectations wrote into `docs` work offline, and put a first page of our own before it.

    Args:
        docs: its folder.
        name: of the set.
        result: as result.json holds it.
    """
    pages = sorted(path for path in docs.rglob("*.html") if path != docs / _INDEX)
    for path in pages:
        content = _FETCHED.sub("", path.read_text(encoding="utf-8"))
        path.write_text(content.replace("</head>", f"<style>{_STYLE}</style></head>", 1), encoding="utf-8")
    (docs / _INDEX).write_text(_render(name, result, [path.relative_to(docs) for path in pages]), encoding="utf-8")


def _render(name: str, result: Mapping[str, Any], pages: list[Path]) -> str:
    verdict = "passed" if result["passed"] else "failed"
    dropped = ", ".join(f"{filter_.replace('_', ' ')} {rows:,}" for filter_, rows in result["dropped_by_floor"].items())
    links = "".join(f'<li><a href="{quote(str(page))}">{escape(str(page))}</a></li>' for page in pages)
    rows = "".join(_render_expectation(found) for found in result["expectations"])
    shards = "".join(_render_shard(shard, found) for shard, found in result["shards"].items())
    return (
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>Validation of {escape(name)}</title>"
        f"<meta name=viewport content='width=device-width, initial-scale=1'><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(name)}: <span class={'yes' if result['passed'] else 'no'}>{verdict}</span></h1>"
        f"<p>{result['accepted']:,} of {result['rows']:,} rows accepted, {result['quarantined']:,} quarantined"
        f"{f'; below a floor: {escape(dropped)}' if dropped else ''}. The quarantine is quarantine.parquet; "
        "rows.parquet has the scores of every row.</p>"
        "<h2>Expectations</h2><table><tr><th>expectation<th>holds<th>not of rows<th>such as</tr>"
        f"{rows}</table><h2>Shards</h2><table><tr><th>shard<th>rows<th>quarantined</tr>{shards}</table>"
        f"<h2>Pages of Great Expectations</h2><ul>{links}</ul></body></html>\n"
    )


def _render_expectation(found: Mapping[str, Any]) -> str:
    such = ", ".join(found["keys"][:3]) or found["observed"]
    holds = "<span class=yes>yes</span>" if found["passed"] else "<span class=no>no</span>"
    return f"<tr><td>{escape(found['expectation'])}<td>{holds}<td>{found['unexpected']:,}<td>{escape(such)}</tr>"


def _render_shard(name: str, found: Mapping[str, Any]) -> str:
    return f"<tr><td>{escape(name)}<td>{found.get('rows', 0):,}<td>{found.get('quarantined', 0):,}</tr>"
