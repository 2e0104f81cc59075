"""Check that what params.yaml names is there, before hours are spent on the rest."""

import shlex
from pathlib import Path

from compodiff.errors import InputInvalid
from compodiff.params import BenchmarkParams, FilesBenchmarkParams, OwnSetParams, Params, SetParams
from compodiff.sets.addresses import is_address

BUILT = "data"  # the catalogue, which the pipeline builds itself


def require_sources(project: Path, params: Params) -> None:
    """Refuse sets and benchmarks that are not there; an address is asked when its set is made.

    Args:
        project: what their paths count from.
        params: of the project.

    Raises:
        InputInvalid: one is not there; the message says how it comes about.
    """
    for name, own in params.sets.items():
        require_set(project, name, own)
    for name, benchmark in params.benchmarks.items():
        require_benchmark(project, name, benchmark)


def require_set(project: Path, name: str, own: SetParams) -> None:
    """Refuse a set that is not there, see `require_sources`.

    Raises:
        InputInvalid: what it reads is not there.
    """
    if not _is_there(project, own.reads):
        raise InputInvalid(
            f"the set {name} of params.yaml reads {own.reads}, which is not in {project}; make it by: "
            f"{say_how_to_make(own)} (docs/reproduction.md, docs/synthesis.md), or name one that is there"
        )


def say_how_to_make(own: SetParams) -> str:
    """Return the command that makes what a set reads."""
    told = own.made_by if isinstance(own, OwnSetParams) else ""
    return told or f"compodiff import FILES --format FORMAT --to {Path(own.reads).parent}"


def require_benchmark(project: Path, name: str, benchmark: BenchmarkParams) -> None:
    """Refuse a benchmark that is not there, see `require_sources`.

    Raises:
        InputInvalid: its folder or its annotations are not there.
    """
    root = benchmark.root if isinstance(benchmark, FilesBenchmarkParams) else benchmark.reads
    for path in (root, benchmark.reads):
        if not _is_there(project, path):
            kind = benchmark.format if isinstance(benchmark, FilesBenchmarkParams) else "triplets"
            raise InputInvalid(
                f"the benchmark {name} of params.yaml reads {path}, which is not in {project}; where to get it: "
                f"compodiff benchmark doctor {kind} --root {shlex.quote(root)}"
            )


def _is_there(project: Path, path: str) -> bool:
    return is_address(path) or path in (BUILT, "artifacts/encoder") or (project / path).exists()
