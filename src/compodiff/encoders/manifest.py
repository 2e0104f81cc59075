"""What an encoder is, in a form that is stored with everything made from it."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from compodiff.errors import EncoderMismatch


@dataclass(frozen=True)
class EncoderManifest:
    """Everything that changes an encoder's vectors, and what is needed to build it again."""

    name: str  # of open_clip's list, or embedded.NAME
    weights_digest: str  # sha256 of model.safetensors
    activation: str  # "quick_gelu" or "gelu" in the transformer towers
    image_size: int  # pixels, edge of the square that enters the image tower
    mean: tuple[float, float, float]  # of pixel values in [0, 1]
    std: tuple[float, float, float]
    interpolation: str
    resize_mode: str
    embedding_dim: int
    token_dim: int
    context_length: int
    grids: dict[str, int] = field(default_factory=dict)  # of a StagedTower

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as JSON types."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "EncoderManifest":
        """Read a manifest back.

        Raises:
            EncoderMismatch: a key is missing or unknown, so the manifest is of another version.
        """
        expected = {each.name for each in fields(cls)}
        if set(content) != expected:
            odd = ", ".join(sorted(set(content) ^ expected))
            raise EncoderMismatch(f"an encoder manifest lacks or should not have: {odd}; run: dvc repro train_encoder")
        return cls(**{**content, "mean": tuple(content["mean"]), "std": tuple(content["std"])})


def require_same(ours: EncoderManifest, theirs: EncoderManifest, what: str) -> None:
    """Refuse vectors of another encoder.

    Args:
        ours: manifest of the encoder in use.
        theirs: manifest stored with `what`.
        what: what `theirs` was stored with, for the message ("the index artifacts/index").

    Raises:
        EncoderMismatch: the two differ; the message names the first difference.
    """
    for each in fields(EncoderManifest):
        mine, other = getattr(ours, each.name), getattr(theirs, each.name)
        if mine != other:
            raise EncoderMismatch(
                f"{what} was made with an encoder whose {each.name} is {other}, the one in use has {mine}; "
                f"make it again with this encoder, or use the encoder it was made with"
            )
