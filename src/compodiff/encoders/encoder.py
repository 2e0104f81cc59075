"""Pictures and texts into vectors, whatever the parts are.

Shapes: B pictures or texts, L tokens, D embedding width, D_k width of a text part's token states.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from compodiff.encoders.agreement import choose_dtype, measure_agreement
from compodiff.encoders.compiled import CompiledTowers, is_installed
from compodiff.encoders.edit_maps import EditMaps
from compodiff.encoders.embedded_towers import HuggingFaceTexts, LaterPictures, StagedPictures
from compodiff.encoders.manifest import EMBEDDED, EncoderManifest
from compodiff.encoders.memo import TowerMemo
from compodiff.encoders.towers import (
    PictureTower,
    TextEncoding,
    TextTower,
    TokenStates,
    TowerOutputs,
    find_device,
)
from compodiff.execution.gpu_memory import MemoryBound


class Encoder:
    """A picture part and text parts with their preprocessing and tokenizers, for inference."""

    def __init__(self, picture: PictureTower, texts: Sequence[TextTower], manifest: EncoderManifest) -> None:
        """Join the parts that `manifest` lists, in its order."""
        self.picture, self.texts = picture, tuple(texts)
        self.manifest = manifest
        self.edits: EditMaps | None = None  # what edits of whole pictures do to embeddings, where that was learned
        self._memo: TowerMemo | None = None
        self._memory = MemoryBound("pictures", "take a smaller encoder, or the CPU: CUDA_VISIBLE_DEVICES=")
        for module in self._modules:
            module.eval().requires_grad_(False)

    @property
    def towers(self) -> list[PictureTower | TextTower]:
        """All towers, that of pictures first."""
        return [self.picture, *self.texts]

    @property
    def device(self) -> torch.device:
        """Where the weights are; pixels and ids are moved there, results stay there."""
        return find_device(self.texts[0].module)

    @property
    def _modules(self) -> list[nn.Module]:
        """What holds weights, of the towers that are open; two parts may share one."""
        there = [part for part in self.towers if not isinstance(part, LaterPictures) or part.is_open]
        return list({id(part.module): part.module for part in there}.values())

    def move_to_gpu(self) -> "Encoder":
        """Return itself on the GPU where there is one, in half the precision where that agrees with float32."""
        if not torch.cuda.is_available():
            return self
        # TF32 would round what enters a product to 10 bits, in convolutions by torch's default: float32 means float32.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        for module in self._modules:
            module.to("cuda")
        if self.manifest.picture.library != EMBEDDED:
            self._measure_once()
            dtype = choose_dtype(self.manifest.record.get("precision", "auto"), self.manifest.record["agreement"])
            for module in self._modules:
                module.to(dtype)
        return self

    def open_pictures(self) -> None:
        """Open the image tower now, where it would be opened for the first picture."""
        if isinstance(self.picture, LaterPictures):
            self.picture.open()

    def record_agreement(self, precision: str) -> "Encoder":
        """Return itself with the precision that was asked for, and the agreement measured, in its manifest's record."""
        self.manifest = replace(self.manifest, record={"precision": precision})
        self._measure_once()
        return self

    def _measure_once(self) -> None:
        if "agreement" not in self.manifest.record:
            record = {**self.manifest.record, "agreement": measure_agreement(self)}
            self.manifest = replace(self.manifest, record=record)

    def prepare_for_many(self) -> "Encoder":
        """Return it ready for many inputs: on the GPU where there is one, else with towers compiled where possible."""
        self.move_to_gpu()
        if self.device.type == "cpu" and isinstance(self.picture, StagedPictures) and is_installed():
            compiled = CompiledTowers(self.picture.model, self.manifest.picture.image_size)
            self.picture.compiled = compiled
            for tower in self.texts:
                if isinstance(tower, HuggingFaceTexts) and tower.model is self.picture.model:
                    tower.compiled = compiled
        return self

    def remember_in(self, path: Path) -> "Encoder":
        """Return itself, keeping in the file `path` what it makes, and taking from there what was made before."""
        self._memo = TowerMemo(path)
        return self

    def preprocess(self, picture: Image.Image) -> Tensor:
        """Resize and normalise a picture; transparent parts become white.

        Returns:
            (3, H, W) float32. A mask is applied after this (zero is then the mean colour).
        """
        if picture.has_transparency_data:
            rgba = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        return self.picture.preprocess(picture.convert("RGB"))

    @torch.inference_mode()
    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Embed preprocessed pictures, pixels (B, 3, H, W) -> (B, D) float32, not normalised.

        Raises:
            ResourceUnavailable: the GPU's memory does not hold one picture.
        """
        return self._remember(self.picture.memo_key, self._embed, pixels)

    @torch.inference_mode()
    def compute_joined_maps(self, pixels: Tensor, *, keep: bool = True) -> Tensor:
        """Return what the default image projection sees, pixels (B, 3, H, W) -> (B, F); the memo may keep them."""
        tower = cast(StagedPictures, self.picture)
        return self._remember(tower.maps_key, tower.compute_joined_maps, pixels, keep=keep)

    def _embed(self, pixels: Tensor) -> Tensor:
        """Return pixels (B, 3, H, W) -> (B, D) float32, as many at a time as fit."""

        def encode(some: Tensor) -> Tensor:
            # Train pictures are known by their maps already; of others the embedding is kept, a thousandth of the size.
            staged = self.picture if isinstance(self.picture, StagedPictures) else None
            if staged and (staged.compiled or self._memo):
                return staged.project(self.compute_joined_maps(some, keep=False)).float()
            return self.picture.embed(some).float()

        parts = [*self._memory.run_by_parts(encode, pixels)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _remember(self, owner: str, run: Callable[[Tensor], Tensor], pixels: Tensor, *, keep: bool = True) -> Tensor:
        """Return run(pixels), a row a picture; only pictures that the memo does not know are run."""
        if self._memo is None:
            return run(pixels)
        contents = [picture.numpy().tobytes() for picture in pixels.cpu().contiguous()]
        values = self._memo.look_up(
            owner,
            contents,
            lambda places: [row.tobytes() for row in run(pixels[places]).float().cpu().numpy()],
            keep=keep,
        )
        return torch.from_numpy(np.stack([np.frombuffer(value, np.float32) for value in values])).to(self.device)

    def encode_images(self, pictures: Iterable[Image.Image], batch_size: int = 32) -> Tensor:
        """Embed pictures of any size and mode -> (N, D) float32, not normalised."""
        preprocessed = (self.preprocess(picture) for picture in pictures)
        embeddings = []
        while batch := list(islice(preprocessed, batch_size)):
            embeddings.append(self.encode_pixels(torch.stack(batch)))
        return torch.cat(embeddings) if embeddings else torch.empty(0, self.manifest.embedding_dim)

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> TextEncoding:
        """Embed texts as one batch, token states with them. Longer texts than the context are cut."""
        outputs = [self.run_text_tower(number, texts) for number in range(len(self.texts))]
        joint, pooled = self.manifest.joint, None
        if joint is not None and (own := outputs[joint].pooled) is not None:
            pooled = self.texts[joint].project(own)
        return TextEncoding(pooled, tuple(TokenStates(each.tokens, each.mask) for each in outputs))

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str], what: str) -> Tensor:
        """Embed texts among pictures, as one batch and by the joint text part alone -> (B, D) float32, not normalised.

        Raises:
            InputInvalid: there is no such part; the message begins with `what`, which needs it.
        """
        self.manifest.require_joint_text(what)
        joint = cast(int, self.manifest.joint)
        return self.texts[joint].project(cast(Tensor, self.run_text_tower(joint, texts).pooled))

    @torch.inference_mode()
    def run_text_tower(self, number: int, texts: Sequence[str]) -> TowerOutputs:
        """Return what the text part of this number makes of texts, without its projection."""
        tower = self.texts[number]
        if self._memo is None:
            return tower.run(texts)

        def make(places: list[int]) -> list[bytes]:
            made = tower.run([texts[place] for place in places])
            pooled = torch.empty(len(places), 0) if made.pooled is None else made.pooled.float().cpu()
            return [
                row.numpy().tobytes() + own[real].numpy().tobytes()
                for row, own, real in zip(pooled, made.tokens.half().cpu(), made.mask.cpu(), strict=True)
            ]

        values = self._memo.look_up(tower.memo_key, [text.encode() for text in texts], make)
        start, token_dim = 4 * tower.pooled_width, self.manifest.token_dims[number]
        pooled = torch.from_numpy(np.stack([np.frombuffer(value[:start], np.float32) for value in values]))  # (B, P)
        rows = [torch.tensor(np.frombuffer(value[start:], np.float16)).view(-1, token_dim) for value in values]
        tokens = nn.utils.rnn.pad_sequence(rows, batch_first=True).float()  # (B, L, D_k)
        mask = torch.arange(tokens.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]
        device = find_device(tower.module)
        return TowerOutputs(pooled.to(device) if start else None, tokens.to(device), mask.to(device))
