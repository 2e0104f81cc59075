"""Which files of a model are needed: its weights once, in safetensors, and what says how to read them."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from compodiff.errors import CheckpointMismatch
from compodiff.hub.known import Address

_WEIGHTS = "*.safetensors"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
# What says how weights are read: configurations, tokenizers, templates.
_SMALL = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken", "*.toml", "*.csv")
# Other frameworks' weights, and the same weights in another precision.
_LEFT_OUT = ("onnx/*", "openvino/*", "*/onnx/*", "*.fp16.*", "*.bf16.*", "*.non_ema.*", "flax/*", "tf/*", "coreml/*")
_OPEN_CLIP = "open_clip_model.safetensors"


def choose_files(listed: Iterable[str], address: Address) -> tuple[str, ...]:
    """Return the names of the files that a model is used by, in order; all, of a dataset.

    Raises:
        CheckpointMismatch: its weights are pickles only, which can run code.
    """
    names = sorted(listed)
    if address.kind == "dataset":
        return tuple(name for name in names if not name.startswith("."))
    if address.known is not None and address.known.files:
        return tuple(name for name in names if _matches(name, address.known.files))
    wanted = [name for name in names if _matches(name, (_WEIGHTS, *_SMALL)) and not _matches(name, _LEFT_OUT)]
    weights = [name for name in wanted if name.endswith(".safetensors")]
    pickles = [name for name in names if name.endswith(_PICKLES)]
    if pickles and not weights:
        raise CheckpointMismatch(
            f"{address} has its weights as a pickle only ({pickles[0]}), which can run code; "
            "ask its authors for safetensors, or name another model"
        )
    return tuple(name for name in wanted if name not in _list_doubles(weights, names))


def _list_doubles(weights: list[str], names: list[str]) -> set[str]:
    """Return weights that stand a second time in another form: a pipeline in one file, or open_clip's form."""
    on_top = {name for name in weights if "/" not in name}
    if "model_index.json" in names:
        return on_top
    return {_OPEN_CLIP} if _OPEN_CLIP in on_top and len(on_top) > 1 else set()


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
