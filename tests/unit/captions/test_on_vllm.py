"""What is asked of vLLM, by a stand-in with the signatures of its documentation; vLLM itself needs a GPU."""

import sys
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import pytest
from worlds.captions import tiny_model, tiny_tokenizer

from compodiff.captions.edit_rows import make_prompt
from compodiff.captions.edit_writers import LazyWriter, choose_engine
from compodiff.captions.language_model import save_language_model
from compodiff.errors import ResourceUnavailable
from compodiff.params import load_params

NUMBERS = load_params(Path(__file__).parents[3] / "params.yaml").captions.language_model.model_copy(
    update={"max_tokens": 64}
)


class StandInLLM:
    """Takes what vLLM documents for `LLM` and `generate`, and nothing else; it answers each prompt with its own end."""

    made: ClassVar[list[dict[str, object]]] = []

    def __init__(self, model, *, dtype="auto", load_format="auto", max_model_len=None):
        self.made.append({"model": model, "dtype": dtype, "load_format": load_format, "max_model_len": max_model_len})

    def generate(self, prompts, sampling_params=None, *, use_tqdm=True, lora_request=None):
        assert len(prompts) == len(sampling_params)
        assert all(list(prompt) == ["prompt_token_ids"] for prompt in prompts)
        self.asked = sampling_params
        return [
            SimpleNamespace(outputs=[SimpleNamespace(text="", token_ids=tuple(prompt["prompt_token_ids"][-3:]))])
            for prompt in prompts
        ]


@dataclass
class StandInSamplingParams:
    """The fields of vLLM's `SamplingParams` that are asked for."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop_token_ids: list[int] | None = None
    max_tokens: int | None = 16
    detokenize: bool = True


def test_vllm_is_asked_for_what_transformers_is(tmp_path, monkeypatch):
    module = ModuleType("vllm")
    module.LLM, module.SamplingParams = StandInLLM, StandInSamplingParams
    module.__spec__ = ModuleSpec("vllm", None)
    monkeypatch.setitem(sys.modules, "vllm", module)
    tokenizer = tiny_tokenizer()
    save_language_model(tiny_model(tokenizer), tokenizer, tmp_path / "opt")
    for has_gpu, engine in ((True, "vllm"), (False, "transformers")):
        monkeypatch.setattr("torch.cuda.is_available", lambda has_gpu=has_gpu: has_gpu)
        assert choose_engine(NUMBERS) == engine
    assert choose_engine(NUMBERS.model_copy(update={"engine": "vllm"})) == "vllm"
    writer = LazyWriter(str(tmp_path / "opt"), "vllm", NUMBERS, 17)
    answers = writer.answer(["a dog", "a very old cat"], 3)
    prompts = [tokenizer(make_prompt(caption))["input_ids"] for caption in ("a dog", "a very old cat")]
    assert answers == [tokenizer.decode(prompt[-3:], skip_special_tokens=True) for prompt in prompts]
    (made,) = StandInLLM.made
    assert made == {
        "model": str(tmp_path / "opt"),
        "dtype": "bfloat16",
        "load_format": "safetensors",
        "max_model_len": NUMBERS.max_tokens,
    }
    asked = writer._writer._model.asked
    assert [it.max_tokens for it in asked] == [NUMBERS.max_tokens - len(prompt) for prompt in prompts]
    assert {(it.temperature, it.top_p) for it in asked} == {(NUMBERS.temperature, NUMBERS.top_p)}
    seeds = [it.seed for it in asked]
    writer.answer(["a dog", "a very old cat"], 4)
    assert len({*seeds, *(it.seed for it in writer._writer._model.asked)}) == 4


def test_vllm_asked_for_and_missing_ends_with_the_way_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ResourceUnavailable, match=r"^captions.language_model.engine is vllm, .* pip install vllm"):
        choose_engine(NUMBERS.model_copy(update={"engine": "vllm"}))
