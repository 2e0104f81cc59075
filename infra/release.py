"""Build the wheel that carries a model, into dist/: python infra/release.py [MODEL]. `make release` runs it.

The model is the champion of the project around the current folder unless one is named. Its trained tensors go into a
copy of the sources, never into the repository. Beside the wheel come what is installed with it (build/sbom.json, which
`make release` makes anew first, by `make sbom`), licences, and sha256 sums.
"""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import distributions
from itertools import zip_longest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SBOM = Path("build", "sbom.json")
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "params.yaml", "dvc.yaml", "data.dvc", "infra", "src", "flows")
OUT = Path("dist")
LARGEST = 40_000_000  # bytes of the wheel
QUERIES, PICTURES = 120, 640  # of `compodiff demo`


def main() -> None:
    """Build it, or say in one line why not."""
    from compodiff import __version__
    from compodiff.errors import CompoDiffError

    if fault := find_sbom_fault():
        sys.exit(f"release: {fault}; `make sbom` makes it, as `make release` does by itself")
    with tempfile.TemporaryDirectory(prefix="compodiff-release-") as work:
        try:
            wheel = build_wheel(sys.argv[1] if len(sys.argv) > 1 else None, Path(work))
        except CompoDiffError as error:
            sys.exit(f"release: {error}")
        if (size := wheel.stat().st_size) > LARGEST:
            sys.exit(
                f"release: the wheel has {size / 1e6:.1f} MB, {LARGEST / 1e6:.0f} are allowed; name a smaller model"
            )
        OUT.mkdir(exist_ok=True)
        shutil.copy(wheel, OUT)
    stem = f"compodiff-{__version__}"
    (OUT / f"{stem}-licences.json").write_text(json.dumps(list_licences(), indent=1) + "\n", encoding="utf-8")
    shutil.copy(ROOT / "constraints.txt", OUT / f"{stem}-constraints.txt")
    shutil.copy(SBOM, OUT / f"{stem}-sbom.json")
    files = sorted(path for path in OUT.glob(f"{stem}*") if path.suffix != ".sha256")
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (OUT / f"{stem}.sha256").write_text("".join(sums), encoding="utf-8")
    for path in files:
        print(f"{path.stat().st_size / 1e6:8.1f} MB  {path}")  # noqa: T201


def build_wheel(model: str | None, work: Path) -> Path:
    """Build the wheel of a copy of the sources in `work`, with the packed model in it, and return it."""
    sources = work / "sources"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", ".env")
    sources.mkdir(parents=True)
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, sources / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, sources / name)
    folder = sources / "src" / "compodiff" / "bundled" / "model"
    folder.mkdir()
    pack(model, folder)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", str(work), str(sources)], cwd=work, check=True)
    (built,) = work.glob("*.whl")
    return built


def pack(model: str | None, folder: Path) -> None:
    """Pack the model and the demonstration's pictures and queries, of the project's default gallery."""
    from compodiff.bundled.packing import choose_demo, pack_model
    from compodiff.project import find_project_root
    from compodiff.search.locate import choose_model, find_gallery, find_model_parts
    from compodiff.serving.places import describe_version
    from compodiff.storage.json_files import read_json_lines
    from compodiff.storage.tables import read_table

    chosen = choose_model(model)
    parts = find_model_parts(chosen)
    benchmark = find_gallery(find_project_root()).parent
    table = read_table(benchmark / "gallery.parquet")
    names = dict(zip(table["picture_id"], table["name"], strict=True))
    queries = [line for _, line in read_json_lines(benchmark / "queries.validation.jsonl")]
    kinds: dict[str, list[dict[str, object]]] = {}
    for query in queries:
        kinds.setdefault(query["group"], []).append(query)
    spread = [
        [each[place * len(each) // QUERIES] for place in range(min(QUERIES, len(each)))] for each in kinds.values()
    ]
    in_turn = [query for turn in zip_longest(*spread) for query in turn if query is not None][:QUERIES]
    demo = choose_demo(in_turn, names, PICTURES)
    name = pack_model(parts.composed, parts.encoder, folder, version=describe_version(chosen), demo=demo)
    print(f"{name}: {describe_version(chosen)}, {len(demo['pictures'])} pictures to draw, {len(in_turn)} queries")  # noqa: T201


def find_sbom_fault() -> str:
    """Return in one line why the SBOM does not list what is installed here; "" where it does."""
    try:
        listed = json.loads(SBOM.read_text(encoding="utf-8"))["components"]
        there = {_normalise(each["name"]): each.get("version", "") for each in listed}
    except OSError:
        return f"there is no {SBOM}"
    except (ValueError, KeyError, TypeError):
        return f"{SBOM} is no CycloneDX"
    installed = {_normalise(each.name): each.version for each in distributions()}
    for name in sorted((there.keys() | installed.keys()) - {"compodiff"}):
        if there.get(name) != installed.get(name):
            lists, has = (versions.get(name, "none") for versions in (there, installed))
            return f"{SBOM} is stale: of {name} it lists {lists}, installed is {has}"
    return ""


def _normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def list_licences() -> dict[str, dict[str, str]]:
    """Return version and licence of every package that is installed here, by name."""
    found = {}
    for each in sorted(distributions(), key=lambda it: it.name.lower()):
        said = each.metadata
        classified = [line.rpartition(" :: ")[2] for line in said.get_all("Classifier") or [] if "License ::" in line]
        licence = said.get("License-Expression") or ", ".join(classified) or (said.get("License") or "").split("\n")[0]
        found[each.name] = {"version": each.version, "licence": licence or "not said"}
    return found


if __name__ == "__main__":
    main()
