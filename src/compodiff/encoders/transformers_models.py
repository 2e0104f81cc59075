"""Models of transformers as parts: which class opens one, and what its configuration says of the part.

A folder has the form that `save_pretrained` writes, with weights in safetensors: config.json, the tokenizer's files,
preprocessor_config.json. Each tower is loaded alone: the texts of a large model need no memory for its pictures.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safetensors import SafetensorError

from compodiff.encoders.digests import digest_weights_of
from compodiff.encoders.manifest import ATTENDED, DROPPED, PicturePart, TextPart
from compodiff.encoders.sources import Source
from compodiff.encoders.towers import require_layer
from compodiff.encoders.transformers_towers import TransformersPictures, TransformersTexts
from compodiff.errors import CheckpointMismatch, InputInvalid, ResourceUnavailable
from compodiff.params import PartParams

TEXT_ONLY_CONTEXT = 77  # tokens of a text that a model without places of its own is given: as many as CLIP's
_RESAMPLING = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers


@dataclass(frozen=True)
class _Kind:
    """How a kind of model with both towers is opened.

    picture, text: the class of each tower. pooled: which of the text tower's outputs lies in the pictures' space.
    pads_always: the tower was trained on texts padded to the context, without a mask.
    """

    picture: str
    text: str
    pooled: str
    pads_always: bool = False


# By `model_type` of config.json.
JOINT_KINDS: Mapping[str, _Kind] = {
    "clip": _Kind("CLIPVisionModelWithProjection", "CLIPTextModelWithProjection", "text_embeds"),
    "metaclip_2": _Kind("MetaClip2VisionModelWithProjection", "MetaClip2TextModelWithProjection", "text_embeds"),
    "siglip": _Kind("SiglipVisionModel", "SiglipTextModel", "pooler_output", pads_always=True),
    "siglip2": _Kind("Siglip2VisionModel", "Siglip2TextModel", "pooler_output", pads_always=True),
}


def describe_picture_part(source: Source) -> PicturePart:
    """Return what the configuration in the source's folder says of its picture tower.

    Raises:
        InputInvalid: it has none that can be a picture part, or its preprocessing is none that is known here.
    """
    config, processor = _read_config(source), _read_processor(source)
    vision = getattr(config, "vision_config", config)
    return PicturePart(
        **source.describe(digest_weights_of(source)),
        activation=_find_activation(vision),
        **_read_preprocessing(processor, vision, source),
        embedding_dim=_find_picture_width(config, source),
    )


def describe_text_part(source: Source, asked: PartParams) -> TextPart:
    """Return what the configuration in the source's folder says of its text tower, and `asked` of its use.

    Raises:
        InputInvalid: it has none that can be a text part.
    """
    config = _read_config(source)
    _find_text_class(config, source)
    text = getattr(config, "text_config", config)
    places = getattr(text, "max_position_embeddings", None) or asked.context_length or TEXT_ONLY_CONTEXT
    if asked.context_length and asked.context_length > places:
        raise InputInvalid(f"{source.name} has places for {places} tokens, not for {asked.context_length}")
    return TextPart(
        **source.describe(digest_weights_of(source)),
        activation=_find_activation(text),
        token_dim=text.hidden_size,
        context_length=asked.context_length or min(places, TEXT_ONLY_CONTEXT),
        layer=asked.layer or -1,
        padding=ATTENDED if asked.padding == ATTENDED else DROPPED,
        template=asked.template or "{}",
    )


def load_picture_tower(part: PicturePart, source: Source) -> TransformersPictures:
    """Load the picture tower of the source's folder.

    Raises:
        ResourceUnavailable: its weights cannot be read.
        CheckpointMismatch: they are of another architecture.
    """
    import transformers

    config = _read_config(source)
    name = _find_picture_class(config, source)
    module = _load(getattr(transformers, name), source, _make_tower_config(config, "vision_config"))
    output = "image_embeds" if name.endswith("WithProjection") else "pooler_output"
    return TransformersPictures(module, part, output, folder=source.require_folder())


def load_text_tower(part: TextPart, source: Source) -> TransformersTexts:
    """Load the text tower of the source's folder.

    Raises:
        InputInvalid: the part asks for a layer that the tower has not, or a context that is longer than its places.
        ResourceUnavailable: its weights cannot be read.
        CheckpointMismatch: they are of another architecture.
    """
    import transformers

    config = _read_config(source)
    name = _find_text_class(config, source)
    module = _load(getattr(transformers, name), source, _make_tower_config(config, "text_config"))
    kind = JOINT_KINDS.get(config.model_type)
    require_layer(part, module.config.num_hidden_layers)
    tower = TransformersTexts(
        module, _read_tokenizer(source), part, kind.pooled if kind else None, folder=source.require_folder()
    )
    tower.pads_always = bool(kind and kind.pads_always)
    return tower


def _make_tower_config(config: Any, tower: str) -> Any:
    """Return the configuration of one tower; that of the whole model says into how many dimensions it projects."""
    own = getattr(config, tower, config)
    if own is not config and hasattr(config, "projection_dim"):
        own.projection_dim = config.projection_dim
    return own


def _load(kind: Any, source: Source, config: Any) -> Any:
    """Return the model of class `kind` in float32, its weights mapped from the files where they are that already."""
    import torch
    from transformers.utils import logging

    verbosity, shows = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # it would list the other tower's weights
    logging.disable_progress_bar()
    try:
        model, info = kind.from_pretrained(
            source.require_folder(),
            config=config,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ResourceUnavailable(f"the weights of {source.name} could not be loaded: {reason}") from error
    finally:
        logging.set_verbosity(verbosity)
        if shows:
            logging.enable_progress_bar()
    missing = sorted(name for name in info["missing_keys"] if not re.match(r"pooler\.|(.*\.)?position_ids$", name))
    if missing:
        raise CheckpointMismatch(
            f"the weights of {source.name} lack {len(missing)} tensors of a {kind.__name__}, as {missing[0]}; "
            "they are of another architecture"
        )
    return model


def _read_config(source: Source) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(source.require_folder(), local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputInvalid(f"{source.name} is no model that transformers opens: {reason}") from error


def _read_processor(source: Source) -> Any:
    from transformers import AutoImageProcessor

    try:
        return AutoImageProcessor.from_pretrained(
            source.require_folder(), local_files_only=True, trust_remote_code=False, backend="pil"
        )
    except (OSError, ValueError, KeyError) as error:
        raise InputInvalid(
            f"{source.name} does not say how it wants its pictures (preprocessor_config.json); name it as a text part, "
            "or take another picture part"
        ) from error


def _read_tokenizer(source: Source) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(
            source.require_folder(), local_files_only=True, trust_remote_code=False, use_fast=True
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputInvalid(f"the tokenizer of {source.name} cannot be read: {reason}") from error


def _find_picture_class(config: Any, source: Source) -> str:
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_MAPPING_NAMES as OF_PICTURES

    if config.model_type in JOINT_KINDS:
        return JOINT_KINDS[config.model_type].picture
    saved: str = (config.architectures or [""])[0]
    if config.model_type.endswith("_vision_model") and saved in {kind.picture for kind in JOINT_KINDS.values()}:
        return saved
    name = OF_PICTURES.get(config.model_type)
    if name is None or hasattr(config, "text_config"):
        raise InputInvalid(
            f"{source.name} is of transformers' type {config.model_type!r}, which is no picture part; "
            f"take one of {', '.join(JOINT_KINDS)}, dinov2, dinov3_vit, vit, ..."
        )
    return name if isinstance(name, str) else str(name[0])


def _find_picture_width(config: Any, source: Source) -> int:
    name = _find_picture_class(config, source)
    width: int = config.projection_dim if name.endswith("WithProjection") else _find_hidden_size(config)
    return width


def _find_hidden_size(config: Any) -> int:
    vision = getattr(config, "vision_config", config)
    size = getattr(vision, "hidden_size", None)
    return int(size if size is not None else vision.hidden_sizes[-1])


def _find_text_class(config: Any, source: Source) -> str:
    from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES as OF_TEXTS

    if config.model_type in JOINT_KINDS:
        return JOINT_KINDS[config.model_type].text
    if config.model_type not in OF_TEXTS:
        raise InputInvalid(
            f"{source.name} is of transformers' type {config.model_type!r}, which has no token states of texts here; "
            f"take one of {', '.join(JOINT_KINDS)}, t5, mt5, bert, roberta, ..."
        )
    return str(OF_TEXTS[config.model_type])


def _find_activation(config: Any) -> str:
    for name in ("hidden_act", "dense_act_fn", "activation"):
        if isinstance(value := getattr(config, name, None), str):
            return value
    return "gelu"


def _read_preprocessing(processor: Any, vision: Any, source: Source) -> dict[str, Any]:
    """Return the fields of a PicturePart that say how a picture is resized, cropped and normalised."""
    size = {key: value for key, value in dict(processor.size or {}).items() if value is not None}
    crop = {key: value for key, value in dict(getattr(processor, "crop_size", None) or {}).items() if value is not None}
    is_cropped = bool(getattr(processor, "do_center_crop", False) and crop)
    if hasattr(processor, "max_num_patches"):  # SigLIP2 of any shape: here a square of as many patches
        edge = int(processor.max_num_patches**0.5) * processor.patch_size
        shape = {"image_size": edge, "resize_mode": "squash"}
    elif "shortest_edge" in size and is_cropped and crop["height"] == crop["width"]:
        shape = {"image_size": crop["height"], "resize_mode": "shortest", "resize_to": size["shortest_edge"]}
    elif size.get("height", 0) == size.get("width", -1) and not is_cropped:
        shape = {"image_size": size["height"], "resize_mode": "squash"}
    else:
        raise InputInvalid(f"{source.name} resizes pictures to {size} and crops to {crop}, which is not known here")
    interpolation = _RESAMPLING.get(int(processor.resample if processor.resample is not None else -1))
    if interpolation is None:
        raise InputInvalid(
            f"{source.name} resizes by Pillow's filter {processor.resample}; bicubic and bilinear are known"
        )
    return {
        **shape,
        "interpolation": interpolation,
        "mean": tuple(processor.image_mean),
        "std": tuple(processor.image_std),
    }
