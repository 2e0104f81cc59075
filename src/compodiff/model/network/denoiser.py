"""The denoiser: a transformer that predicts x0, an image embedding, from a noisy one (arXiv 2303.11916, section 4.1).

Two query tokens, x_t and the timestep, attend to a context of text tokens (those of each text part of the encoder, one
part's after the other's), reference embedding and mask. Its keys and values in every layer are computed once a query
(`Denoiser.prepare_context`), then used at every step and draw.
Legend: R context rows, N = R * draws query rows, U distinct items, D embedding width, W network width.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from compodiff.model.network.attention import (
    FIRST_TOKEN,
    QUERY_TOKENS,
    Block,
    Positions,
    Projected,
    Unprojected,
    compute_rotation_factors,
    make_layer_norm,
)
from compodiff.model.network.composing import MASK_SIDE, ComposingNetwork, DenoiserConfig
from compodiff.model.network.context import Context, ContextRows, PackedText, find_key_rows
from compodiff.model.network.inputs import Constants, draw_normal, embed_timestep, make_mlp
from compodiff.model.network.linears import Linear

__all__ = ["MASK_SIDE", "RELEASED", "Denoiser", "DenoiserConfig"]

RELATIVE_BUCKETS = 32
# A multiplication of the unprojected way costs more: many small products instead of one large one.
UNPROJECTED_PENALTY = 3


RELEASED = DenoiserConfig(768, (1280,), 768, 12, 16, 8, 64, 4, MASK_SIDE, 1, residual=False)


class Denoiser(ComposingNetwork):
    """Predicts x0 from x_t, the timestep and the context.

    Each text part has a projection of its own. The first one's weights have the names that they had when there was no
    other (`text_projection`), so that model folders made then are read as they are; the others follow under
    `further_text_projections`.
    """

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.config, width = config, config.width
        first, *further = config.token_dims
        self.text_projection = Linear(first, width)
        self.further_text_projections = nn.ModuleList(Linear(token_dim, width) for token_dim in further)
        fits = config.embedding_dim == width
        self.input_projection = nn.Identity() if fits else Linear(config.embedding_dim, width, bias=False)
        # The released network hands the reference over as it is. No offset, so that a null reference stays zero.
        as_it_is = fits and config.image_slots == 1
        slots = config.image_slots * width
        self.image_projection = nn.Identity() if as_it_is else Linear(config.embedding_dim, slots, bias=False)
        self.time_mlp = make_mlp(width, width)
        self.mask_mlp = make_mlp(config.mask_size**2, width)
        self.relative_bias = nn.Parameter(draw_normal(RELATIVE_BUCKETS, config.heads))
        self.blocks = nn.ModuleList(
            Block(width, config.heads, config.cross_heads, config.head_width, config.feed_forward_factor)
            for _ in range(config.depth)
        )
        self.norm = make_layer_norm(width)
        self.output_projection = Linear(width, config.embedding_dim, bias=False)
        if config.residual:
            nn.init.zeros_(self.output_projection.weight)
        self.constants = Constants(config.embedding_dim, config.head_width)

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the weights."""
        return self.relative_bias.dtype

    def prepare_context(
        self,
        texts: PackedText,
        images: Tensor | None = None,
        masks: Tensor | None = None,
        rows: ContextRows | None = None,
        uses: int = 1,
    ) -> Context:
        """Project texts, references and masks, and make each layer's keys and values of them; see the base class."""
        texts.require(self.config.token_dims)
        rows = rows or ContextRows.number_each(len(texts), images=images is not None, masks=masks is not None)
        references = self.standardise_references(images)
        tokens = torch.cat(
            (
                self.relative_bias.new_zeros(FIRST_TOKEN, self.config.width),
                *self._project_texts(texts),
                self.image_projection(references.to(self.dtype)).reshape(-1, self.config.width),
                self.mask_mlp(self.pool_masks(masks)),
            )
        )
        lengths = [part.lengths.cpu() for part in texts.parts]
        index, padding = find_key_rows(lengths, rows, len(references), self.config.image_slots)
        # From the CPU to where the network is: not even a GPU is waited for.
        index, own = (each.to(tokens.device, non_blocking=True) for each in (index, rows.image))
        padding = None if padding is None else padding.to(tokens.device, non_blocking=True)
        return Context(
            layers=self._prepare_layers(tokens, index, padding, uses),
            reference=functional.pad(references, (0, 0, 0, 1))[own],
            positions=self._make_positions(),
        )

    def embed_time(self, timestep: Tensor) -> Tensor:
        """Return the timestep's token. timestep: (N,) -> (N, W)."""
        tokens: Tensor = self.time_mlp(embed_timestep(timestep, self.config.width).to(self.dtype))
        return tokens

    def forward(self, x_t: Tensor, timestep: Tensor, context: Context) -> Tensor:
        """Predict x0; see the base class."""
        x = self.input_projection(x_t.to(self.dtype))
        time = self.embed_time(timestep) if timestep.ndim == 1 else timestep
        tokens = torch.stack((x, time.expand_as(x)), 1)
        for number, (block, layer) in enumerate(zip(self.blocks, context.layers, strict=True)):
            # Only the first token leaves the network, so the last block computes nothing else.
            queries = 1 if number == self.config.depth - 1 else QUERY_TOKENS
            tokens = block(tokens, context.positions, layer, queries)
        x0: Tensor = self.output_projection(self._normalise_stably(tokens[:, 0])).float()
        if self.config.residual:
            x0 = x0 + context.reference.repeat_interleave(len(x0) // len(context.reference), 0)
        return x0

    def _project_texts(self, texts: PackedText) -> list[Tensor]:
        """Return the tokens of each text part, (P, W)."""
        projections = (self.text_projection, *self.further_text_projections)
        return [
            project(part.tokens.to(self.relative_bias)) for project, part in zip(projections, texts.parts, strict=True)
        ]

    def _prepare_layers(
        self, tokens: Tensor, index: Tensor, padding: Tensor | None, uses: int
    ) -> tuple[Projected | Unprojected, ...]:
        """Prepare each block's context: keys and values where they are read often enough to pay, else the tokens."""
        bias = None
        if padding is not None:
            bias = torch.zeros_like(padding, dtype=self.dtype).masked_fill(padding, -torch.inf)[:, None]
        if self._is_cheaper_unprojected(len(tokens), index, uses):
            # Its first column is the learned null key, which differs from layer to layer.
            rows = tokens.index_select(0, index[:, 1:].flatten()).view(len(index), -1, self.config.width)
            return (Unprojected(rows, None if bias is None else bias[..., 1:]),) * self.config.depth
        heads = self.config.cross_heads, self.config.head_width
        layers = []
        for block in self.blocks:
            table = cast(Block, block).attend_context.keys_values(tokens)
            by_head = table.view(len(tokens), 2 * heads[0], heads[1]).transpose(0, 1)
            pair = by_head.index_select(1, index.flatten()).view(2, heads[0], *index.shape, heads[1])
            layers.append(Projected(pair[0], pair[1], bias))
        return tuple(layers)

    def _is_cheaper_unprojected(self, tokens: int, index: Tensor, uses: int) -> bool:
        """Compare multiplications a layer: projecting all tokens once, or two query tokens at each use of a row."""
        rows, length = index.shape
        inner = self.config.cross_heads * self.config.head_width
        projected = tokens * 2 * inner
        unprojected = uses * rows * QUERY_TOKENS * 2 * (inner + self.config.cross_heads * length)
        return UNPROJECTED_PENALTY * unprojected < projected

    def _make_positions(self) -> Positions:
        # T5's relative bias: keys that are not behind the query share bucket 0. Of (null, x_t, timestep) only the null
        # key, which stands one place before x_t's own index, is behind, and only seen from the timestep token.
        buckets = torch.zeros(QUERY_TOKENS, QUERY_TOKENS + 1, dtype=torch.long, device=self.relative_bias.device)
        buckets[1, 0] = 1
        rotation = compute_rotation_factors(self.constants.rotary_frequencies, self.config.head_width)
        return Positions(rotation, self.relative_bias[buckets].transpose(0, 1).float())

    def _normalise_stably(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(x / x.amax(-1, keepdim=True).detach())
        return out
