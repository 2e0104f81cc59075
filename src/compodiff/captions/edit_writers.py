"""What samples edits from a language model: one interface, and transformers or vLLM behind it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Any, Protocol

import torch

from compodiff.captions.edit_rows import make_prompt
from compodiff.captions.language_model import find_longest_row, load_language_model, seed_generators
from compodiff.captions.on_vllm import VllmWriter, explain_missing_vllm
from compodiff.errors import ResourceUnavailable
from compodiff.execution import EXECUTION, LOCAL, count_workers
from compodiff.execution.crew import WORKERS
from compodiff.execution.gpu_memory import MemoryBound
from compodiff.params import LanguageModelParams
from compodiff.precision import choose_device

TRANSFORMERS, VLLM = "transformers", "vllm"


class EditWriter(Protocol):
    """What writes edits."""

    def answer(self, captions: Sequence[str], number: int) -> list[str]:
        """Return one answer for each caption of batch `number`."""


@dataclass(frozen=True)
class LazyWriter:
    """Loads a model in the process that first asks it for an answer; picklable until then.

    Attributes:
        model: a folder or hub id.
        engine: TRANSFORMERS or VLLM.
        params: section `captions.language_model`.
        seed: of all that is sampled.
    """

    model: str
    engine: str
    params: LanguageModelParams
    seed: int

    def answer(self, captions: Sequence[str], number: int) -> list[str]:
        """Return one answer for each caption of batch `number`.

        Raises:
            ResourceUnavailable: the model cannot be loaded, or the GPU's memory does not hold one caption.
        """
        return self._writer.answer(captions, number)

    @cached_property
    def _writer(self) -> EditWriter:
        if self.engine == VLLM:
            return VllmWriter(self.model, self.params, seed=self.seed)
        network, tokenizer = load_language_model(self.model, to_train=False)
        return LanguageModelWriter(network, tokenizer, self.params, seed=self.seed)


def choose_engine(params: LanguageModelParams) -> str:
    """Return which engine samples: as `params` say, or vLLM where it is installed and a GPU is there.

    Raises:
        ResourceUnavailable: vLLM is asked for and not installed.
    """
    is_installed = find_spec("vllm") is not None
    if params.engine == VLLM and not is_installed:
        raise ResourceUnavailable(explain_missing_vllm())
    if params.engine == "auto":
        return VLLM if is_installed and torch.cuda.is_available() else TRANSFORMERS
    return params.engine


def count_copies() -> int:
    """Return how many processes hold the model: those of `map_shards`, but one where no GPU is: it uses all cores."""
    is_spread = WORKERS in os.environ or os.environ.get(EXECUTION, LOCAL) != LOCAL or torch.cuda.is_available()
    return count_workers() if is_spread else 1


class LanguageModelWriter:
    """Samples answers of a language model by transformers."""

    def __init__(self, model: Any, tokenizer: Any, params: LanguageModelParams, *, seed: int) -> None:
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._params = params
        self._seed = seed
        self._memory = MemoryBound("captions that it answers", "take a smaller model or max_tokens")

    def answer(self, captions: Sequence[str], number: int) -> list[str]:
        """Return one answer for each caption, as it is; `number` of the batch is part of the seed.

        Raises:
            ResourceUnavailable: the GPU's memory does not hold one caption.
        """
        with seed_generators(self._seed, number):
            return [answer for some in self._memory.run_by_parts(self._generate, captions) for answer in some]

    @torch.inference_mode()
    def _generate(self, captions: Sequence[str]) -> list[str]:
        self._tokenizer.padding_side = "left"
        limit = find_longest_row(self._model.config, self._params)
        prompts = self._tokenizer(
            list(map(make_prompt, captions)), return_tensors="pt", padding=True, truncation=True, max_length=limit - 1
        ).to(choose_device())
        prompts.pop("token_type_ids", None)
        tokens = self._model.generate(
            **prompts,
            do_sample=True,
            temperature=self._params.temperature,
            top_p=self._params.top_p,
            max_new_tokens=limit - prompts["input_ids"].shape[1],
            pad_token_id=self._tokenizer.pad_token_id,
            eos_token_id=self._tokenizer.eos_token_id,
        )
        new = tokens[:, prompts["input_ids"].shape[1] :]
        answers: list[str] = self._tokenizer.batch_decode(new, skip_special_tokens=True)
        return answers
