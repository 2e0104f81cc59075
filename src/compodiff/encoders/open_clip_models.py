"""Models of open_clip's list, or in its form: built, loaded, and described as parts."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property, partial
from pickle import UnpicklingError
from typing import Any

from safetensors import SafetensorError
from torch import nn

from compodiff.encoders.digests import digest_weights, digest_weights_of
from compodiff.encoders.embedded_towers import HuggingFaceTexts
from compodiff.encoders.manifest import PicturePart, TextPart
from compodiff.encoders.open_clip_towers import OpenClipPictures, OpenClipTexts, Tokenize
from compodiff.encoders.sources import OPEN_CLIP_CONFIG, Source, find_folder
from compodiff.encoders.towers import PictureTower, TextTower
from compodiff.errors import CheckpointMismatch, InputInvalid, ResourceUnavailable
from compodiff.storage.json_files import read_json

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True)
class OpenClipConfig:
    """How a model is built, and how it wants its pictures."""

    model: Mapping[str, Any]
    preprocessing: Mapping[str, Any]

    @property
    def text(self) -> dict[str, Any]:
        """The section of the text tower."""
        section: dict[str, Any] = self.model["text_cfg"]
        return section


@dataclass
class OpenClipModel:
    """A model of open_clip, whose two towers can be parts."""

    model: Any
    tokenize: Tokenize
    config: OpenClipConfig
    source: Source

    @cached_property
    def picture(self) -> PicturePart:
        """Its image tower as a part."""
        seen = self.config.preprocessing
        return PicturePart(
            **self._own,
            image_size=_find_edge(self.model, self.source.name),
            mean=tuple(seen["mean"]),
            std=tuple(seen["std"]),
            interpolation=seen["interpolation"],
            resize_mode=seen["resize_mode"],
            embedding_dim=self.config.model["embed_dim"],
        )

    @cached_property
    def text(self) -> TextPart:
        """Its text tower as a part."""
        text = self.config.text
        width = self.model.text.config.hidden_size if "hf_model_name" in text else text["width"]
        return TextPart(**self._own, token_dim=width, context_length=text.get("context_length", 77))

    @cached_property
    def _own(self) -> dict[str, Any]:
        """What both parts have in common."""
        digest = digest_weights(self.model) if self.source.folder is None else digest_weights_of(self.source)
        activation = "quick_gelu" if self.config.model.get("quick_gelu") else "gelu"
        return {**self.source.describe(digest), "activation": activation}

    def make_picture_tower(self, part: PicturePart) -> PictureTower:
        """Return its image tower as the part that `part` describes."""
        return OpenClipPictures(self.model, part, self.source.folder)

    def make_text_tower(self, part: TextPart) -> TextTower:
        """Return its text tower as the part that `part` describes.

        Raises:
            InputInvalid: it has no such layer.
        """
        if hasattr(getattr(self.model, "text", None), "pooler"):
            return HuggingFaceTexts(self.model, self.tokenize, part, self.source.folder)
        return OpenClipTexts(self.model, self.tokenize, part, self.config.model["embed_dim"], self.source.folder)


def load_open_clip(source: Source) -> OpenClipModel:
    """Load a model of open_clip's list, or one that a folder holds in open_clip's form.

    For a file of OpenAI's weights take the QuickGELU variant of the name, "ViT-L-14-quickgelu". A file is .safetensors,
    whose weights are mapped and not copied, or .pt that is read without unpickling code.

    Raises:
        InputInvalid: open_clip does not know the name, or the text tower has no embedding of a text.
        ResourceUnavailable: the weights, or the tokenizer, could not be read.
        CheckpointMismatch: the weights are of another architecture.
    """
    config = read_config(source)
    model = build_model(config, empty=bool(source.list_weights()))
    _load_weights(model, source)
    return OpenClipModel(model.eval(), _make_tokenizer(config.text, source), config, source)


def read_config(source: Source) -> OpenClipConfig:
    """Return how a model is built.

    Raises:
        InputInvalid: open_clip does not know the name, or the text tower has no embedding of a text.
        ResourceUnavailable: its text tower is another model, which is not on this machine.
    """
    import open_clip
    from open_clip.transform import PreprocessCfg

    defaults = PreprocessCfg()
    preprocessing = {key: getattr(defaults, key) for key in ("mean", "std", "interpolation", "resize_mode")}
    if source.folder is not None and (source.folder / OPEN_CLIP_CONFIG).is_file():
        content = read_json(source.folder / OPEN_CLIP_CONFIG)
        if "model_cfg" not in content:
            raise InputInvalid(f"{source.name}: {OPEN_CLIP_CONFIG} describes no model (no model_cfg)")
        model, own = content["model_cfg"], content.get("preprocess_cfg", {})
    else:
        model, own = (
            open_clip.get_model_config(source.name),
            open_clip.get_pretrained_cfg(source.name, source.tag or ""),
        )
    if model is None:
        raise InputInvalid(f"open_clip has no model {source.name!r}, and {source.folder} holds no {OPEN_CLIP_CONFIG}")
    model = deepcopy(model)
    if source.quick_gelu or own.get("quick_gelu"):
        model["quick_gelu"] = True
    text = model["text_cfg"]
    if text.get("pool_type") == "none":
        raise InputInvalid(f"the text tower of {source.name} embeds no text (pool_type none); take another model")
    if "hf_model_name" in text:
        text |= {"hf_model_name": str(find_folder(text["hf_model_name"])), "hf_model_pretrained": False}
    if "timm_model_name" in model["vision_cfg"]:
        model["vision_cfg"]["timm_model_pretrained"] = False
    return OpenClipConfig(model, preprocessing | {key: own[key] for key in preprocessing if own.get(key) is not None})


def build_model(config: OpenClipConfig, *, empty: bool) -> Any:
    """Return the model of a configuration, of random weights; `empty`: with parameters on the meta device."""
    import open_clip

    settings = dict(config.model)
    custom = settings.pop("custom_text", False) or "hf_model_name" in config.text
    kinds = {(True, True): open_clip.CoCa, (True, False): open_clip.CustomTextCLIP}
    kind = kinds.get((bool(custom), "multimodal_cfg" in settings), open_clip.CLIP)
    if not empty:
        return kind(**settings)
    with _leave_parameters_empty():
        return kind(**settings)


@contextmanager
def _leave_parameters_empty() -> Iterator[None]:
    """Let modules register parameters with a shape and no values; buffers, which are computed, keep theirs."""
    register = nn.Module.register_parameter

    def register_empty(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        register(module, name, None if parameter is None else nn.Parameter(parameter.to("meta"), requires_grad=False))

    nn.Module.register_parameter = register_empty  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def _load_weights(model: Any, source: Source) -> None:
    """Put the weights of a source into a model of empty parameters, as float32.

    Raises:
        ResourceUnavailable: they cannot be read.
        CheckpointMismatch: they are of another architecture.
    """
    from open_clip.factory import load_checkpoint

    if not source.list_weights():
        return
    path = source.list_weights()[0]
    model.load_state_dict = partial(model.load_state_dict, assign=True)
    try:
        load_checkpoint(model, str(path))
    except (OSError, SafetensorError, UnpicklingError, EOFError, KeyError, AttributeError, IndexError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ResourceUnavailable(f"the weights {path} of {source.name} could not be loaded: {reason}") from error
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        if "state_dict" not in reason:
            raise ResourceUnavailable(f"the weights {path} of {source.name} could not be loaded: {reason}") from error
        raise CheckpointMismatch(f"the weights {path} are not of {source.name}: {reason}") from error
    finally:
        del model.load_state_dict
    model.float().requires_grad_(False)


def _make_tokenizer(text: Mapping[str, Any], source: Source) -> Tokenize:
    """Return open_clip's tokenizer of a text tower, texts -> ids (B, context_length).

    Raises:
        ResourceUnavailable: it is of another model, which is not on this machine.
    """
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    settings = {"context_length": text.get("context_length", 77), **text.get("tokenizer_kwargs", {})}
    name = text.get("hf_tokenizer_name")
    if not name:
        simple: Tokenize = SimpleTokenizer(**settings)
        return simple
    own = (
        source.folder if source.folder and any((source.folder / each).is_file() for each in _TOKENIZER_FILES) else None
    )
    folder = own or find_folder(name)
    made: Tokenize = HFTokenizer(str(folder), tokenizer_mode=text.get("tokenizer_mode"), **settings)
    return made


def _find_edge(model: Any, name: str) -> int:
    size = model.visual.image_size
    if not isinstance(size, int) and size[0] != size[1]:
        raise InputInvalid(f"{name} sees pictures of {size[0]} x {size[1]}; take a model that sees squares")
    return size if isinstance(size, int) else int(size[0])
