"""Params of sets of exact edits, of few pictures."""

from typing import Any

from compodiff.params import ExactEditsParams, FolderEditsParams

_USUAL = {"min_rows": 1, "floors": None, "seed": 17, "edits_per_picture": 4}


def make_exact_edits_params(**changes: Any) -> ExactEditsParams:
    """A picture of each kind to train on, a collage to validate with; all rows are let through."""
    one, collage = {"objects": 1, "scenes": 1, "collages": 1}, {"objects": 0, "scenes": 0, "collages": 1}
    pictures = {"train": one, "validation": collage}
    own = {"recipe": "exact_edits", "reads": "data", "pictures": pictures}
    return ExactEditsParams.model_validate(_USUAL | own | changes)


def make_folder_edits_params(**changes: Any) -> FolderEditsParams:
    """All pictures of a folder of few; all rows are let through."""
    own = {"recipe": "folder_edits", "reads": "pictures", "pictures": 100, "validation_fraction": 0.2}
    return FolderEditsParams.model_validate(_USUAL | own | changes)
