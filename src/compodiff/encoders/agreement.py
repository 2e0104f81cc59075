"""How well an encoder agrees with itself in half the precision, measured on probes; GPUs then compute in what agrees.

A T5 overflows in float16, others lose digits in bfloat16: it depends on the weights, so it is measured and written into
the manifest's record. Shapes: B pictures or texts, D width of what is compared.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from compodiff.errors import CheckpointMismatch
from compodiff.precision import name_device

if TYPE_CHECKING:
    from compodiff.encoders.encoder import Encoder

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
ENOUGH = 0.999  # least cosine to float32 of any probe; below, a GPU computes in float32 too
_PICTURES, _COARSE = 4, 8  # of the probe, and cells a side that are drawn
_TEXTS = ("", "a cat", "the same picture, but the dog is red and it runs", "with darker skin and in another style")


@torch.inference_mode()
def measure_agreement(encoder: "Encoder") -> dict[str, Any]:
    """Return the least cosines between what parts make in half the precision and in float32, for the manifest's record.

    Returns:
        By precision, then by what is compared: pictures, texts (in the pictures' space), tokens of each text part. With
        it, the device that was measured on. Something that overflows has a cosine of about 0.

    Raises:
        CheckpointMismatch: in float32 too, a part makes no numbers of a probe.
    """
    exact = _encode_probes(encoder)
    for what, rows in exact.items():
        if not rows.isfinite().all():
            number = int(what.rpartition(" ")[2]) if what.startswith("tokens") else 0
            raise CheckpointMismatch(
                f"the weights of {encoder.manifest.parts[number].name} are damaged: its {what} are not finite; "
                "fetch them again, or take other weights"
            )
    found: dict[str, Any] = {"device": name_device(encoder.device)}
    for name in ("bfloat16", "float16"):
        with _cast([part.module for part in encoder.towers], DTYPES[name]):
            made = _encode_probes(encoder)
        found[name] = {what: _find_least_cosine(made[what], exact[what]) for what in exact}
    return found


def choose_dtype(asked: str, measured: Mapping[str, Any]) -> torch.dtype:
    """Return the precision for a GPU: the one that was asked for; for auto, the one that agrees best, if it does."""
    if asked != "auto":
        return DTYPES[asked]
    least = {name: min(measured[name].values()) for name in ("bfloat16", "float16") if name in measured}
    best = max(least, key=lambda name: least[name], default="float32")
    return DTYPES[best] if least.get(best, 0) >= ENOUGH else torch.float32


def _encode_probes(encoder: "Encoder") -> dict[str, Tensor]:
    """Return by name what the parts make of the probes, a row each."""
    edge = encoder.manifest.picture.image_size
    coarse = torch.randn(_PICTURES, 3, _COARSE, _COARSE, generator=torch.Generator().manual_seed(0))
    pixels = functional.interpolate(coarse, size=(edge, edge), mode="bicubic")
    rows = {"pictures": encoder.picture.embed(pixels).float()}
    for number, tower in enumerate(encoder.texts):
        outputs = tower.run(_TEXTS)
        rows[f"tokens {number + 1}"] = outputs.tokens[outputs.mask].float()
        if number == encoder.manifest.joint and outputs.pooled is not None:
            rows["texts"] = tower.project(outputs.pooled)
    return rows


def _find_least_cosine(ours: Tensor, theirs: Tensor) -> float:
    """Return the least cosine of two rows, (B, D) and (B, D)."""
    cosines = functional.cosine_similarity(ours.double(), theirs.double(), dim=-1)
    return round(float(cosines.nan_to_num(0).min()), 6)


@contextmanager
def _cast(modules: Sequence[nn.Module], dtype: torch.dtype) -> Iterator[None]:
    """Let the weights of modules have another precision meanwhile."""
    tensors = {id(each): each for module in modules for each in (*module.parameters(), *module.buffers())}
    exact = {key: each.data for key, each in tensors.items() if each.is_floating_point()}
    try:
        for key, data in exact.items():
            tensors[key].data = data.to(dtype)
        yield
    finally:
        for key, data in exact.items():
            tensors[key].data = data
