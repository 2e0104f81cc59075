"""Models of open_clip's list: built, loaded, and described as parts."""

from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from safetensors import SafetensorError

from compodiff.encoders.digests import digest_weight_files, digest_weights
from compodiff.encoders.embedded_towers import HuggingFaceTexts
from compodiff.encoders.manifest import PicturePart, TextPart
from compodiff.encoders.open_clip_towers import OpenClipPictures, OpenClipTexts, Tokenize
from compodiff.encoders.sources import Source
from compodiff.encoders.towers import PictureTower, TextTower
from compodiff.errors import InputInvalid, ResourceUnavailable
from compodiff.storage.json_files import read_json


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


def load_open_clip(source: Source) -> OpenClipModel:
    """Load a model of open_clip's list, or one that the hub's cache holds in open_clip's form.

    A tag brings its activation; for a file of OpenAI's weights take the QuickGELU variant of the name,
    "ViT-L-14-quickgelu". A file is .safetensors, or .pt that is read without unpickling code.

    Raises:
        InputInvalid: open_clip does not know the name, the weights are neither a tag nor a file, or the text tower
            does not end its texts with a token of its own.
        ResourceUnavailable: the weights could not be fetched or loaded.
    """
    import open_clip

    name = f"local-dir:{source.folder}" if source.folder else source.name
    config = _read_config(source)
    quick_gelu = source.quick_gelu
    if quick_gelu is None:
        quick_gelu = open_clip.get_pretrained_cfg(source.name, str(source.weights)).get("quick_gelu", False)
    try:
        model = open_clip.create_model(name, pretrained=source.weights, force_quick_gelu=quick_gelu)
    except (RuntimeError, OSError, ValueError, SafetensorError, UnpicklingError) as error:
        reason = " ".join(str(error).split())[:300]
        weights = (
            f"the weights {source.weights} of {source.name}" if source.weights else f"the weights of {source.name}"
        )
        raise ResourceUnavailable(f"{weights} could not be loaded: {reason}") from error
    preprocessing = open_clip.get_model_preprocess_cfg(model)
    activation = "quick_gelu" if quick_gelu or config.get("quick_gelu", False) else "gelu"
    digest = digest_weight_files(source.folder) if source.folder else digest_weights(model)
    own = {**source.describe(digest), "activation": activation}
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


def _read_config(source: Source) -> dict[str, Any]:
    """Return the configuration of a model, where it can be a part.

    Raises:
        InputInvalid: open_clip does not know the name, the weights are neither a tag nor a file, or the text tower
            does not end its texts with a token of its own.
    """
    import open_clip

    name, weights = source.name, source.weights
    if source.folder is not None:
        config: dict[str, Any] = read_json(source.folder / "open_clip_config.json")["model_cfg"]
    elif name not in open_clip.list_models():
        known = "python -c 'import open_clip; print(open_clip.list_models())'"
        raise InputInvalid(f"open_clip has no model {name!r}; its models: {known}")
    else:
        config = open_clip.get_model_config(name)
    tags = open_clip.list_pretrained_tags_by_model(name)
    if weights is not None and weights not in tags and not Path(weights).is_file():
        raise InputInvalid(f"{weights} is neither a file of weights nor a tag of {name} ({', '.join(tags)})")
    if (pooling := config["text_cfg"].get("pool_type", "argmax")) != "argmax":
        raise InputInvalid(f"the text tower of {name} pools by {pooling!r}; take one that pools at its end")
    return config


def _find_token_dim(model: Any, text_config: dict[str, Any]) -> int:
    width: int = model.text.config.hidden_size if "hf_model_name" in text_config else text_config["width"]
    return width
