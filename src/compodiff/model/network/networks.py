"""Every network by the name that params.yaml and config.json give it."""

from collections.abc import Mapping

from compodiff.errors import CheckpointMismatch
from compodiff.model.network.composing import TRANSFORMER, ComposingNetwork, DenoiserConfig
from compodiff.model.network.controls import Combiner, ProjectedSum
from compodiff.model.network.denoiser import Denoiser

NETWORKS: Mapping[str, type[Denoiser | Combiner | ProjectedSum]] = {
    TRANSFORMER: Denoiser,
    "combiner": Combiner,
    "sum": ProjectedSum,
}


def make_network(config: DenoiserConfig) -> ComposingNetwork:
    """Make the network that `config` names, with random weights.

    Raises:
        CheckpointMismatch: it names none.
    """
    if config.network not in NETWORKS:
        raise CheckpointMismatch(f"there is no network {config.network!r}; this release knows: {', '.join(NETWORKS)}")
    return NETWORKS[config.network](config)
