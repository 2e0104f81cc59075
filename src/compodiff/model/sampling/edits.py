"""An answer to a text that asks for an edit of the whole picture: what the encoder knows such an edit to do.

The network has no part in it; the weights of guidance mean what they mean elsewhere: w_image is how much of the
reference is kept, and w_text how far it changes.
Legend: B queries, S draws, D embedding width with the dimensions for classes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class EditConditions:
    """The edits that B queries ask for.

    Attributes:
        reference: (B, D) raw embeddings.
        change: (B, D) what the edit adds to them.
        asked: (B,) bool, whether an edit is asked for.
        shared: (B,) bool, whether the same words also ask for something else, which the network knows better where a
            reference is like what it learned from.
    """

    reference: Tensor
    change: Tensor
    asked: Tensor
    shared: Tensor

    def answer(self, composed: Tensor, unlike: Tensor, *, w_image: float, w_text: float, mixing: float) -> Tensor:
        """Return the edited references in the place of what was composed, where an edit is asked for.

        Args:
            composed: (B, S, D).
            unlike: (B,) bool, whether reference and gallery are unlike what was learned from.
            w_image: weight of the reference.
            w_text: weight of the change.
            mixing: share of the reference's own embedding in the answer.

        Returns:
            (B, S, D); all rows but those of an edit are as composed, bit for bit.
        """
        edited = torch.lerp(w_image * self.reference + w_text * self.change, self.reference, mixing)
        decides = self.asked & (unlike | ~self.shared)
        return torch.where(decides[:, None, None], edited.to(composed)[:, None], composed)
