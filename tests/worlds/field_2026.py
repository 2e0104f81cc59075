"""PinPoint, i-CIR, M-BEIR and CIRCUS as users have them, made up as in field.py: targets are their references again."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from worlds.field import OTHERS, PAIRS, SECOND, Field, pairs

INSTANCES = ("a_temple", "a_toy")


def write_lines(path: Path, items: Iterable[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(item)}\n" for item in items), encoding="utf-8")


def pinpoint(home: str) -> Callable[[Path], list[str]]:
    def write(root: Path) -> list[str]:
        names = [f"{number:032x}" for number in range(0xAB0, 0xAB0 + 2 * PAIRS + OTHERS)]
        asked = pairs(names)
        rows: list[dict[str, Any]] = [
            {
                "query_id": f"{number:05d}",
                "query_image_signature": reference,
                "query_image_signature2": None,
                "instruction": "the same again",
                "positive_candidates": [target],
                "negative_candidates": names[-2:],
                "query_category": "Art",
            }
            for number, (reference, target) in enumerate(asked)
        ]
        (root / home).mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_parquet(root / home / "pinpoint_licensed.parquet")
        shown = {reference for reference, _ in asked}
        listed = [name for name in names if name not in shown]
        (root / home / "index_signatures.txt").write_text("".join(f"{name}\n" for name in listed))
        return names

    return write


def icir(tables: str, head: str = "") -> Callable[[Path], list[str]]:
    def write(root: Path) -> list[str]:
        every, asked, database = [], [], []
        for instance in INSTANCES:
            names = [
                f"icir/{'query' if number % 2 == 0 and number < 2 * PAIRS else 'database'}/{instance}/{number:03d}.jpg"
                for number in range(2 * PAIRS + OTHERS)
            ]
            for number, (reference, target) in enumerate(pairs(names)):
                asked.append(f"{reference},at {number} o'clock,{instance}")
                database.append(f"{target},at {number} o'clock,{instance}")
            database += [f"{name},,{instance}" for name in names[2 * PAIRS :]]
            every += names
        for name, rows in (("query_files", asked), ("database_files", database)):
            path = root / tables / f"{name}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join([*([head] if head else []), *rows]) + "\n")
        return every

    return write


def _write_pool(path: Path, names: list[str]) -> None:
    write_lines(path, ({"did": name, "txt": None, "img_path": place(name), "modality": "image"} for name in names))


def place(name: str) -> str:
    return f"mbeir_images/cirr_images/dev/{name.partition(':')[2]}.jpg"


def _ask(number: int, reference: str, positives: list[str]) -> dict[str, Any]:
    return {
        "qid": f"7:{number}",
        "query_txt": "the same again",
        "query_img_path": place(reference),
        "query_modality": "image,text",
        "pos_cand_list": positives,
        "neg_cand_list": [],
    }


def mbeir(home: str) -> Callable[[Path], list[str]]:
    def write(root: Path) -> list[str]:
        names = [f"7:{number}" for number in range(1, 1 + 2 * PAIRS + OTHERS)]
        _write_pool(root / home / "cand_pool/local/mbeir_cirr_task7_cand_pool.jsonl", names)
        asked = pairs(names)
        queries = (_ask(number, reference, []) for number, (reference, _) in enumerate(asked))
        write_lines(root / home / "query/test/mbeir_cirr_task7_test.jsonl", queries)
        qrels = root / home / "qrels/test/mbeir_cirr_task7_test_qrels.txt"
        qrels.parent.mkdir(parents=True)
        qrels.write_text("".join(f"7:{number} 0 {target} 1 7\n" for number, (_, target) in enumerate(asked)))
        return names

    return write


def circus(home: str, pool: str) -> Callable[[Path], list[str]]:
    """One query that was solved, the others not; the trail of each file lies beside it."""

    def write(root: Path) -> list[str]:
        names = [f"7:{number}" for number in range(1, 1 + 2 * PAIRS + OTHERS)]
        _write_pool(root / home / pool, names)
        queries = [_ask(number, reference, [target]) for number, (reference, target) in enumerate(pairs(names))]
        for label, kept in (("validated_solved", queries[:1]), ("validated_unsolved", queries[1:])):
            folder = root / "final_dataset/query_jsonl/cirr" / label
            write_lines(folder / f"mbeir_cirr_task7_test_{label}.jsonl", kept)
            write_lines(folder / f"mbeir_cirr_task7_test_{label}.trace.jsonl", [{"qid": "7:0", "best_rank": 3}])
        return names

    return write


FIRST_OF_INDEX = {"map_at_10": 1.0, "recall_at_1": 1.0}
FIRST_OF_DATABASE = {"map": 1.0, "recall_at_1": 1.0}
LATER = {name: value for name, value in SECOND.items() if name.startswith("recall")}
FIELDS_2026 = [
    Field("pinpoint", "images", pinpoint("."), lambda name: f"images/{name}.jpg", FIRST_OF_INDEX),
    Field("icir", "folders", icir("."), lambda name: name.removeprefix("icir/"), FIRST_OF_DATABASE),
    Field("mbeir", "M-BEIR", mbeir("M-BEIR"), lambda name: f"M-BEIR/{place(name)}", LATER),
    Field("circus", "merged", circus(".", "cand_pool/cirr_task7.jsonl"), place, LATER),
]
