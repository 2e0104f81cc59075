"""Dimensions that speak of the image tower's own classes, which WordNet describes in words.

A classifier's weights are directions of its features, each what a class looks like. A picture is told by how much each
class's evidence exceeds what pictures have of it, a text by which classes' descriptions it resembles; both are
then seen along the same few directions. Nothing is trained, and no photograph is needed.

A text that only asks for an edit ("sharper", "mirrored") names no class, however near to one its words are: texts that
name nothing stand among the descriptions, and the share of likeness that they take is lost.
Shapes: B texts, C classes, M texts that name nothing, K dimensions for classes, D_text width of the text tower, H width
of the tower's head.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class NamedClasses(nn.Module):
    """A text projection with K dimensions more: which classes a text names, by the length of all others."""

    def __init__(self, own: nn.Module, descriptions: Tensor, directions: Tensor) -> None:
        """Extend the projection `own`.

        Args:
            own: (B, D_text) -> (B, D - K).
            descriptions: (C + M, D_text) what the text tower makes of the classes' descriptions, and of texts that name
                nothing, of length 1/temperature.
            directions: (C, K) where each class lies from the mean of all, of the length that a text has which names one
                class, where its other dimensions have length one.
        """
        super().__init__()
        self.own = own
        self.register_buffer("descriptions", descriptions)
        self.register_buffer("directions", directions)

    def forward(self, states: Tensor) -> Tensor:
        """Project pooled states, (B, D_text) -> (B, D).

        A text that resembles no class more than the others, or a text that names nothing, has nearly zeros in the
        dimensions of classes.
        """
        descriptions, directions = self.get_buffer("descriptions"), self.get_buffer("directions")
        alike = torch.softmax(functional.normalize(states, dim=1) @ descriptions.T, dim=1)  # (B, C + M)
        named = alike[:, : len(directions)] @ directions  # (B, K)
        own = self.own(states)
        return torch.cat([own, own.norm(dim=1, keepdim=True) * named], dim=1)


def make_room_for_classes(own: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    """Return a projection to load stored `weights` of the default encoder into: `own`, with classes where they have."""
    stored = [weights[name] for name in ("text.proj.descriptions", "text.proj.directions") if name in weights]
    return NamedClasses(own, *map(torch.empty_like, stored)) if stored else own


def read_class_descriptions() -> list[str]:
    """Read the synonyms and the definition of each class, in the classifier's order, from timm's copy of WordNet."""
    from timm.data import ImageNetInfo

    descriptions: list[str] = ImageNetInfo().label_descriptions(detailed=True)
    return descriptions


def find_class_directions(classifier: Tensor, dimensions: int) -> tuple[Tensor, Tensor]:
    """Return along what classes differ most: features (H, K), classes (C, K).

    Args:
        classifier: (C, H) its weights.
        dimensions: K.
    """
    centred = classifier - classifier.mean(dim=0)
    left, _, _ = torch.linalg.svd(centred, full_matrices=False)
    classes = left[:, :dimensions]
    return centred.T @ classes, classes


def read_class_names() -> list[str]:
    """Read one name of each class, the first of its synonyms in WordNet, each once, in the classifier's order."""
    from timm.data import ImageNetInfo

    names = (described.split(",")[0].lower() for described in ImageNetInfo().label_descriptions(detailed=False))
    return list(dict.fromkeys(names))
