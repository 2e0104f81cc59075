"""A CIRCO-size input is scored in at most twice the time of one FAISS flat search, with less than 2 GB beside it.

Run: pytest -m slow -s tests/integration/test_benchmark_speed.py
"""

import os
import subprocess
import sys

import pytest

# A process of its own: BLAS takes its number of threads when it is loaded, and peak memory is a process's.
PROGRAM = """
import time
import faiss, numpy as np
from compodiff.benchmarks.datasets.benchmark import Benchmark, BenchmarkProtocol, BenchmarkQuery
from compodiff.benchmarks.datasets.pictures import FilePictures
from compodiff.benchmarks.scoring.ranking import Similarity, find_top_rows
from compodiff.benchmarks.scoring.scorer import Scorer
from compodiff.benchmarks.scoring.vectors import Vectors
from compodiff.machine import read_peak_memory

faiss.omp_set_num_threads(1)
size, width, count = 123_403, 768, 800
generator = np.random.default_rng(0)
gallery = generator.standard_normal((size, width), dtype=np.float32)
queries = generator.standard_normal((count, width), dtype=np.float32)
ids = tuple(map(str, range(size)))
truths = [generator.choice(size, 1 + generator.integers(8), replace=False) for _ in range(count)]  # CIRCO has 4.5
asked = tuple(
    BenchmarkQuery(str(i), ids[0], "", ("",), targets=(ids[own[0]],), also_relevant=tuple(ids[j] for j in own[1:]))
    for i, own in enumerate(truths)
)
protocol = BenchmarkProtocol(recall_ks=(1, 5, 10, 25, 50), map_ks=(5, 10, 25, 50))
benchmark = Benchmark("circo", "val", asked, protocol, FilePictures(lambda name: []))

def seconds(action):
    start = time.process_time()
    action()
    return time.process_time() - start

def megabytes():
    return read_peak_memory() / 2**20

nothing = np.full((count, 1), -1)
before = megabytes()
vectors = Vectors(ids, gallery)
score = [lambda: Scorer(chunk=4096).score(benchmark, vectors, Similarity((queries,)))]
rank = [lambda: find_top_rows(Similarity((queries,)), gallery, 50, excluded=nothing, chunk=4096)]
ours = [min(seconds(action) for action in actions * 3) for actions in (score, rank)]
memory = megabytes() - before
index = faiss.IndexFlatIP(width)
index.add(gallery)
flat = min(seconds(lambda: index.search(queries, 50)) for _ in range(3))
print(flat, *ours, memory)
"""


@pytest.mark.slow
def test_circo_size_costs_at_most_two_flat_searches():
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=os.environ | threads, capture_output=True, text=True, check=True
    )
    flat, scoring, ranking, memory = map(float, run.stdout.split())
    sys.stdout.write(
        f"\nFAISS flat {flat:.2f} s, scoring {scoring:.2f} s ({scoring / flat:.2f} x), "
        f"top 50 {ranking:.2f} s ({ranking / flat:.2f} x), {memory:.0f} MB beside the arrays\n"
    )
    assert scoring <= 2 * flat
    assert ranking <= 2 * flat
    assert memory < 2000
