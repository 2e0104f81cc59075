"""Fit how exact edits move embeddings: for each edit, ridge regression of the change on the unedited picture.

Shapes: N pictures, D embedding width, R rank.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from compodiff.encoders.edit_maps import OTHER, EditMaps
from compodiff.params import EditMapsParams


@dataclass(frozen=True)
class EditExamples:
    """Pictures before and after one edit, (N, D) each, and the wordings that ask for it."""

    before: Tensor
    after: Tensor
    wordings: Sequence[str]


def choose_wordings(edits: Sequence[EditExamples], others: Sequence[str]) -> dict[str, tuple[int, bool]]:
    """Return each known wording with the edit that it asks for, and whether it also asks for something else.

    A wording of several edits says too little ("in its natural colours"): it counts as one that asks for none.

    Args:
        edits: in their order.
        others: wordings of what is no edit of a whole picture.
    """
    of_wording: dict[str, set[int]] = {}
    for number, edit in enumerate(edits):
        for wording in edit.wordings:
            of_wording.setdefault(wording, set()).add(number)
    known = set(others)
    chosen = {
        wording: (min(numbers), wording in known) if len(numbers) == 1 else (OTHER, False)
        for wording, numbers in of_wording.items()
    }
    return chosen | {wording: (OTHER, False) for wording in sorted(known - set(chosen))}


def fit_edit_maps(
    edits: Sequence[EditExamples], chosen: Mapping[str, tuple[int, bool]], texts: Tensor, params: EditMapsParams
) -> EditMaps:
    """Fit a map of each edit.

    Args:
        edits: in the order that `chosen` numbers.
        chosen: of `choose_wordings`.
        texts: (wordings, L) what the encoder has learned of them, in the order of `chosen`.
        params: how.
    """
    maps = [_fit(edit.before.double(), edit.after.double(), params) for edit in edits]
    down, up, shift = (torch.stack(parts).half() for parts in zip(*maps, strict=True))
    return EditMaps(
        down=down,
        up=up,
        shift=shift,
        wordings=functional.normalize(texts.float(), dim=1).half(),
        edits=torch.tensor([edit for edit, _ in chosen.values()], dtype=torch.int16),
        shared=torch.tensor([is_shared for _, is_shared in chosen.values()]),
        least=torch.tensor([params.least_cosine]),
    )


def _fit(before: Tensor, after: Tensor, params: EditMapsParams) -> tuple[Tensor, Tensor, Tensor]:
    """Return down (D, R), up (R, D) and shift (D,) of one edit; the rank is that of the changes it predicts best."""
    mean, change = before.mean(dim=0), after - before
    centred, mean_change = before - mean, change.mean(dim=0)
    likeness = centred @ centred.T  # (N, N): there are fewer pictures than dimensions, or about as many
    penalty = params.ridge * float(likeness.trace()) / before.shape[1]  # in mean variances of a dimension
    eye = torch.eye(len(before), dtype=before.dtype)
    dual = torch.linalg.solve(likeness + penalty * eye, change - mean_change)  # (N, D)
    predicted = likeness @ dual
    _, along = torch.linalg.eigh(predicted @ predicted.T)  # (N, N), what varies most comes last
    up = functional.normalize(along[:, -params.rank :].T @ predicted, dim=1)  # (R, D)
    up = functional.pad(up, (0, 0, 0, params.rank - len(up)))
    down = centred.T @ (dual @ up.T)  # (D, R)
    return down, up, mean_change - (mean @ down) @ up
