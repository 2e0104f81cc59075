"""Whatever a disk, a table, a tar or a shell holds: a command ends in a line and an exit code, never in a traceback."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from factories import draw_noise, encode_picture, write_tar
from worlds.odd import FORMATS, NAMES, odd_contents, write_odd_folder
from worlds.odd_sets import odd_lines, write_odd_tables, write_odd_tars

from compodiff import Searcher
from compodiff.cli import main
from compodiff.encoders import load_encoder
from compodiff.errors import CompoDiffError
from compodiff.images import list_pictures
from compodiff.index import INSIDE
from compodiff.index.folder import BuildPlan, build_folder_index
from compodiff.params import load_params

pytestmark = pytest.mark.timeout(240)
LEAST = 150
ODD_FILES = (
    "pipe.jpg",
    "zero.png",
    "round.png",
    "talk.png",
    "a folder.png",
    "sparse.png",
    "bomb of 60000.png",
    "x" * 300,
)
ODD_REFERENCES = ("", " ", "~", "a\0b", "\udcff", "/", "/proc/self/mem", "👩‍🍳", "9" * 5000)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    search_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """Run the command line in this process; at the end, fail on every call that ended as nobody foresaw."""
    monkeypatch.chdir(search_project)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("COMPODIFF_WORKERS", "1")
    faults: list[str] = []

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["compodiff", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        code = int(ended.value.code or 0)
        for path in (tmp_path / "state").rglob("*.txt"):
            faults.append("\n".join(path.read_text().splitlines()[1:2] + path.read_text().splitlines()[-12:]))
            path.unlink()
        if "Traceback" in err or code not in range(7):
            faults.append(f"{arguments} ended with {code}: {err[-500:]}")
        return code, out, err

    yield call
    assert not faults, "\n\n".join(faults)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """Three good pictures."""
    (tmp_path / "good").mkdir()
    for number in range(3):
        (tmp_path / "good" / f"good{number}.png").write_bytes(encode_picture(draw_noise(number)))
    return tmp_path / "good"


MODEL = ("--model", "artifacts")


def foreseen(function: Callable[..., object], *arguments: object, **options: object) -> None:
    """Call what may refuse, in one line that names what is wrong."""
    try:
        function(*arguments, **options)
    except CompoDiffError as error:
        assert str(error)  # noqa: PT017


def test_there_are_enough_odd_inputs(tmp_path: Path) -> None:
    counted = write_odd_folder(tmp_path / "odd")
    assert counted > LEAST
    assert (
        counted + len(write_odd_tables(tmp_path / "tables")) + write_odd_tars(tmp_path / "tars") + len(odd_lines())
        > LEAST
    )


def test_a_folder_of_every_odd_entry_is_built_added_to_and_searched(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    write_odd_folder(folder)
    code, out, err = run("index", "build", folder, *MODEL)
    assert code == 0, err
    assert "pipe.jpg (is a pipe, not a file)" in err
    assert "zero.png (is a device, not a file)" in err
    assert int(out.split(" pictures")[0]) >= len(NAMES) + len(FORMATS) + 3
    code, out, _ = run("index", "status", folder)
    assert code == 0
    assert [line for line in out.splitlines() if not line.startswith("left out: ")] == out.splitlines()[:2]
    assert all(line.startswith("left out: ") for line in out.splitlines()[2:])
    (folder / "half.png").write_bytes(encode_picture(draw_noise())[:100])
    assert run("index", "add", folder, *MODEL)[0] == 0
    assert run("index", "add", folder, *MODEL)[0] == 0
    assert "bring it up to date" not in run("index", "status", folder)[1]
    assert run("index", "build", folder, *MODEL, "--strict")[0] == 1
    (folder / "new\nline.png").unlink()
    assert run("index", "remove", folder)[0] == 0
    for more in ((), ("--json",), ("--html", tmp_path / "answer.html")):
        code, _, err = run("search", "--index", folder, *MODEL, "--reference", folder / NAMES[4], "-k", 1000, *more)
        assert code == 0, err


def test_odd_names_and_numbers_of_a_shell_are_one_line(run: Run, good: Path, tmp_path: Path) -> None:
    odd = tmp_path / "odd"
    odd.mkdir()
    write_odd_folder(odd)
    searcher = Searcher.load("artifacts")
    for reference in (*(odd / name for name in ODD_FILES), *ODD_REFERENCES):
        foreseen(searcher.search, reference, "red", k=2)
        foreseen(searcher.search, "👩‍🍳", "red", mask=reference or "away", k=2)
    for dials in (
        *({"k": k} for k in (0, -1, 10**30)),
        *({"seed": seed} for seed in (-1, 2**63, 10**30)),
        *({"num_inference_steps": steps} for steps in (0, -1)),
        *({name: weight} for name in ("w_image", "w_text") for weight in (np.nan, np.inf, -np.inf, -1e308)),
        *({"text": text} for text in ("\udcff", "x" * 100_000, "\0", "[/red]")),
    ):
        foreseen(searcher.search, "👩‍🍳", **({"text": "red"} | dials))
    for option, value in (("-k", str(10**30)), ("--seed", str(2**63)), ("--w-image", "nan"), ("--text", "\udcff")):
        run("search", *MODEL, "--text", "red", option, value, "--reference", odd / "pipe.jpg")
    for files in ((odd / "pipe.jpg",), ("x" * 300,), ("a\0b",), (odd / "round.png",), (good / "good0.png",)):
        run("index", "add", odd, *files, *MODEL)
        run("index", "remove", odd, *files)
    for folder in (odd / "pipe.jpg", odd / "round.png", odd / "away", "a\0b", "x" * 300, odd / "zero.png"):
        run("index", "build", folder, *MODEL)
        run("index", "status", folder)
        run("search", "--index", folder, *MODEL, "--text", "x")


def test_odd_tables_of_columns_are_taken_or_named(run: Run, good: Path, tmp_path: Path) -> None:
    encoder, params = load_encoder(Path("artifacts", "encoder")), load_params(Path("params.yaml")).index
    for table in write_odd_tables(tmp_path / "tables"):
        todo = BuildPlan(list_pictures(good).files, columns=table)
        foreseen(build_folder_index, good, good / INSIDE, encoder, params, todo)
    numbers = tmp_path / "tables" / "beyond 64 bits.csv"
    assert run("index", "build", good, *MODEL, "--columns", numbers)[0] == 0
    searcher = Searcher.load("artifacts", index=good)
    for where in (
        "99999999999999999999999 > width",
        "width > 1e400",
        "n = 1",
        "'",
        "path like '%\0'",
        "(" * 5000,
        "\udcff",
    ):
        foreseen(searcher.search, text="x", where=where)


def test_odd_queries_galleries_and_embeddings_are_scored_or_named(run: Run, good: Path, tmp_path: Path) -> None:
    root = tmp_path / "benchmark"
    shutil.copytree(good, root / "gallery")
    ids = np.array(["good0", "good1", "good2"])
    np.savez(tmp_path / "G.npz", ids=ids, embeddings=np.eye(3, dtype=np.float32))
    np.savez(tmp_path / "Q.npz", embeddings=np.eye(3, dtype=np.float32)[:1])
    files = ("--gallery", tmp_path / "G.npz", "--queries", tmp_path / "Q.npz")
    for name, content in odd_lines().items():
        (root / "queries.jsonl").write_bytes(content)
        assert run("benchmark", "doctor", "triplets", "--root", root)[0] in (0, 1), name  # 1: something is missing
        run("benchmark", "score", "triplets", "--root", root, *files)
    for name in ("away", "G.npz", "cut"):
        (tmp_path / "cut").write_bytes((tmp_path / "G.npz").read_bytes()[:200])
        run(
            "benchmark", "score", "triplets", "--root", root, "--gallery", tmp_path / name, "--queries", tmp_path / name
        )
    asked = {"reference": "good0", "relative_caption": "x", "target": "good1"}
    (root / "queries.jsonl").write_text(json.dumps(asked))
    write_odd_tars(root / "gallery" / "tars")
    run("benchmark", "doctor", "triplets", "--root", root)
    shutil.rmtree(root / "gallery" / "tars")
    write_odd_folder(root / "gallery" / "odd")
    assert "broken" in run("benchmark", "doctor", "triplets", "--root", root)[1]
    (root / "gallery" / "odd" / "pipe.tar").unlink()
    run("benchmark", "run", "triplets", "--root", root, *MODEL, "--no-track", "--cache", tmp_path / "cache")
    run(
        "benchmark",
        "run",
        "triplets",
        "--root",
        root,
        *MODEL,
        "--no-track",
        "--skip-missing",
        "--cache",
        tmp_path / "c",
    )


def test_odd_sets_are_imported_and_cleaned_or_named(run: Run, tmp_path: Path) -> None:
    write_odd_tars(tmp_path / "tars")
    write_odd_tables(tmp_path / "tables")
    (tmp_path / "sets").mkdir()
    texts = {
        "original_caption": "a dog on a beach",
        "edited_caption": "a cat on a beach",
        "edit_prompt": "make it a cat",
    }
    entries = [(name, content, texts) for name, content in odd_contents() if name not in ("Thumbs.db",)]
    _write_set(tmp_path / "sets" / "pictures.tar", entries)
    numbers = [
        {"mask_box": [10**400, 0, 1, 1]},
        {"mask_box": "x"},
        {"key": 10**30},
        {"edited_caption": 10**30},
        {"split": []},
    ]
    whole = encode_picture(draw_noise(3))
    _write_set(tmp_path / "sets" / "texts.tar", [(f"{n}", whole, texts | odd) for n, odd in enumerate(numbers)])
    for folder, form in (
        (tmp_path / "tars", "webdataset"),
        (tmp_path / "tables", "parquet"),
        (tmp_path / "sets", "webdataset"),
    ):
        for flags in ((), ("--skip-faulty",)):
            to = tmp_path / f"to-{folder.name}{''.join(flags)}"
            run("import", folder, "--to", to, "--format", form, *flags)
            run("dataset", "clean", to, "--to", tmp_path / f"clean-{to.name}")
    code, out, err = run("import", tmp_path / "sets", "--to", tmp_path / "again", "--skip-faulty")
    assert code == 0, err
    assert "left out: 2 bad mask, 1 bad split" in out
    for form in ("webdataset", "parquet"):  # pictures that do not decode are in it: validation finds them
        _, _, err = run("export", tmp_path / "again", "--to", tmp_path / "out", "--format", form)
        assert "is no picture; leave such rows out" in err
    odd = tmp_path / "odd"
    odd.mkdir()
    write_odd_folder(odd)
    run("dataset", "clean", tmp_path / "again", "--to", tmp_path / "cleaned", "--benchmark", odd)


@pytest.mark.parametrize(
    "form", ["manifest", "captions", "parquet", "img2dataset", "lasco", "fashioniq-train", "cirr-train"]
)
def test_odd_files_are_no_set_of_any_format_or_only_partly_one(run: Run, tmp_path: Path, form: str) -> None:
    write_odd_tars(tmp_path / "tars")
    write_odd_tables(tmp_path / "tables")
    (tmp_path / "lists").mkdir()
    for name, content in odd_contents():
        (tmp_path / "lists" / f"{Path(name).name}.jsonl").write_bytes(content)
    for folder in ("lists", "tables", "tars"):
        for flags in ((), ("--skip-faulty",)):
            to = tmp_path / f"{form}-{folder}{len(flags)}"
            run("import", tmp_path / folder, "--to", to, "--format", form, *flags)


def _write_set(path: Path, entries: list[tuple[str, bytes, dict]]) -> None:
    target = encode_picture(draw_noise(9))
    samples = {
        f"{number:04}": {
            "reference_image.png": content,
            "target_image.png": target,
            "json": json.dumps(texts).encode(),
        }
        for number, (_, content, texts) in enumerate(entries)
    }
    write_tar(path, {f"{key}.{end}": data for key, files in samples.items() for end, data in files.items()})
