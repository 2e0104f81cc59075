"""What is asked of a model: the conditions of a batch of queries, and how to sample the answers.

Legend: B queries, D embedding width.
"""

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor

from compodiff.dials import DIALS, Dial
from compodiff.errors import InputInvalid
from compodiff.model.network.context import PackedText
from compodiff.model.sampling.classes import ClassConditions
from compodiff.model.sampling.edits import EditConditions
from compodiff.params import ClassSamplingParams, SamplingParams

_OWN = ("num_inference_steps", "draws", "w_image", "w_text")
_ETA = Dial("eta", float, "noise that ddim adds: 0 none, 1 as much as DDPM", most=1)


@dataclass(frozen=True)
class SamplerOptions:
    """How to sample; checked when made.

    num_inference_steps: network calls. grid: "trailing" starts at pure noise; "legacy" is the released sampler's, with
    "ddim" only. solver "mean" is one call: E[x0 | conditions]. eta: noise of "ddim" in [0, 1]. draws: answers a query.
    reference_mixing: share of the reference's own embedding in the answer, and where there is a mask. classes: how what
    the answer says of classes is found.
    """

    num_inference_steps: int
    solver: Literal["ddim", "dpm_solver", "unipc", "mean"]
    grid: Literal["trailing", "legacy"]
    eta: float
    w_image: float
    w_text: float
    draws: int
    reference_mixing: float
    masked_reference_mixing: float
    classes: ClassSamplingParams | None = None

    @classmethod
    def of(cls, params: SamplingParams, **changes: Any) -> "SamplerOptions":
        """Return the section `sampling` of params.yaml; what is given in `changes` and not None is this query's own."""
        chosen = cls(**{field.name: getattr(params, field.name) for field in fields(cls)})
        return replace(chosen, **{name: value for name, value in changes.items() if value is not None})

    def __post_init__(self) -> None:
        mixing = DIALS["reference_mixing"]
        for dial in (*(DIALS[name] for name in _OWN), mixing, replace(mixing, name="masked_reference_mixing"), _ETA):
            dial.require(getattr(self, dial.name))
        if self.solver == "mean" and self.num_inference_steps != 1:
            steps = self.num_inference_steps
            raise InputInvalid(f"solver mean is one network call, not {steps}; take steps 1 or unipc")
        if self.grid == "legacy" and self.solver != "ddim":
            raise InputInvalid(f"the legacy grid knows the solver ddim only, not {self.solver}")


@dataclass(frozen=True)
class Conditions:
    """What B queries ask for.

    null_text: the empty or negative text, one for all or one a query. text: B texts or None (reference only). image:
    (B, D) raw embeddings or None (text only); a masked reference is embedded with the masked region blanked.
    has_image: (B,) bool, False where a query of a mixed batch has no reference. mask: (B, 64, 64), 1 on what is to be
    replaced. classes: dimensions that the network does not know; answers end with them. edits: of whole pictures, where
    a text asks for one.
    """

    null_text: PackedText
    text: PackedText | None = None
    image: Tensor | None = None
    has_image: Tensor | None = None
    mask: Tensor | None = None
    classes: ClassConditions | None = None
    edits: EditConditions | None = None

    def __len__(self) -> int:
        return len(self.text) if self.text is not None else 0 if self.image is None else len(self.image)

    def require(self) -> None:
        """Check that the parts fit each other and are numbers.

        Raises:
            InputInvalid: neither text nor reference, parts of different lengths, NaN or infinity in an embedding.
        """
        if self.text is None and self.image is None:
            raise InputInvalid("a query has neither a text nor a reference; give at least one")
        for name, part in (("reference embeddings", self.image), ("masks", self.mask), ("has_image", self.has_image)):
            if part is not None and len(part) != len(self):
                raise InputInvalid(f"{len(part)} {name} for {len(self)} queries; give one each")
        if len(self.null_text) not in (1, len(self)):
            raise InputInvalid(f"{len(self.null_text)} negative texts for {len(self)} queries; give one, or one each")
        texts = [part.tokens for text in (self.text, self.null_text) if text is not None for part in text.parts]
        for name, part in (("a reference embedding", self.image), *(("a text embedding", tokens) for tokens in texts)):
            if part is not None and not bool(torch.isfinite(part).all()):
                raise InputInvalid(f"{name} holds NaN or infinity; encode its input again")
