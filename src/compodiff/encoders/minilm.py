"""The default encoder's text tower in torch alone: the same numbers as transformers', which takes seconds to import.

A search by words needs this tower and its tokenizer only; everything that encodes many texts goes through transformers.
The names of the weights are those of transformers' BertModel. Shapes: B texts, L tokens, W width, H heads.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from compodiff.storage.json_files import read_json


@dataclass(frozen=True)
class MiniLmConfig:
    """What config.json of the packaged model says, as far as it is needed."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int
    layer_norm_eps: float
    pad_token_id: int

    @classmethod
    def read(cls, folder: Path) -> "MiniLmConfig":
        """Read it from the package's folder."""
        content = read_json(folder / "config.json")
        return cls(**{name: content[name] for name in cls.__dataclass_fields__})


class MiniLm(nn.Module):
    """A BERT without its pooler, for inference."""

    def __init__(self, config: MiniLmConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.embeddings = nn.ModuleDict(
            {
                "word_embeddings": _make_embedding(config.vocab_size, width),
                "position_embeddings": _make_embedding(config.max_position_embeddings, width),
                "token_type_embeddings": _make_embedding(config.type_vocab_size, width),
                "LayerNorm": nn.LayerNorm(width, config.layer_norm_eps),
            }
        )
        layers = [_make_layer(config) for _ in range(config.num_hidden_layers)]
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(layers)})
        self._heads = config.num_attention_heads

    def forward(self, input_ids: Tensor, attention_mask: Tensor, output_hidden_states: bool = False) -> Any:
        """Return an object whose `last_hidden_state` is (B, L, W), of ids and mask (B, L)."""
        parts = self.embeddings
        place = torch.arange(input_ids.shape[1], device=input_ids.device)[None]  # (1, L)
        summed = parts["word_embeddings"](input_ids) + parts["token_type_embeddings"](torch.zeros_like(input_ids))
        x: Tensor = parts["LayerNorm"](summed + parts["position_embeddings"](place))  # (B, L, W)
        mask = None if bool(attention_mask.all()) else attention_mask[:, None, None, :].bool()  # (B, 1, 1, L)
        states = [x]
        for layer in cast(nn.ModuleList, self.encoder["layer"]):
            x = self._run_layer(layer, x, mask)
            states.append(x)
        return SimpleNamespace(last_hidden_state=x, hidden_states=states if output_hidden_states else None)

    def _run_layer(self, layer: Any, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return x (B, L, W) after attention and the feed-forward part, each normalised after its sum."""
        own, after = layer["attention"]["self"], layer["attention"]["output"]
        query, key, value = (
            own[name](x).unflatten(-1, (self._heads, -1)).transpose(1, 2) for name in ("query", "key", "value")
        )  # (B, H, L, W / H)
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x = after["LayerNorm"](after["dense"](attended.transpose(1, 2).flatten(2)) + x)
        hidden = functional.gelu(layer["intermediate"]["dense"](x))
        out: Tensor = layer["output"]["LayerNorm"](layer["output"]["dense"](hidden) + x)
        return out


def _make_embedding(count: int, width: int) -> nn.Embedding:
    # With a weight of its own: to draw one on the meta device torch would import its compiler.
    return nn.Embedding(count, width, _weight=torch.empty(count, width))


def _make_layer(config: MiniLmConfig) -> nn.ModuleDict:
    width, hidden = config.hidden_size, config.intermediate_size

    def make_output(width_in: int) -> nn.ModuleDict:
        norm = nn.LayerNorm(width, config.layer_norm_eps)
        return nn.ModuleDict({"dense": nn.Linear(width_in, width), "LayerNorm": norm})

    own = nn.ModuleDict({name: nn.Linear(width, width) for name in ("query", "key", "value")})
    return nn.ModuleDict(
        {
            "attention": nn.ModuleDict({"self": own, "output": make_output(width)}),
            "intermediate": nn.ModuleDict({"dense": nn.Linear(width, hidden)}),
            "output": make_output(hidden),
        }
    )


class MeanPooler(nn.Module):
    """The mean of the states of real tokens, as open_clip pools them."""

    def forward(self, states: Any, attention_mask: Tensor) -> Tensor:
        """Return states (B, L, W), mask (B, L) -> (B, W)."""
        masked = states.last_hidden_state * attention_mask.unsqueeze(-1)
        pooled: Tensor = masked.sum(dim=1) / attention_mask.sum(-1, keepdim=True)
        return pooled


class MiniLmTokenizer:
    """Texts -> ids (B, length), cleaned as open_clip cleans them, cut, and padded with 0."""

    def __init__(self, folder: Path, length: int) -> None:
        """Read tokenizer.json of the package's folder."""
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(length)
        self._tokenizer.enable_padding(length=length)

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return the ids of texts."""
        encoded = self._tokenizer.encode_batch([_clean(text) for text in texts])
        return torch.tensor([each.ids for each in encoded])


def _clean(text: str) -> str:
    from ftfy import fix_text

    return " ".join(html.unescape(html.unescape(fix_text(text))).split())
