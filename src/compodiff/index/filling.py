"""An index of FAISS's that is made in memory: lists and codes learned where its kind has any, and vectors added.

Shapes: N pictures, D embedding width.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss

from compodiff.errors import InputInvalid
from compodiff.index.gpus import GRAPH, build_graph
from compodiff.index.manifest import IndexManifest
from compodiff.index.nearest import Floats, normalise
from compodiff.params import IndexParams

_GROWTH = 2  # inverted lists learned on half as many pictures still divide them well
_CHUNK = 65_536  # vectors normalised at a time
_TRAINING_VECTORS_PER_CENTROID = 64  # FAISS asks for 39 at least and stops gaining at 256


def write_filled(
    to: Path, kind: str, embeddings: Floats, params: IndexParams, earlier: tuple[Path, IndexManifest] | None
) -> None:
    """Write a FAISS index of the kind that holds the embeddings (N, D) as `to`.

    Args:
        to: the file.
        kind: `flat`, `ivf_sq8`, `ivf_pq` or `cagra`.
        embeddings: (N, D), as the encoder made them.
        params: numbers of the kind.
        earlier: the file of an index over nearly the same vectors, and its manifest: what it learned is used again.

    Raises:
        InputInvalid: there are too few for the kind, or a value is not finite.
        ResourceUnavailable: the kind cannot be built on this machine.
    """
    if kind == GRAPH:
        faiss.write_index(build_graph(normalise(embeddings)), str(to))
        return
    index = _copy_untrained(kind, earlier, embeddings, params) or _train(kind, embeddings, params)
    for chunk in _split_into_units(embeddings):
        index.add(chunk)
    faiss.write_index(index, str(to))


def _copy_untrained(
    kind: str, earlier: tuple[Path, IndexManifest] | None, embeddings: Floats, params: IndexParams
) -> Any:
    """Return an empty index with what `earlier` learned; None where that does not fit."""
    if earlier is None:
        return None
    file, manifest = earlier
    if kind == "flat" or manifest.kind != kind:
        return None
    if manifest.dim != embeddings.shape[1] or len(embeddings) > _GROWTH * manifest.count:
        return None
    index: Any = faiss.read_index(str(file))
    if index.nlist != params.lists or (kind == "ivf_pq" and params.code_bytes != index.pq.M):
        return None
    index.reset()
    index.nprobe = params.probes
    return index


def _train(kind: str, embeddings: Floats, params: IndexParams) -> Any:
    """Return an empty FAISS index of the kind, with its coarse lists and codes learned where it has any."""
    count, dim = embeddings.shape
    if kind == "flat":
        return faiss.IndexFlatIP(dim)
    centroids = max(params.lists, 256 if kind == "ivf_pq" else 1)  # a byte of a code names one of 256
    if count < centroids:
        raise InputInvalid(f"index.kind {kind} needs {centroids} pictures, there are {count}; set it to flat")
    if kind == "ivf_pq" and dim % params.code_bytes:
        raise InputInvalid(f"index.code_bytes is {params.code_bytes}, which does not divide the width {dim}")
    codes = "SQ8" if kind == "ivf_sq8" else f"PQ{params.code_bytes}"
    index: Any = faiss.index_factory(dim, f"IVF{params.lists},{codes}", faiss.METRIC_INNER_PRODUCT)
    index.nprobe = params.probes
    index.cp.min_points_per_centroid = 1  # fewer than 39 is a warning on stderr otherwise
    if kind == "ivf_pq":
        index.pq.cp.min_points_per_centroid = 1
        index.do_polysemous_training = False  # takes 5 s and serves a filter that is not used
    index.train(normalise(embeddings[:: max(1, count // (centroids * _TRAINING_VECTORS_PER_CENTROID))]))
    return index


def _split_into_units(embeddings: Floats) -> Iterator[Floats]:
    for start in range(0, len(embeddings), _CHUNK):
        yield normalise(embeddings[start : start + _CHUNK])
