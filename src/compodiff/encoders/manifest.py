"""What an encoder is, part by part, in a form that is stored with everything made from it."""

from collections.abc import Iterator, Set
from dataclasses import MISSING, asdict, dataclass, field, fields
from itertools import zip_longest
from typing import Any, Literal, TypeVar

from compodiff.errors import EncoderMismatch, InputInvalid

DROPPED: Literal["dropped"] = "dropped"
ATTENDED: Literal["attended"] = "attended"
Padding = Literal["dropped", "attended"]
EMBEDDED, OPEN_CLIP = "embedded", "open_clip"
TRANSFORMERS, SENTENCE_TRANSFORMERS = "transformers", "sentence_transformers"
EMBEDDED_NAME = "embedded-efficientnet-lite0-minilm"
_AGAIN = "run: dvc repro train_encoder"
AnyPart = TypeVar("AnyPart", "PicturePart", "TextPart")


@dataclass(frozen=True)
class PicturePart:
    """Everything that changes the embedding of a picture, and what is needed to build the part again."""

    library: str  # EMBEDDED, OPEN_CLIP, TRANSFORMERS or SENTENCE_TRANSFORMERS
    name: str  # of the model, as the library knows it
    weights_digest: str  # sha256
    activation: str  # "quick_gelu" or "gelu" in a transformer's tower
    image_size: int  # pixels, edge of the square that enters the tower
    mean: tuple[float, float, float]  # of pixel values in [0, 1]
    std: tuple[float, float, float]
    interpolation: str
    resize_mode: str
    embedding_dim: int
    grids: dict[str, int] = field(default_factory=dict)  # of a StagedTower
    pooling: str = "model"  # the model's own; else which of its states stand for the picture
    hub_id: str | None = None  # whose cached files hold the weights; None where the encoder's folder does
    revision: str | None = None  # of the hub_id
    resize_to: int | None = None  # the shorter edge before the crop, where it is not image_size
    class_dimensions: int = 0  # the last ones of embedding_dim, which no model learns (encoders/named_classes.py)


@dataclass(frozen=True)
class TextPart:
    """Everything that changes the token states of a text, and what is needed to build the part again."""

    library: str
    name: str
    weights_digest: str
    activation: str
    token_dim: int
    context_length: int  # tokens; what is longer is cut
    layer: int = -1  # whose states: -1 the last one's, after its norm; -2 the one's before, without it
    padding: Padding = DROPPED  # whether the denoiser sees what fills a text up to context_length
    template: str = "{}"  # around each text
    hub_id: str | None = None
    revision: str | None = None


