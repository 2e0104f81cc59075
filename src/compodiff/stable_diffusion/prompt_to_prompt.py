"""Prompt-to-Prompt: a target's picture is drawn along the attention maps of its reference (arXiv 2208.01626).

Self-attention says which places of a picture belong together, cross-attention where each word of the caption is. In the
first steps the target takes both from its reference: the places as they are, the words by their alignment, so that all
but the change stays where it was.

Shapes: B pairs, N = 4 B rows of a call of the network (without and with text, in each half the references and then the
targets), S rows that share at a step, H heads, P places, L tokens.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import accumulate, pairwise
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

Word = tuple[int, ...]  # the ids of its tokens
Processor = Callable[..., Tensor]


@dataclass(frozen=True)
class Alignment:
    """Where the tokens of a target's caption take their cross-attention maps from.

    Attributes:
        shared: (L, L) weights of the reference's maps (columns) in the map of each target token (rows).
        own: (L,) 1 at tokens that keep their own map, as the reference has no such word.
    """

    shared: Tensor
    own: Tensor


def align(reference: Sequence[Word], target: Sequence[Word], length: int) -> Alignment:
    """Align two captions word by word, whatever the number of tokens of each word.

    A word that both have keeps the reference's map. Words that stand in place of others share the sum of the others'
    maps evenly, so a picture's place pays as much attention to them as to what was there (section 3.2, word swap).
    Words that were added keep their own map (section 3.2, adding a new phrase).

    Args:
        reference: words of the reference's caption, as many as fit between the start and the end token.
        target: words of the target's.
        length: L, tokens of a padded caption.
    """
    shared, own = torch.zeros(length, length), torch.zeros(length)
    shared[0, 0] = 1  # the start token
    before, after = _find_starts(reference), _find_starts(target)
    for change, i, i_end, j, j_end in SequenceMatcher(None, reference, target, autojunk=False).get_opcodes():
        rows, columns = slice(after[j], after[j_end]), slice(before[i], before[i_end])
        if change == "equal":
            shared[rows, columns] = torch.eye(after[j_end] - after[j])
        elif change == "replace":
            shared[rows, columns] = 1 / (after[j_end] - after[j])
        else:
            own[rows] = 1
    # The end token and the padding after it, which sums the caption up.
    tail = length - max(before[-1], after[-1])
    shared[after[-1] : after[-1] + tail, before[-1] : before[-1] + tail] = torch.eye(tail)
    own[after[-1] + tail :] = 1
    return Alignment(shared, own)


def _find_starts(words: Sequence[Word]) -> list[int]:
    """Return the position of the first token of each word, and of the token after the last one."""
    return list(accumulate((len(word) for word in words), initial=1))


def mix_maps(reference: Tensor, own: Tensor, alignment: Alignment) -> Tensor:
    """Return the target's cross-attention maps while it shares: the reference's by alignment, its own for new words.

    Args:
        reference: (S, H, P, L) maps of the references.
        own: (S, H, P, L) maps of the targets.
        alignment: of each, shared (S, L, L) and own (S, L).
    """
    return reference @ alignment.shared.mT[:, None] + own * alignment.own[:, None, None]


class Sharing:
    """Which rows of the network's batch take whose maps, step by step."""

    def __init__(self, alignments: Sequence[Alignment], fractions: Sequence[float], device: torch.device) -> None:
        """Set up a batch of pairs.

        Args:
            alignments: of each pair's captions.
            fractions: of the steps, the first ones, in which a pair shares its maps; 0 is no sharing at all.
            device: where the network is.
        """
        length = len(alignments[0].own)
        self._pairs = len(alignments)
        # Without text, both have the empty caption.
        same = [Alignment(torch.eye(length), torch.zeros(length))] * self._pairs
        both = [*same, *alignments]
        self._shared = torch.stack([it.shared for it in both]).to(device)
        self._own = torch.stack([it.own for it in both]).to(device)
        self._fractions = torch.tensor([*fractions, *fractions], device=device)
        self.advance(0.0)

    def advance(self, progress: float) -> None:
        """Say which part of the steps is done, in [0, 1)."""
        active = torch.nonzero(self._fractions > progress).flatten()
        half, pair = active // self._pairs, active % self._pairs
        self.references = 2 * self._pairs * half + pair
        self.targets = self.references + self._pairs
        self.alignment = Alignment(self._shared[active], self._own[active])


class SharedAttention:
    """An attention processor of diffusers' interface; rows that share nothing are left to the one it stands for."""

    def __init__(self, sharing: Sharing, usual: Processor) -> None:
        self._sharing = sharing
        self._usual = usual

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **rest: Any
    ) -> Tensor:
        """Attend, (N, P, width) -> (N, P, width)."""
        it = self._sharing
        if len(it.targets) == 0:
            return self._usual(attn, hidden_states, encoder_hidden_states, **rest)
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query = _split_heads(attn.to_q(hidden_states), attn.heads)
        key, value = (_split_heads(project(context), attn.heads) for project in (attn.to_k, attn.to_v))
        if encoder_hidden_states is None:
            # Maps are a function of queries and keys, so the reference's are shared without ever being stored.
            query, key = (states.index_copy(0, it.targets, states[it.references]) for states in (query, key))
            attended = scaled_dot_product_attention(query, key, value)
        else:
            attended = scaled_dot_product_attention(query, key, value)
            reference, own = (_compute_maps(query[rows], key[rows]) for rows in (it.references, it.targets))
            maps = mix_maps(reference, own, it.alignment)
            attended[it.targets] = maps.to(value.dtype) @ value[it.targets]
        project, dropout = attn.to_out
        mixed: Tensor = dropout(project(attended.transpose(1, 2).flatten(2)))
        return mixed


def _split_heads(states: Tensor, heads: int) -> Tensor:
    """(N, P, H x width) -> (N, H, P, width)."""
    return states.view(*states.shape[:2], heads, -1).transpose(1, 2)


def _compute_maps(query: Tensor, key: Tensor) -> Tensor:
    """Compute attention maps in float32, (S, H, P, L)."""
    scores: Tensor = query.float() @ key.float().mT * query.shape[-1] ** -0.5
    return scores.softmax(dim=-1)


class Network(Protocol):
    """What is needed of a UNet of diffusers."""

    attn_processors: Mapping[str, Processor]

    def set_attn_processor(self, processor: Any) -> None:
        """Set each layer's processor by the layer's name."""


@contextmanager
def share_attention(network: Network, sharing: Sharing) -> Iterator[None]:
    """Let every attention layer of the network share as `sharing` says while the block runs."""
    usual = dict(network.attn_processors)
    network.set_attn_processor({name: SharedAttention(sharing, processor) for name, processor in usual.items()})
    try:
        yield
    finally:
        network.set_attn_processor(usual)


def group_words(ids: Sequence[int], word_numbers: Sequence[int | None]) -> list[Word]:
    """Group a caption's token ids, special ones too, by word; `word_numbers` has None for special tokens."""
    content = [(number, token) for number, token in zip(word_numbers, ids, strict=True) if number is not None]
    bounds = [0, *(n for n, (one, other) in enumerate(pairwise(content), start=1) if one[0] != other[0]), len(content)]
    return [tuple(token for _, token in content[a:b]) for a, b in pairwise(bounds) if a < b]
