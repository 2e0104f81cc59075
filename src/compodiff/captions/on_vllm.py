"""Samples edits by vLLM, an engine for GPUs that no extra of ours brings. The only module that imports it."""

from collections.abc import Sequence
from random import Random
from typing import Any

from compodiff.captions.edit_rows import make_prompt
from compodiff.captions.language_model import find_longest_row, load_tokenizer
from compodiff.errors import ResourceUnavailable
from compodiff.hub import find_model_folder
from compodiff.params import LanguageModelParams

_TOP_K = 50  # what transformers takes where nothing else is said; vLLM would take all tokens


class VllmWriter:
    """Samples answers of a language model by vLLM."""

    def __init__(self, name: str, params: LanguageModelParams, *, seed: int) -> None:
        """Load the model `name`, a folder or hub id; only weights in safetensors.

        Raises:
            ResourceUnavailable: vLLM is not installed, or cannot load the model.
            InputInvalid: the model's tokenizer has no end-of-text token.
        """
        try:
            from vllm import LLM
        except ImportError as error:
            raise ResourceUnavailable(explain_missing_vllm()) from error
        config, self._tokenizer = load_tokenizer(name)
        self._limit, self._params, self._seed = find_longest_row(config, params), params, seed
        try:
            self._model: Any = LLM(
                model=str(find_model_folder(name)),
                dtype="bfloat16",
                load_format="safetensors",
                max_model_len=self._limit,
            )
        except (OSError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ResourceUnavailable(
                f"vLLM could not load {name}: {reason}; set captions.language_model.engine to transformers"
            ) from error

    def answer(self, captions: Sequence[str], number: int) -> list[str]:
        """Return one answer for each caption; each draws from a seed made of `number` and its place in the batch."""
        from vllm import SamplingParams

        prompts = [
            self._tokenizer(make_prompt(caption), truncation=True, max_length=self._limit - 1)["input_ids"]
            for caption in captions
        ]
        settings = [
            SamplingParams(
                temperature=self._params.temperature,
                top_p=self._params.top_p,
                top_k=_TOP_K,
                max_tokens=self._limit - len(prompt),
                seed=Random(f"{self._seed} {number} {place}").getrandbits(62),
                stop_token_ids=[self._tokenizer.eos_token_id],
                detokenize=False,
            )
            for place, prompt in enumerate(prompts)
        ]
        asked = [{"prompt_token_ids": prompt} for prompt in prompts]
        written = [done.outputs[0].token_ids for done in self._model.generate(asked, settings, use_tqdm=False)]
        # The same tokenizer's words as with transformers: vLLM's own would know of the space before an answer.
        answers: list[str] = self._tokenizer.batch_decode([list(it) for it in written], skip_special_tokens=True)
        return answers


def explain_missing_vllm() -> str:
    """Say that vLLM was asked for and is not there, and the ways out."""
    return (
        "captions.language_model.engine is vllm, which is not installed; "
        "run: pip install vllm, or set it to transformers"
    )