@dataclass(frozen=True)
class EncoderManifest:
    """The parts of an encoder.

    Attributes:
        picture: what embeds pictures.
        texts: whose token states the denoiser attends to, in this order.
        joint: which of `texts` also embeds a text in the pictures' space; None where none does.
        record: what was measured (agreement in lower precision); no part of what the encoder is.
    """

    picture: PicturePart
    texts: tuple[TextPart, ...]
    joint: int | None
    record: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def parts(self) -> "list[PicturePart | TextPart]":
        """All parts, that of pictures first."""
        return [self.picture, *self.texts]

    @property
    def name(self) -> str:
        """The models' names, each once."""
        return " + ".join(dict.fromkeys(part.name for part in self.parts))

    @property
    def embedding_dim(self) -> int:
        """D, the width of pictures' embeddings."""
        return self.picture.embedding_dim

    @property
    def learned_dim(self) -> int:
        """How many of D a model learns: all but those of classes, which come last."""
        return self.picture.embedding_dim - self.picture.class_dimensions

    @property
    def tells_classes(self) -> bool:
        """Whether texts, and pictures, have dimensions for classes."""
        return self.joint is not None and self.picture.class_dimensions > 0

    @property
    def token_dims(self) -> tuple[int, ...]:
        """The width of each text part's token states."""
        return tuple(part.token_dim for part in self.texts)

    def require_joint_text(self, what: str) -> None:
        """Refuse `what` where no text has an embedding in the pictures' space.

        Raises:
            InputInvalid: none has; the message begins with `what`.
        """
        if self.joint is None:
            raise InputInvalid(f"{what}, and {self.explain_no_joint_text()}; take an encoder with such a part")

    def explain_no_joint_text(self) -> str:
        """Say why texts cannot be compared with pictures, where `joint` is None."""
        return f"no text part of the encoder ({', '.join(part.name for part in self.texts)}) shares the pictures' space"

    def describe(self) -> str:
        """Return the models' names with the first digits of their weights' digests."""
        named = {part.name: part.weights_digest[:8] for part in self.parts[::-1]}
        return " + ".join(f"{name} ({named[name]})" for name in self.name.split(" + "))

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as JSON types."""
        return {**self.identify(), **({"record": self.record} if self.record else {})}

    def identify(self) -> dict[str, Any]:
        """Return as JSON types what its vectors depend on: the manifest without its record."""
        content = asdict(self)
        del content["record"]
        picture = content["picture"]
        picture |= {"mean": list(picture["mean"]), "std": list(picture["std"])}
        return {**content, "texts": list(content["texts"])}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "EncoderManifest":
        """Read a manifest back, also the flat one of an encoder of release 0.1, which was one model.

        Raises:
            EncoderMismatch: a key is missing or unknown, so the manifest is of another version, or it is damaged.
        """
        try:
            content = _split_flat(content) if "image_size" in content or "picture" not in content else content
            _require_keys(content, {"picture", "texts", "joint"}, optional={"record"})
            parts = tuple(_read_part(TextPart, part) for part in content["texts"])
            picture = _read_part(PicturePart, content["picture"])
        except (TypeError, KeyError, AttributeError) as error:
            raise EncoderMismatch(f"an encoder manifest is damaged ({error}); {_AGAIN}") from error
        return cls(picture, parts, content["joint"], content.get("record", {}))


_FLAT = frozenset(
    ("name", "weights_digest", "activation", "image_size", "mean", "std", "interpolation", "resize_mode",
     "embedding_dim", "token_dim", "context_length", "grids")
)  # fmt: skip


def _split_flat(content: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest of release 0.1 as one of parts."""
    _require_keys(content, _FLAT)
    library = EMBEDDED if content["name"] == EMBEDDED_NAME else OPEN_CLIP
    both = {"library": library, **{key: content[key] for key in ("name", "weights_digest", "activation")}}
    text = {key: content[key] for key in ("token_dim", "context_length")}
    picture = {key: value for key, value in content.items() if key not in text}
    return {"picture": both | picture, "texts": [both | text], "joint": 0}


def _read_part(kind: type[AnyPart], content: dict[str, Any]) -> AnyPart:
    """Return a part of `kind`; a key with a default may be younger than what was stored."""
    optional = {each.name for each in fields(kind) if (each.default, each.default_factory) != (MISSING, MISSING)}
    _require_keys(content, {each.name for each in fields(kind)} - optional, optional)
    values: dict[str, Any] = {key: tuple(value) if key in ("mean", "std") else value for key, value in content.items()}
    return kind(**values)


def _require_keys(content: dict[str, Any], wanted: Set[str], optional: Set[str] = frozenset()) -> None:
    odd = (set(content) ^ wanted) - optional
    if odd:
        raise EncoderMismatch(f"an encoder manifest lacks or should not have: {', '.join(sorted(odd))}; {_AGAIN}")


def require_same(ours: EncoderManifest, theirs: EncoderManifest, what: str) -> None:
    """Refuse vectors of another encoder.

    Args:
        ours: manifest of the encoder in use.
        theirs: manifest stored with `what`.
        what: what `theirs` was stored with, for the message ("the index artifacts/index").

    Raises:
        EncoderMismatch: the two differ; the message names the first part and field that do.
    """
    for named, mine, other in _pair_fields(ours, theirs):
        if mine != other:
            raise EncoderMismatch(
                f"{what} was made with an encoder whose {named} is {other}, the one in use has {mine}; "
                f"make it again with this encoder, or use the encoder it was made with"
            )


def _pair_fields(ours: EncoderManifest, theirs: EncoderManifest) -> Iterator[tuple[str, Any, Any]]:
    """Yield what each field of each part is called, and its value in both."""
    for each in fields(PicturePart):
        yield f"picture part's {each.name}", getattr(ours.picture, each.name), getattr(theirs.picture, each.name)
    yield "number of text parts", len(ours.texts), len(theirs.texts)
    many = len(ours.texts) > 1
    for number, (mine, other) in enumerate(zip_longest(ours.texts, theirs.texts), start=1):
        for each in fields(TextPart):
            name = f"text part {number}'s" if many else "text part's"
            yield f"{name} {each.name}", getattr(mine, each.name), getattr(other, each.name)
    yield "joint text part", ours.joint, theirs.joint
