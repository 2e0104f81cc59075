"""Which files of a model are needed: its weights once, in safetensors, and what says how to read them."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from compodiff.errors import CheckpointMismatch
from compodiff.hub.known import Address

_WEIGHTS = (".safetensors",)
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
# What says how weights are read: configurations, tokenizers, templates; and the signature of a model of ours.
_SMALL = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken", "*.toml", "chain.sig")
# Other frameworks' weights, and the same weights in another precision.
_LEFT_OUT = ("onnx/*", "openvino/*", "*/onnx/*", "*.fp16.*", "*.bf16.*", "*.non_ema.*", "flax/*", "tf/*", "coreml/*")
_OPEN_CLIP = ("open_clip_config.json", "open_clip_model.safetensors")


def choose_files(listed: Iterable[str], address: Address) -> tuple[str, ...]:
    """Return the names of the files that a model is used by, in order; all, of a set.

    Raises:
        CheckpointMismatch: its weights are pickles only, which can run code.
    """
    names = sorted(listed)
    if address.kind == "dataset":
        return tuple(name for name in names if not name.startswith("."))
    if address.known is not None:
        named = [name for name in names if _matches(name, address.known.files)]
        has_safetensors = any(name.endswith(_WEIGHTS) for name in names)
        weights_end = _PICKLES if address.known.is_pickle and not has_safetensors else _WEIGHTS
        if any(name.endswith(weights_end) for name in named):
            return tuple(named)
    wanted = [name for name in names if name.endswith(_WEIGHTS) or _matches(name, _SMALL)]
    wanted = [name for name in wanted if not _matches(name, _LEFT_OUT)]
    weights = [name for name in wanted if name.endswith(_WEIGHTS)]
    pickle = next((name for name in names if name.endswith(_PICKLES)), None)
    if pickle and not weights:
        raise CheckpointMismatch(
            f"{address} has its weights as a pickle only ({pickle}), which can run code; ask its authors for "
            "safetensors, or name another model"
        )
    doubles = _list_doubles(weights, names)
    return tuple(name for name in wanted if name not in doubles)


def _list_doubles(weights: list[str], names: list[str]) -> set[str]:
    """Return weights that stand a second time in another form: a pipeline in one file, or that of another library."""
    on_top = {name for name in weights if "/" not in name}
    if "model_index.json" in names:
        return on_top
    return on_top - {_OPEN_CLIP[1]} if {*_OPEN_CLIP} <= {*names} else set()


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
