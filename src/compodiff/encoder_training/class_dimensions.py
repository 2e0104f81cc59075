"""The dimensions of classes, beside trained projections: by what measure, on which scale.

Along the directions in which classes differ most, train pictures have far more spread here than there. Each is divided
by that spread, so that the length of these dimensions tells how unlike the train pictures a picture is; texts are
multiplied by it, so that what a text and a picture have in common stays.
Shapes: N pictures, F joined map values, C classes, T things, M texts that name nothing, D_text width of the text tower,
H width of the image tower's head, K dimensions for classes.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from compodiff.encoder_training.projections import ProjectionExamples
from compodiff.encoders.named_classes import NamedClasses, find_class_directions, find_classes_of_things
from compodiff.params import NamedClassesParams


@dataclass(frozen=True)
class Described:
    """What the text tower makes of texts.

    Attributes:
        classes: descriptions of the image tower's classes, (C, D_text).
        things: descriptions of all that a text may name, (T, D_text).
        names: their names alone, (T, D_text).
        nothing: texts that name nothing, (M, D_text).
    """

    classes: Tensor
    things: Tensor
    names: Tensor
    nothing: Tensor


@torch.inference_mode()
def add_class_dimensions(
    model: Any, examples: ProjectionExamples, classifier: Tensor, described: Described, params: NamedClassesParams
) -> None:
    """Let embeddings of `model` end with K dimensions more; all others stay as they are.

    Args:
        model: of the default encoder, its projections trained.
        examples: what they were trained on; classes are told from the mean of these pictures.
        classifier: (C, H) weights of the image tower's classifier, whose features are the map "head".
        described: of the classes, and of what texts name.
        params: how many dimensions, and their scale beside all others.
    """
    features, classes = find_class_directions(classifier, params.dimensions)
    head = examples.maps[:, -examples.widths["head"] :]
    mean = head.mean(dim=0)
    divide, multiply = _measure_spread((head - mean) @ features, params.least_spread)
    features, classes = features @ divide, classes @ multiply  # (H, K), (C, K)
    scale = params.picture_length / float(((head - mean) @ features).norm(dim=1).mean())
    model.visual.classes = _make_linear(features.T * scale, -mean @ features * scale)
    near = find_classes_of_things(described.things, described.classes, params.class_temperature)
    things, names, nothing = (
        functional.normalize(each, dim=1) for each in (described.things, described.names, described.nothing)
    )
    keys = torch.cat([torch.lerp(things, names, params.name_share), nothing]) / params.temperature  # (T + M, D_text)
    model.text.proj = NamedClasses(model.text.proj, keys, near @ classes * params.text_weight)


def _measure_spread(shown: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """Return what divides by the spread of centred (N, K), and what multiplies by it, of mean length one: (K, K) both.

    `least` is added to the variances, in means of these.
    """
    variances, axes = torch.linalg.eigh(shown.T @ shown / len(shown))
    spread = (variances.clamp(min=0) + least * variances.mean()).sqrt()
    return (axes / spread) @ axes.T, (axes * (spread / spread.mean())) @ axes.T


def _make_linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """Return the layer of these weights, (K, H) and (K,)."""
    made = nn.Linear(weight.shape[1], weight.shape[0]).requires_grad_(requires_grad=False)
    made.weight.copy_(weight)
    made.bias.copy_(bias)
    return made
