"""Train, validation and test by concept: nothing that looks or means the same stands on two sides."""

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping

from compodiff.params import DataParams


def connect_concepts(pairs: Iterable[tuple[str, Hashable]]) -> dict[str, str]:
    """Join the concepts that share a key (such as a pixel digest); return concept -> first concept of its group."""
    parent: dict[str, str] = {}
    holder: dict[Hashable, str] = {}

    def find_root(concept: str) -> str:
        while parent[concept] != concept:
            concept = parent[concept]
        return concept

    for concept, key in pairs:
        parent.setdefault(concept, concept)
        first, second = sorted((find_root(holder.setdefault(key, concept)), find_root(concept)))
        parent[second] = first
    return {concept: find_root(concept) for concept in parent}


def split_concepts(groups: Mapping[str, str], strata: Mapping[str, str], params: DataParams) -> dict[str, str]:
    """Return concept -> train, validation or test.

    Concepts of one group share a split. Within each stratum, groups are dealt in the order of a seeded hash, so that
    every relation is found on each side as far as it has enough concepts; what rounding leaves goes to train.

    Args:
        groups: concept -> name of its group.
        strata: name of a group -> its stratum.
        params: seed and fractions.
    """
    members: dict[str, list[str]] = defaultdict(list)
    for group in set(groups.values()):
        members[strata[group]].append(group)
    split_of: dict[str, str] = {}
    for stratum in members.values():
        stratum.sort(key=lambda group: hashlib.blake2b(f"{params.seed}:{group}".encode()).digest())
        test = _round_half_up(len(stratum) * (1 - params.train_fraction - params.validation_fraction))
        held_out = test + _round_half_up(len(stratum) * params.validation_fraction)
        for place, group in enumerate(stratum):
            split_of[group] = "test" if place < test else "validation" if place < held_out else "train"
    return {concept: split_of[group] for concept, group in groups.items()}


def _round_half_up(number: float) -> int:
    return int(number + 0.5)
