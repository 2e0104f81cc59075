"""Models of open_clip's list: built, loaded, and described as parts."""

from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from safetensors import SafetensorError

from compodiff.encoders.digests import digest_weights
from compodiff.encoders.embedded_towers import HuggingFaceTexts
from compodiff.encoders.manifest import OPEN_CLIP, PicturePart, TextPart
from compodiff.encoders.open_clip_towers import OpenClipPictures, OpenClipTexts, Tokenize
from compodiff.encoders.towers import PictureTower, TextTower
from compodiff.errors import InputInvalid, ResourceUnavailable


@dataclass(frozen=True)
class OpenClipModel:
    """A model of open_clip's list, and what its two towers are as parts."""

    model: Any
    tokenize: Tokenize
    picture: PicturePart
    text: TextPart

    def make_picture_tower(self, part: PicturePart) -> PictureTower:
        """Return its image tower as the part that `part` describes."""
        return OpenClipPictures(self.model, part)

    def make_text_tower(self, part: TextPart) -> TextTower:
        """Return its text tower as the part that `part` describes."""
        if hasattr(getattr(self.model, "text", None), "pooler"):
            return HuggingFaceTexts(self.model, self.tokenize, part)
        return OpenClipTexts(self.model, self.tokenize, part, self.picture.embedding_dim)


def load_open_clip(name: str, weights: str | Path | None) -> OpenClipModel:
    """Load a model of open_clip's list.

    Args:
        name: open_clip's name.
        weights: one of open_clip's tags for `name` (fetched from its hub unless cached), a file of weights
            (.safetensors, or .pt read without unpickling code), or None for random weights. A tag brings its
            activation; for a file of OpenAI's weights take the QuickGELU variant of the name, "ViT-L-14-quickgelu".

    Raises:
        InputInvalid: open_clip does not know the name, the weights are neither a tag nor a file, or the text tower
            does not end its texts with a token of its own.
        ResourceUnavailable: the weights could not be fetched or loaded.
    """
    import open_clip

    if name not in open_clip.list_models():
        known = "python -c 'import open_clip; print(open_clip.list_models())'"
        raise InputInvalid(f"open_clip has no model {name!r}; its models: {known}")
    text: dict[str, Any] = open_clip.get_model_config(name)["text_cfg"]
    if text.get("pool_type", "argmax") != "argmax":
        raise InputInvalid(f"the text tower of {name} pools by {text['pool_type']!r}; take one that pools at its end")
    tags = open_clip.list_pretrained_tags_by_model(name)
    if weights is not None and str(weights) not in tags and not Path(weights).is_file():
        raise InputInvalid(f"{weights} is neither a file of weights nor a tag of {name} ({', '.join(tags)})")
    quick_gelu = open_clip.get_pretrained_cfg(name, str(weights)).get("quick_gelu", False)
    return load_listed(name, weights, quick_gelu=quick_gelu)


def load_listed(name: str, weights: str | Path | None, *, quick_gelu: bool) -> OpenClipModel:
    """Load a model that is known to be of open_clip's list and to be supported.

    Raises:
        ResourceUnavailable: the weights could not be fetched or loaded.
    """
    import open_clip

    try:
        model = open_clip.create_model(
            name, pretrained=None if weights is None else str(weights), force_quick_gelu=quick_gelu
        )
    except (RuntimeError, OSError, SafetensorError, UnpicklingError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ResourceUnavailable(f"the weights {weights} of {name} could not be loaded: {reason}") from error
    preprocessing, config = open_clip.get_model_preprocess_cfg(model), open_clip.get_model_config(name)
    activation = "quick_gelu" if quick_gelu or config.get("quick_gelu", False) else "gelu"
    own = {"library": OPEN_CLIP, "name": name, "weights_digest": digest_weights(model), "activation": activation}
    size = preprocessing["size"]
    picture = PicturePart(
        **own,
        image_size=size if isinstance(size, int) else size[0],
        mean=tuple(preprocessing["mean"]),
        std=tuple(preprocessing["std"]),
        interpolation=preprocessing["interpolation"],
        resize_mode=preprocessing["resize_mode"],
        embedding_dim=config["embed_dim"],
    )
    text = TextPart(
        **own,
        token_dim=_find_token_dim(model, config["text_cfg"]),
        context_length=config["text_cfg"].get("context_length", 77),
    )
    return OpenClipModel(model, open_clip.get_tokenizer(name), picture, text)


def _find_token_dim(model: Any, text_config: dict[str, Any]) -> int:
    width: int = model.text.config.hidden_size if "hf_model_name" in text_config else text_config["width"]
    return width
