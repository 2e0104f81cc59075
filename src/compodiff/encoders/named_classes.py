"""Dimensions that speak of the image tower's own classes, which WordNet describes in words.

A classifier's weights are directions of its features, each what a class looks like. A picture is told by how much each
class's evidence exceeds what pictures have of it. A text is told by which things' descriptions it resembles, and each
thing by which classes' descriptions its own resembles: "a deer" resembles the description of deer, which tells of
antlers and resembles that of impalas, while the words "a deer" resemble those of deerhounds. Both are then seen along
the same few directions. Nothing is trained, and no photograph is needed.

A text that only asks for an edit ("sharper", "mirrored") names no class, however near to one its words are: texts that
name nothing stand among the descriptions, and the share of likeness that they take is lost.
Shapes: B texts, C classes, T things, M texts that name nothing, K dimensions for classes, D_text width of the text
tower, H width of the tower's head.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from compodiff.params import Vocabulary


class NamedClasses(nn.Module):
    """A text projection with K dimensions more: which classes a text names, by the length of all others."""

    def __init__(self, own: nn.Module, descriptions: Tensor, directions: Tensor) -> None:
        """Extend the projection `own`.

        Args:
            own: (B, D_text) -> (B, D - K).
            descriptions: (T + M, D_text) what the text tower makes of the things' names and descriptions, and of texts
                that name nothing, over the temperature.
            directions: (T, K) where what each thing is near to lies from the mean of all classes, of the length that a
                text has which names one class, where its other dimensions have length one.
        """
        super().__init__()
        self.own = own
        self.register_buffer("descriptions", descriptions)
        self.register_buffer("directions", directions)

    def forward(self, states: Tensor) -> Tensor:
        """Project pooled states, (B, D_text) -> (B, D).

        A text that resembles nothing more than all else, or a text that names nothing, has nearly zeros in the
        dimensions of classes.
        """
        descriptions, directions = self.get_buffer("descriptions"), self.get_buffer("directions")
        alike = torch.softmax(functional.normalize(states, dim=1) @ descriptions.T, dim=1)  # (B, T + M)
        named = alike[:, : len(directions)] @ directions  # (B, K)
        own = self.own(states)
        return torch.cat([own, own.norm(dim=1, keepdim=True) * named], dim=1)


def make_room_for_classes(own: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    """Return a projection to load stored `weights` of the default encoder into: `own`, with classes where they have."""
    stored = [weights[name] for name in ("text.proj.descriptions", "text.proj.directions") if name in weights]
    return NamedClasses(own, *map(torch.empty_like, stored)) if stored else own


def read_descriptions(vocabulary: Vocabulary, *, detailed: bool = True) -> list[str]:
    """Read synonyms, and where `detailed` the definition, of each thing, in classifiers' order, from timm's WordNet."""
    from timm.data import ImageNetInfo

    descriptions: list[str] = ImageNetInfo(vocabulary).label_descriptions(detailed=detailed)
    return descriptions


def find_classes_of_things(things: Tensor, classes: Tensor, temperature: float) -> Tensor:
    """Return the share of each class in what each thing is near to, (T, C), whose rows add up to one.

    Args:
        things: (T, D_text) what the text tower makes of their descriptions.
        classes: (C, D_text) as of things.
        temperature: of the cosines between both.
    """
    cosines = functional.normalize(things, dim=1) @ functional.normalize(classes, dim=1).T
    return torch.softmax(cosines / temperature, dim=1)


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
