"""What training, sampling and search know of a network that composes, whichever it is (see `networks`).

Embeddings are raw, as the encoder makes them, wherever they enter `prepare_context`; x_t and x0 live in the network's
space, standardised per dimension by `standardise` and `restore` (both the identity for the released weights).
Legend: R context rows, N = R * draws query rows, U distinct items, D embedding width.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from compodiff.errors import InputInvalid
from compodiff.model.network.context import ContextRows, PackedText
from compodiff.model.network.inputs import Constants
from compodiff.params import DenoiserParams

MASK_SIDE = 64
TRANSFORMER = "transformer"


@dataclass(frozen=True)
class DenoiserConfig:
    """The shape of a network; `network` names its class in `networks`."""

    embedding_dim: int
    token_dims: tuple[int, ...]  # width of the token states of each text part
    width: int
    depth: int
    heads: int
    cross_heads: int
    head_width: int
    feed_forward_factor: int
    mask_size: int
    image_slots: int
    residual: bool
    network: str = TRANSFORMER  # what releases before 0.3 wrote no name for

    @classmethod
    def of(cls, params: DenoiserParams, *, embedding_dim: int, token_dims: tuple[int, ...]) -> "DenoiserConfig":
        """Return the section `denoiser` of params.yaml for an encoder of these widths."""
        shape = {name: value for name, value in params if name in cls.__dataclass_fields__}
        return cls(embedding_dim=embedding_dim, token_dims=token_dims, **shape)

    @property
    def sees_noise(self) -> bool:
        """Whether the network reads x_t and the timestep; one that does not can be nothing but a regressor."""
        return self.network == TRANSFORMER

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON types; `from_json` gives it back."""
        return {**asdict(self), "token_dims": list(self.token_dims)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "DenoiserConfig":
        """Read it back, also as release 0.1 wrote it: with the `token_dim` of its one text part.

        Raises:
            TypeError, KeyError: a key is unknown or missing.
        """
        shape = dict(content)
        token_dims = shape.pop("token_dims") if "token_dims" in shape else [shape.pop("token_dim")]
        return cls(**shape, token_dims=tuple(token_dims))


class ComposingNetwork(nn.Module, ABC):
    """Predicts x0 from x_t, the timestep and the context; some networks look at the context alone."""

    config: DenoiserConfig
    constants: Constants

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """The precision of the weights."""

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.constants.embedding_mean.device

    def standardise(self, embedding: Tensor) -> Tensor:
        """Turn a raw embedding (..., D) into the network's space, float32."""
        return (embedding.float() - self.constants.embedding_mean) / self.constants.embedding_std

    def restore(self, x0: Tensor) -> Tensor:
        """Turn the network's space (..., D) into a raw embedding, float32."""
        return x0.float() * self.constants.embedding_std + self.constants.embedding_mean

    @abstractmethod
    def prepare_context(
        self,
        texts: PackedText,
        images: Tensor | None = None,
        masks: Tensor | None = None,
        rows: ContextRows | None = None,
        uses: int = 1,
    ) -> Any:
        """Prepare what does not depend on x_t, once for all steps and draws. The inputs may be on any device.

        Args:
            texts: distinct texts.
            images: (U, D) raw reference embeddings (of the reference with its masked region blanked, where masked).
            masks: (U, 64, 64) bool or real, 1 on the region to replace.
            rows: which of them each row uses; default: row i uses text i, image i and mask i.
            uses: network calls times draws that will read each row; changes the cost, not the numbers.

        Raises:
            InputInvalid: text parts, a width or a mask size that the network does not take, or a text without tokens.
        """

    @abstractmethod
    def embed_time(self, timestep: Tensor) -> Tensor:
        """Return the timestep's token. timestep: (N,) -> (N, W)."""

    @abstractmethod
    def forward(self, x_t: Tensor, timestep: Tensor, context: Any) -> Tensor:
        """Predict x0.

        Args:
            x_t: (N, D) in the network's space; N = R * draws, the draws of a context row adjacent.
            timestep: (N,) or (1,) for all; integer, or real for flow matching. Or what `embed_time` made of it.
            context: of R rows.

        Returns:
            (N, D) float32 in the network's space.
        """

    def standardise_references(self, images: Tensor | None) -> Tensor:
        """Standardise raw reference embeddings (U, D), none for None.

        Raises:
            InputInvalid: they are of another width.
        """
        if images is None:
            return self.constants.embedding_mean.new_zeros(0, self.config.embedding_dim)
        if images.shape[-1] != self.config.embedding_dim:
            raise InputInvalid(f"embeddings are {images.shape[-1]} wide, the network takes {self.config.embedding_dim}")
        return self.standardise(images.to(self.constants.embedding_mean))

    def pool_masks(self, masks: Tensor | None) -> Tensor:
        """Return the empty mask, then `masks`, averaged down to the network's mask size: (1 + U, mask_size ** 2).

        Raises:
            InputInvalid: masks of another size.
        """
        empty = self.constants.embedding_mean.new_zeros(1, MASK_SIDE, MASK_SIDE)
        if masks is not None and masks.shape[1:] != empty.shape[1:]:
            shape = " x ".join(map(str, masks.shape[1:]))
            raise InputInvalid(f"a mask is {shape}; resize it to {MASK_SIDE} x {MASK_SIDE}")
        stacked = empty if masks is None else torch.cat((empty, masks.to(empty)))
        pooled = functional.avg_pool2d(stacked[:, None], MASK_SIDE // self.config.mask_size)
        return pooled.flatten(1).to(self.dtype)
