"""What `make docs` does to the pages of docs/ before mkdocs sees them.

Pages are written to be read in the repository, too, where they link to files beside docs/. The site has only docs/, so
there such a link becomes the file's path. A link to nothing stays as it is, and mkdocs refuses it.
"""

import re
from pathlib import Path
from typing import Any

_LINK = re.compile(r"\[(?P<text>[^\]\n]+)\]\((?P<target>[^)#\s:]+)(?:#[^)\s]*)?\)")


def on_config(config: Any) -> Any:
    """List the pages of a folder where the navigation names the folder."""
    folder = Path(config["docs_dir"])
    for entry in config["nav"]:
        for title, page in entry.items():
            if isinstance(page, str) and page.endswith("/"):
                entry[title] = [path.relative_to(folder).as_posix() for path in sorted((folder / page).glob("*.md"))]
    return config


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Put a file's path in place of each link that leads to a file of the project outside docs/."""
    folder = Path(config["docs_dir"])
    return replace_links_out(markdown, folder / page.file.src_uri, folder)


def replace_links_out(markdown: str, page: Path, folder: Path) -> str:
    """Return the text of `page` with a path for each link to an existing file of the project outside `folder`."""
    project = folder.resolve().parent

    def replace(link: re.Match[str]) -> str:
        target = (page.parent / link["target"]).resolve()
        if target.is_relative_to(folder.resolve()) or not target.is_relative_to(project) or not target.exists():
            return link[0]
        path = f"`{target.relative_to(project).as_posix()}`"
        return path if link["text"].strip("`") == path.strip("`") else f"{link['text']} ({path})"

    return _LINK.sub(replace, markdown)
