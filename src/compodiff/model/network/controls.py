"""Networks that answer at once, without noise and without a transformer: what the denoiser is compared with.

Both read means of a text's token states, so that neither knows the order of the words beyond what the text encoder put
into each of them. Legend as in `composing`, and W network width, P packed tokens, D_k width of the k-th text part's
tokens, T the widths of all text parts together.
"""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from compodiff.model.network.composing import ComposingNetwork, DenoiserConfig
from compodiff.model.network.context import ContextRows, PackedText
from compodiff.model.network.inputs import Constants
from compodiff.model.network.linears import Linear


class ControlNetwork(ComposingNetwork):
    """A function of reference, text and mask alone; x_t and the timestep are not looked at."""

    @abstractmethod
    def answer(self, reference: Tensor, texts: Tensor, mask: Tensor) -> Tensor:
        """Predict x0 (R, D) from reference (R, D), standardised, pooled texts (R, ...) and mask (R, mask_size ** 2)."""

    def weigh_tokens(self, part: int, tokens: Tensor) -> Tensor:
        """Return the logarithms of the tokens' weights in H means of a text. tokens: (P, D_k) -> (P, H)."""
        del part
        return tokens.new_zeros(len(tokens), 1)

    def prepare_context(
        self,
        texts: PackedText,
        images: Tensor | None = None,
        masks: Tensor | None = None,
        rows: ContextRows | None = None,
        uses: int = 1,
    ) -> Tensor:
        """Return the answer itself, (R, D): it depends on nothing else."""
        del uses
        texts.require(self.config.token_dims)
        rows = rows or ContextRows.number_each(len(texts), images=images is not None, masks=masks is not None)
        # NULL, the last row, is a reference of zeros; of the masks, the first one is empty.
        references = functional.pad(self.standardise_references(images), (0, 0, 0, 1))
        text, image, mask = (row.to(self.device, non_blocking=True) for row in (rows.text, rows.image, rows.mask))
        return self.answer(
            references[image].to(self.dtype), self._pool_texts(texts)[text], self.pool_masks(masks)[mask + 1]
        )

    def embed_time(self, timestep: Tensor) -> Tensor:
        """Return nothing of the timestep, (N, 1)."""
        return torch.zeros_like(timestep, dtype=self.dtype)[:, None]

    def forward(self, x_t: Tensor, timestep: Tensor, context: Any) -> Tensor:
        """Return the answer of each row to each of its draws, (N, D) float32."""
        del timestep
        repeated: Tensor = context.float().repeat_interleave(len(x_t) // len(context), 0)
        return repeated

    def _pool_texts(self, texts: PackedText) -> Tensor:
        """Return weighted means of the token states of each text, of all text parts side by side: (U, H * T)."""
        pooled = []
        for part, (tokens, lengths) in enumerate(texts.parts):
            states, own = tokens.to(self.device, torch.float32), lengths.to(self.device)
            of_text = torch.repeat_interleave(torch.arange(len(own), device=self.device), own, output_size=len(states))
            weights = _divide_by_text(self.weigh_tokens(part, states.to(self.dtype)).float(), of_text, len(own))
            weighted = (weights[:, :, None] * states[:, None]).flatten(1)  # (P, H * D_k)
            pooled.append(weighted.new_zeros(len(own), weighted.shape[1]).index_add_(0, of_text, weighted))
        return torch.cat(pooled, 1).to(self.dtype)


def _divide_by_text(logits: Tensor, of_text: Tensor, texts: int) -> Tensor:
    """Return the softmax over the tokens of each text. logits: (P, H); of_text: (P,) which text a token is of."""
    index = of_text[:, None].expand_as(logits)
    largest = logits.new_full((texts, logits.shape[1]), -torch.inf).scatter_reduce(0, index, logits.detach(), "amax")
    weights = (logits - largest[of_text]).exp()
    totals = torch.zeros_like(largest).index_add_(0, of_text, weights)
    return weights / totals[of_text]


class Combiner(ControlNetwork):
    """A feed-forward network over reference and text, in the manner of CLIP4Cir (arXiv 2308.11485).

    x0 = reference + U (gate(text) * V reference) + residual blocks of both. The middle term, a linear map of the
    reference that the text chooses, stands in the place of CLIP4Cir's one gate; it carries over to pictures unlike
    those of training where deep layers do not. `residual` adds the reference itself. Of a text it sees as many means as
    there are cross-attention heads, each with weights that it learns to give the tokens.
    """

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.config, width = config, config.width
        inner = width * config.feed_forward_factor
        self.token_weights = nn.ModuleList(Linear(each, config.cross_heads, bias=False) for each in config.token_dims)
        self.text_projection = Linear(config.cross_heads * sum(config.token_dims) + config.mask_size**2, width)
        self.to_directions = Linear(config.embedding_dim, 2 * width, bias=False)
        self.gate = Linear(width, 2 * width)
        self.from_directions = Linear(2 * width, config.embedding_dim, bias=False)
        self.input_projection = Linear(config.embedding_dim + width, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), Linear(width, inner), nn.GELU(), Linear(inner, width))
            for _ in range(max(1, config.depth // 2))  # each two linear layers deep
        )
        self.norm = nn.LayerNorm(width)
        self.output_projection = Linear(width, config.embedding_dim, bias=False)
        if config.residual:
            nn.init.zeros_(self.from_directions.weight)
            nn.init.zeros_(self.output_projection.weight)
        self.constants = Constants(config.embedding_dim, config.head_width)

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the weights."""
        return self.norm.weight.dtype

    def weigh_tokens(self, part: int, tokens: Tensor) -> Tensor:
        """Return what is learned, (P, H); see `ControlNetwork`."""
        weights: Tensor = self.token_weights[part](tokens)
        return weights

    def answer(self, reference: Tensor, texts: Tensor, mask: Tensor) -> Tensor:
        """Predict x0 (R, D); see `ControlNetwork`."""
        text = functional.gelu(self.text_projection(torch.cat((texts, mask), 1)))  # (R, W)
        chosen = self.from_directions(self.gate(text) * self.to_directions(reference))  # (R, D)
        x = self.input_projection(torch.cat((reference, text), 1))
        for block in self.blocks:
            x = x + block(x)
        x0: Tensor = self.output_projection(self.norm(x)).float() + chosen.float()
        return x0 + reference.float() if self.config.residual else x0


class ProjectedSum(ControlNetwork):
    """The sum of a projected reference and a projected text, over frozen towers: BGE-VL's query (arXiv 2412.14475).

    BGE-VL trains the towers themselves; here a linear layer stands on each of the query's, and the gallery stays as it
    is, so that one index serves every model. The loss is that of all networks; its contrast has the references and the
    negatives that a set gives among the wrong answers.
    """

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.config = config
        self.image_projection = Linear(config.embedding_dim, config.embedding_dim, bias=False)
        self.text_projection = Linear(sum(config.token_dims) + config.mask_size**2, config.embedding_dim, bias=False)
        self.offset = nn.Parameter(torch.zeros(config.embedding_dim))
        nn.init.eye_(self.image_projection.weight)
        nn.init.zeros_(self.text_projection.weight)
        self.constants = Constants(config.embedding_dim, config.head_width)

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the weights."""
        return self.offset.dtype

    def answer(self, reference: Tensor, texts: Tensor, mask: Tensor) -> Tensor:
        """Predict x0 (R, D); see `ControlNetwork`."""
        x0: Tensor = self.image_projection(reference) + self.text_projection(torch.cat((texts, mask), 1)) + self.offset
        return x0
