"""The site of `make docs`: it is built, a broken link fails, and it has the public face of the package."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import compodiff

ROOT = Path(__file__).parents[2]


def build(project: Path, site: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("mkdocs")
    command = [program, "build", "--strict", "--site-dir", site]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "true"}
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = build(ROOT, folder)
    assert built.returncode == 0, built.stderr
    return folder


def test_every_page_is_there_and_the_face_of_the_package_is_documented(site: Path) -> None:
    pages = [path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")]
    assert [page for page in pages if not (site / page).is_file()] == []
    text = (site / "api.html").read_text(encoding="utf-8")
    documented = set(re.findall(r'id="compodiff\.[\w.]*?(\w+)"', text))
    assert set(compodiff.__all__) - {"__version__"} <= documented
    assert {"search", "load", "CompoDiffError", "InputInvalid"} <= documented


def test_a_page_fetches_nothing_from_another_host(site: Path) -> None:
    fetched = (
        r"""<(?:script|img|iframe)[^>]+src="?https?:|<link[^>]+rel="?(?:stylesheet|preconnect)"?[^>]+href="?https?:"""
    )
    assert [page for page in site.rglob("*.html") if re.search(fetched, page.read_text(encoding="utf-8"))] == []


def test_a_broken_link_fails(tmp_path: Path) -> None:
    for part in ("docs", "infra"):
        shutil.copytree(ROOT / part, tmp_path / part)
    page = tmp_path / "docs" / "index.md"
    links = "[a](nowhere.md) [b](../nowhere.yaml) [c](serving.md#no-heading) [d](../pyproject.toml)"
    (tmp_path / "pyproject.toml").touch()
    page.write_text(f"{page.read_text(encoding='utf-8')}\n{links}\n", encoding="utf-8")
    # Without the reference of Python, which takes the most time and is not what is asked.
    (tmp_path / "docs" / "api.md").write_text("# Python API\n", encoding="utf-8")
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    (tmp_path / "mkdocs.yml").write_text(re.sub(r"  - mkdocstrings:\n(    .*\n)+", "", config), encoding="utf-8")
    built = build(tmp_path, tmp_path / "site")
    assert built.returncode == 1
    warnings = "\n".join(line for line in built.stderr.splitlines() if line.startswith("WARNING"))
    assert all(broken in warnings for broken in ("'nowhere.md'", "'../nowhere.yaml'", "#no-heading")), built.stderr
    assert "pyproject.toml" not in warnings, "a link to a file beside docs/ becomes its path"
