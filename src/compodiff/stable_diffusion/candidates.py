"""Candidates of a caption pair: what they differ in, and the few that show its change best."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from compodiff.encoders import Encoder
from compodiff.pairs.pair import CaptionPair, PicturePair
from compodiff.pairs.similarity import compare_directions
from compodiff.params import DiffusionParams


@dataclass(frozen=True)
class CandidateDraw:
    """One candidate that is to be drawn; everything random about it follows from its key."""

    captions: CaptionPair
    noise: int  # seed
    shared: float  # fraction of the steps
    guidance: float


def list_draws(pair: CaptionPair, params: DiffusionParams, seed: int) -> list[CandidateDraw]:
    """Draw what the candidates of a caption pair differ in, and name them."""
    draws = []
    for number in range(params.candidates):
        key = f"{pair.key}-{number:02d}"
        generator = np.random.default_rng(list(hashlib.sha256(f"{seed}/{key}".encode()).digest()))
        draws.append(
            CandidateDraw(
                replace(pair, key=key, reference=f"{key}-reference", target=f"{key}-target"),
                noise=int(generator.integers(2**63)),
                shared=generator.uniform(params.min_shared, params.max_shared),
                guidance=generator.uniform(params.min_guidance, params.max_guidance),
            )
        )
    return draws


class BestByDirection:
    """Keeps the candidates whose pictures changed most the way their captions did."""

    def __init__(self, encoder: Encoder, *, kept: int, batch_size: int) -> None:
        self._encoder = encoder
        self._kept = kept
        self._batch_size = batch_size

    def __call__(self, candidates: Sequence[PicturePair]) -> list[PicturePair]:
        """Return at most `kept` of one caption pair's candidates, the best first; of equals the one drawn first."""
        if len(candidates) <= self._kept:
            return list(candidates)
        captions = candidates[0].captions
        said = [captions.reference_caption, captions.target_caption]
        texts = self._encoder.embed_texts(said, "candidates are compared with their captions").cpu().numpy()
        references, targets = (
            self._encoder.encode_images(pictures, self._batch_size).cpu().numpy()
            for pictures in ([it.reference for it in candidates], [it.target for it in candidates])
        )
        scores = compare_directions(references, targets, texts[:1], texts[1:])
        return [candidates[place] for place in np.argsort(-scores, kind="stable")[: self._kept]]
