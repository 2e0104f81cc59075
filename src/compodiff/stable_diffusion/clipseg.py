"""Masks for the masked task: where in a picture something of its caption is, found by CLIPSeg (paper, section 4.1).

Prompt-to-Prompt holds a pair's pictures equal but for the edit, so what goes from the one and comes into the other is
the region where they differ: the mask of a drawn triplet, as sprites know theirs exactly. Shapes: B pictures.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor
from torch.nn.functional import interpolate
from transformers import CLIPSegForImageSegmentation, CLIPSegProcessor

from compodiff.encoders import EncoderManifest
from compodiff.errors import InputInvalid
from compodiff.execution.gpu_memory import MemoryBound
from compodiff.hub import find_model_folder
from compodiff.images.mask_cells import Cells, average_cells
from compodiff.language.terms import ATTRIBUTE, TaggedCaption, Tagger
from compodiff.pairs.pair import CaptionPair, PictureGenerator, PicturePair
from compodiff.params import MaskParams
from compodiff.precision import choose_device


class ClipSegMasks:
    """Finds in pictures what a phrase names."""

    def __init__(self, network: CLIPSegForImageSegmentation, processor: CLIPSegProcessor, params: MaskParams) -> None:
        self._network = network.eval().requires_grad_(False)
        self._processor = processor
        self._params = params
        self._memory = MemoryBound("pictures that CLIPSeg looks at", "take a GPU with more")

    @classmethod
    def load(cls, params: MaskParams) -> "ClipSegMasks":
        """Load the network, in safetensors, on the GPU where there is one.

        Raises:
            InputInvalid: the folder holds no CLIPSeg.
            ResourceUnavailable: it is not on this machine; the message names the command that fetches it.
        """
        folder = find_model_folder(params.clipseg, params.revision)
        try:
            network = CLIPSegForImageSegmentation.from_pretrained(folder, use_safetensors=True)
            processor = CLIPSegProcessor.from_pretrained(folder)
        except (OSError, ValueError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:300]
            raise InputInvalid(f"{params.clipseg} holds no CLIPSeg in safetensors: {reason}") from error
        return cls(network.to(choose_device()), processor, params)

    def find_cells(self, pictures: Sequence[Image.Image], phrases: Sequence[str], resize_mode: str) -> Iterator[Cells]:
        """Yield the cells where each picture shows what its phrase names; none of them where it is not found."""
        batch_size = self._params.batch_size
        for first in range(0, len(pictures), batch_size):
            some = slice(first, first + batch_size)
            asked = list(zip(pictures[some], phrases[some], strict=True))
            found = chain.from_iterable(self._memory.run_by_parts(self._estimate_probabilities, asked))
            for picture, probability in zip(pictures[some], found, strict=True):
                whole = interpolate(probability[None, None], size=(picture.height, picture.width), mode="bilinear")
                yield average_cells(whole[0, 0], self._params.threshold, resize_mode)

    @torch.inference_mode()
    def _estimate_probabilities(self, asked: Sequence[tuple[Image.Image, str]]) -> Tensor:
        """Return probabilities (B, h, w) at CLIPSeg's resolution, each map of a whole picture."""
        inputs = self._processor(
            text=[phrase for _, phrase in asked],
            images=[picture.convert("RGB") for picture, _ in asked],
            padding=True,
            truncation=True,
            return_tensors="pt",
        )
        logits: Tensor = self._network(**inputs.to(self._network.device)).logits
        return logits.reshape(len(asked), *logits.shape[-2:]).sigmoid().float().cpu()


class MaskedGenerator:
    """Gives the pairs of a generator their masks: what goes from the reference, and what comes into the target."""

    def __init__(
        self, generator: PictureGenerator, masks: ClipSegMasks, tagger: Tagger, *, resize_mode: str, batch_size: int
    ) -> None:
        self._generator = generator
        self._masks = masks
        self._tagger = tagger
        self._resize_mode = resize_mode
        self._batch_size = batch_size

    @classmethod
    def load(cls, generator: PictureGenerator, params: MaskParams, encoder: Path) -> "MaskedGenerator":
        """Load CLIPSeg and the tagger; `encoder` is the folder of the encoder that will see pictures and masks.

        Raises:
            InputInvalid: the folder of CLIPSeg holds none.
            ResourceUnavailable: CLIPSeg is not on this machine.
        """
        manifest = EncoderManifest.from_json(json.loads((encoder / "manifest.json").read_text(encoding="utf-8")))
        masks = ClipSegMasks.load(params)
        return cls(generator, masks, Tagger(), resize_mode=manifest.picture.resize_mode, batch_size=params.batch_size)

    def generate(self, pairs: Sequence[CaptionPair]) -> Iterator[PicturePair]:
        """Yield what the generator does, with masks; none where nothing is found, and of what it rejects."""
        made = self._generator.generate(pairs)
        while batch := list(islice(made, self._batch_size)):
            yield from self._add_masks(batch)

    def _add_masks(self, batch: Sequence[PicturePair]) -> Iterator[PicturePair]:
        wanted = [[] if pair.rejected_by else self._list_wanted(pair) for pair in batch]
        flat = [each for of_pair in wanted for each in of_pair]
        pictures = [picture for picture, _ in flat]
        found = self._masks.find_cells(pictures, [phrase for _, phrase in flat], self._resize_mode)
        for pair, of_pair in zip(batch, wanted, strict=True):
            cells = np.logical_or.reduce([next(found) for _ in of_pair]) if of_pair else np.zeros(1, np.bool_)
            yield replace(pair, mask=cells) if cells.any() else pair

    def _list_wanted(self, pair: PicturePair) -> list[tuple[Image.Image, str]]:
        """Return what to find in which picture of a pair."""
        it = pair.captions
        before, after = self._tagger.tag([it.reference_caption, it.target_caption])
        goes = choose_mask_phrase(before, after.caption)
        comes = choose_mask_phrase(after, before.caption, it.keyword)
        found = [(picture, phrase) for picture, phrase in ((pair.reference, goes), (pair.target, comes)) if phrase]
        return found or [(pair.target, choose_mask_phrase(after, ""))]


def choose_mask_phrase(tagged: TaggedCaption, other: str, keyword: str = "") -> str:
    """Return what of a picture its mask covers: what its caption names and the other caption does not.

    Args:
        tagged: what the picture shows.
        other: the other picture's caption; "" lets the whole caption stand for itself where it has no term.
        keyword: taken where the caption names it; an adjective is taken with its noun.

    Returns:
        A phrase out of the caption; "" where the other caption has all of its terms.
    """
    caption, terms = tagged.caption, tagged.occurrences
    start = caption.casefold().find(keyword.casefold()) if keyword else -1
    end = start + len(keyword)
    if start < 0:
        new = [it for it in terms if caption[it.start : it.end].casefold() not in other.casefold()]
        if not new:
            return "" if other else caption
        start, end = new[-1].start, new[-1].end
    if any(it.form == ATTRIBUTE and it.start <= start < it.end for it in terms):
        end = min((it.end for it in terms if it.form != ATTRIBUTE and it.start >= end), default=end)
    return caption[start:end]
