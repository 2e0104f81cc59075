"""The dimensions of classes, added to trained projections: by what measure, on which scale.

Shapes: N pictures, T texts, F joined map values, C classes, H width of the tower's head, K dimensions for classes.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from compodiff.encoder_training.projections import ProjectionExamples
from compodiff.encoders.named_classes import NamedClasses, find_class_directions
from compodiff.params import NamedClassesParams


@torch.inference_mode()
def add_class_dimensions(
    model: Any, examples: ProjectionExamples, classifier: Tensor, descriptions: Tensor, params: NamedClassesParams
) -> None:
    """Let both projections of `model` end with K dimensions more.

    Args:
        model: of the default encoder, its projections trained.
        examples: what they were trained on; classes are told from the mean of these pictures.
        classifier: (C, H) weights of the image tower's classifier, whose features are the map "head".
        descriptions: (C, D_text) what the text tower makes of the classes' descriptions.
        params: how many dimensions, and their scale beside all others.
    """
    features, classes = find_class_directions(classifier, params.dimensions)
    head = _find_columns(examples, "head")
    mean = examples.maps[:, head].mean(dim=0)
    shown = (examples.maps[:, head] - mean) @ features  # (N, K)
    scale = params.picture_share * _measure_length(model.visual.proj(examples.maps)) / _measure_length(shown)
    features = features * scale
    model.visual.proj = _extend(model.visual.proj, features, mean, head)
    model.text.proj = NamedClasses(
        model.text.proj,
        functional.normalize(descriptions, dim=1) / params.temperature,
        classes * params.text_weight,
    )


def _find_columns(examples: ProjectionExamples, name: str) -> slice:
    """Return which of the joined map values are of the map `name`."""
    names, widths = list(examples.widths), list(examples.widths.values())
    first = sum(widths[: names.index(name)])
    return slice(first, first + examples.widths[name])


def _measure_length(vectors: Tensor) -> float:
    """Return the mean length of vectors (N, D)."""
    return float(vectors.norm(dim=1).mean())


def _extend(own: nn.Linear, features: Tensor, mean: Tensor, head: slice) -> nn.Linear:
    """Return the projection F -> D + K, which ends with `(head - mean) @ features`."""
    extended = nn.Linear(own.in_features, own.out_features + features.shape[1]).requires_grad_(False)
    beside = torch.zeros(features.shape[1], own.in_features)  # (K, F)
    beside[:, head] = features.T
    extended.weight.copy_(torch.cat([own.weight, beside]))
    extended.bias.copy_(torch.cat([own.bias, -mean @ features]))
    return extended
