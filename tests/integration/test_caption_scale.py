"""Keyword captions at 10^4, 10^5 and 10^6: their rate on one core after tagging, and memory that stays flat."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
SIZES = (10_000, 100_000, 1_000_000)
RATE = 5_000  # captions a second
GROWTH = 64  # MiB from the smallest to the largest set: SQLite's cache, and groups of rows that are full

# The terms of these captions are known, so that a set of a million needs no tagger; all else is as the command does it.
SCRIPT = """
import json, random, sys, time
from pathlib import Path
import numpy as np
from compodiff.machine import read_peak_memory
from compodiff.params import load_params
from compodiff.captions.by_keywords import KeywordRun
from compodiff.captions.replacements import find_replacements
from compodiff.language.terms import ATTRIBUTE, ONE, Occurrence, TaggedCaption

size, folder, params = int(sys.argv[1]), Path(sys.argv[2]), load_params(Path(sys.argv[3])).captions
draw = random.Random(17)
letters = "bcdfglmnprst"
terms = {a + v + b + w + c: number % 4 == 0 for number, (a, v, b, w, c) in enumerate(
    (a, v, b, w, c) for a in letters for v in "aeo" for b in letters for w in "iu" for c in letters)}
nouns = [term for term, is_adjective in terms.items() if not is_adjective]
adjectives = [term for term, is_adjective in terms.items() if is_adjective]
path = folder / "captions.txt"
with path.open("w") as lines:
    for number in range(size):
        one, other = draw.sample(nouns, 2)
        lines.write(f"a {draw.choice(adjectives)} {one} with a {other} and two of the other things, number {number}\\n")


class KnownTerms:
    name = "known"

    def tag(self, captions):
        for caption in captions:
            found, start = [], 0
            for word in caption.split(" "):
                if word in terms:
                    found.append(Occurrence(start, start + len(word), ATTRIBUTE if terms[word] else ONE))
                start += len(word) + 1
            yield TaggedCaption(caption, tuple(found))


params = params.model_copy(update={"keywords": params.keywords.model_copy(update={"min_english": 0.0, "min_count": 2})})
run = KeywordRun(path, folder / "work", params)
started = time.perf_counter()
run.tag(KnownTerms())
tagged = time.perf_counter()
forms = run.find_frequent_terms()
vectors = np.random.default_rng(17).normal(size=(len(forms), 32)).astype(np.float32)
summary = run.write(find_replacements(forms, vectors, low=0.2, high=0.6, seed=17), folder / "pairs.parquet")
print(json.dumps(summary | {
    "terms": len(forms),
    "first_pass_per_second": round(size / (tagged - started)),
    "after_tagging_per_second": round(size / (time.perf_counter() - tagged)),
    "peak_mib": read_peak_memory() // 2**20,
}))
"""


def test_the_rate_is_reached_and_memory_stays_flat(tmp_path: Path) -> None:
    params = Path(__file__).parents[2] / "params.yaml"
    found = {}
    for size in SIZES:
        folder = tmp_path / str(size)
        folder.mkdir()
        result = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(size), str(folder), str(params)],
            capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert result.returncode == 0, result.stderr[-2000:]
        found[size] = json.loads(result.stdout)
        sys.stderr.write(f"{size:,} captions: {found[size]}\n")
    assert all(each["pairs"] > 0.9 * size for size, each in found.items())
    assert all(each["captions_per_second"] > RATE for each in found.values())
    # With what is done once for the terms, too, as soon as there are more captions than terms.
    assert all(found[size]["after_tagging_per_second"] > RATE for size in SIZES[1:])
    assert found[SIZES[-1]]["peak_mib"] - found[SIZES[0]]["peak_mib"] < GROWTH


def test_the_tagger_itself() -> None:
    from compodiff.language.terms import Tagger

    captions = [
        f"a red dog with number {number} runs along the sandy beach next to a fire truck" for number in range(4000)
    ]
    tagger = Tagger()
    started = time.perf_counter()
    assert sum(len(it.occurrences) > 3 for it in tagger.tag(captions)) > 3900
    rate = len(captions) / (time.perf_counter() - started)
    sys.stderr.write(f"tagging: {rate:,.0f} captions a second\n")
    assert rate > 300  # a floor that a busy machine reaches too
