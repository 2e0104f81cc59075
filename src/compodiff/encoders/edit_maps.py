"""What edits of whole pictures do to embeddings: a linear map of each edit, and the wordings that ask for it.

A mirrored picture's embedding is nearly a linear function of the picture's own, whatever the picture shows. So an edit
that a text asks for in words like the known ones needs no network: `encoder_training/edit_maps.py` fits the maps.
Shapes: B queries, E edits, R rank of a map, D embedding width, L learned part of it, N wordings.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from compodiff.errors import EncoderMismatch
from compodiff.storage.digests import digest_file

FILE = "edits.safetensors"
OTHER = -1  # what a wording asks for that is no edit of a whole picture
RECORD = "edits"  # key of the digest in the record of the encoder's manifest


@dataclass(frozen=True)
class FoundEdits:
    """Which of B queries ask for an edit, and what it does.

    Attributes:
        change: (B, D) edited embedding less the reference's; zeros where no edit is asked for.
        asked: (B,) bool, whether one is.
        shared: (B,) bool, whether the same words also ask for something else ("in red": a tint, or a red heart).
    """

    change: Tensor
    asked: Tensor
    shared: Tensor


@dataclass(frozen=True)
class EditMaps:
    """Linear maps of E edits and N wordings, float16.

    Attributes:
        down: (E, D, R), up: (E, R, D), shift: (E, D). An embedding x changes by (x @ down) @ up + shift.
        wordings: (N, L) embeddings of texts, of length one.
        edits: (N,) which edit each asks for, or OTHER.
        shared: (N,) whether a wording also asks for something else.
        least: (1,) cosine of a text with the nearest wording, from which on it asks for the same.
    """

    down: Tensor
    up: Tensor
    shift: Tensor
    wordings: Tensor
    edits: Tensor
    shared: Tensor
    least: Tensor

    def recognise(self, texts: Tensor) -> tuple[Tensor, Tensor]:
        """Return which edit each text (B, D) asks for, or OTHER, and whether its words are shared: (B,), (B,)."""
        learned = functional.normalize(texts[:, : self.wordings.shape[1]].float().cpu(), dim=1)
        cosine, nearest = (learned @ self.wordings.float().T).max(dim=1)
        edits = torch.where(cosine >= self.least.float(), self.edits[nearest].long(), OTHER)
        return edits, self.shared[nearest] & (edits != OTHER)

    def find(self, references: Tensor, texts: Tensor, may: Tensor) -> FoundEdits | None:
        """Return the edits that texts ask for, of references (B, D); None where no text does.

        Args:
            references: raw embeddings.
            texts: (B, D) texts among pictures.
            may: (B,) bool, False where a query asks for more than its text does.
        """
        edits, shared = self.recognise(texts)
        edits = torch.where(may.cpu(), edits, OTHER)
        asked = edits != OTHER
        if not bool(asked.any()):
            return None
        change = torch.zeros_like(references, dtype=torch.float32)
        for place in asked.nonzero()[:, 0].tolist():  # one by one: then none depends on the others by a bit
            change[place] = self._change(references[place], int(edits[place]))
        return FoundEdits(change, asked.to(references.device), (shared & asked).to(references.device))

    def _change(self, reference: Tensor, edit: int) -> Tensor:
        """Return by how much an edit changes an embedding, (D,) -> (D,)."""
        own = reference.float().cpu()
        changed: Tensor = (own @ self.down[edit].float()) @ self.up[edit].float() + self.shift[edit].float()
        return changed.to(reference.device)

    def save(self, folder: Path) -> str:
        """Write them into the folder of an encoder and return the digest of the file."""
        tensors = {each.name: getattr(self, each.name).contiguous() for each in fields(self)}
        save_file(tensors, folder / FILE)
        return digest_file(folder / FILE)


def load_edit_maps(folder: Path, record: Mapping[str, object]) -> EditMaps | None:
    """Read the maps in the folder of an encoder; None where its record names none, as that of older ones.

    Raises:
        EncoderMismatch: they are missing, or others than the record names.
    """
    if RECORD not in record:
        return None
    path = folder / FILE
    try:
        if digest_file(path) != record[RECORD]:
            raise EncoderMismatch(f"{path} is damaged or of another run; run: dvc repro train_encoder --force")
        with safe_open(path, "pt") as file:
            return EditMaps(**{each.name: file.get_tensor(each.name) for each in fields(EditMaps)})
    except (OSError, SafetensorError) as error:
        raise EncoderMismatch(f"{path} cannot be read ({error}); run: dvc repro train_encoder --force") from error
