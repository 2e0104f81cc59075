"""Parts of whichever library: described without their weights, and loaded."""

from dataclasses import replace
from typing import Any

from compodiff.encoders import sentence_models, transformers_models
from compodiff.encoders.manifest import OPEN_CLIP, SENTENCE_TRANSFORMERS, PicturePart, TextPart
from compodiff.encoders.open_clip_models import OpenClipModel, load_open_clip
from compodiff.encoders.sentence_models import SentencePictures, SentenceTexts
from compodiff.encoders.sources import Source
from compodiff.encoders.towers import PictureTower, TextTower
from compodiff.errors import InputInvalid
from compodiff.params import PartParams


class OpenedModels:
    """Models that were opened, so that two parts of one share it where the library has both towers in one module."""

    def __init__(self) -> None:
        self._open_clip: dict[Source, OpenClipModel] = {}
        self._sentence: dict[Source, Any] = {}

    def describe_picture(self, source: Source) -> PicturePart:
        """Return the picture part of a model.

        Raises:
            InputInvalid: it has none.
            ResourceUnavailable: its weights cannot be read.
        """
        if source.library == OPEN_CLIP:
            return self._open(source).picture
        if source.library == SENTENCE_TRANSFORMERS:
            return sentence_models.describe_picture(self._open_sentence(source), source)
        return transformers_models.describe_picture_part(source)

    def describe_text(self, source: Source, asked: PartParams) -> TextPart:
        """Return the text part of a model as `asked` has it.

        Raises:
            InputInvalid: it has none, or not such a one.
            ResourceUnavailable: its weights cannot be read.
        """
        if source.library == OPEN_CLIP:
            part = replace(self._open(source).text, **_list_changes(asked))
            if asked.context_length not in (None, part.context_length):
                raise InputInvalid(f"{source.name} sees {part.context_length} tokens, not {asked.context_length}")
            return part
        if source.library == SENTENCE_TRANSFORMERS:
            return sentence_models.describe_text(self._open_sentence(source), source, asked)
        return transformers_models.describe_text_part(source, asked)

    def load_picture(self, part: PicturePart, source: Source) -> PictureTower:
        """Load a picture part.

        Raises:
            ResourceUnavailable: its weights cannot be read.
            CheckpointMismatch: they are of another architecture.
        """
        if source.library == OPEN_CLIP:
            return self._open(source).make_picture_tower(part)
        if source.library == SENTENCE_TRANSFORMERS:
            return SentencePictures(self._open_sentence(source), part, source.require_folder())
        return transformers_models.load_picture_tower(part, source)

    def load_text(self, part: TextPart, source: Source) -> TextTower:
        """Load a text part.

        Raises:
            InputInvalid: the tower has no such layer.
            ResourceUnavailable: its weights cannot be read.
            CheckpointMismatch: they are of another architecture.
        """
        if source.library == OPEN_CLIP:
            return self._open(source).make_text_tower(part)
        if source.library == SENTENCE_TRANSFORMERS:
            return SentenceTexts(self._open_sentence(source), part, source.require_folder())
        return transformers_models.load_text_tower(part, source)

    def _open(self, source: Source) -> OpenClipModel:
        if source not in self._open_clip:
            self._open_clip[source] = load_open_clip(source)
        return self._open_clip[source]

    def _open_sentence(self, source: Source) -> Any:
        if source not in self._sentence:
            self._sentence[source] = sentence_models.load_sentence_model(source)
        return self._sentence[source]


def _list_changes(asked: PartParams) -> dict[str, Any]:
    wanted = {"layer": asked.layer, "padding": asked.padding, "template": asked.template}
    return {key: value for key, value in wanted.items() if value is not None}
