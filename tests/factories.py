"""Values that many tests are made of: params, configurations, tiny networks, small pictures and files of them.

Each function has a usual value for everything; a test names only what it is about. Bigger scenes are in worlds/.
"""

import io
import struct
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from compodiff.params import (
    BenchmarkGate,
    DiffusionParams,
    EmbeddedEncoderParams,
    EmbeddingParams,
    EmojiBenchmarkParams,
    EmojiCaptionsParams,
    EmojiEditsParams,
    IndexParams,
    SamplingParams,
    ScenesParams,
    SimilarityFloors,
    SynthesisParams,
    TrainingParams,
    ValidationParams,
)

if TYPE_CHECKING:
    from compodiff.encoders import Encoder, EncoderManifest
    from compodiff.model.network.denoiser import Denoiser, DenoiserConfig
    from compodiff.model.sampling.query import SamplerOptions

# Params


def make_index_params(**changes: Any) -> IndexParams:
    """A flat index of any size."""
    usual = {
        "gallery": "emoji",
        "flat_up_to": 0,
        "duplicate_cosine": 0.9,
        "kind": "flat",
        "lists": 4,
        "probes": 2,
        "code_bytes": 4,
    }
    return IndexParams.model_validate(usual | {"rerank": 4} | changes)


def make_sampling_params(**changes: Any) -> SamplingParams:
    """Two steps of one draw."""
    steps = {"seed": 5, "num_inference_steps": 2, "solver": "unipc", "grid": "trailing", "eta": 0.0}
    weights = {"w_image": 1.5, "w_text": 3.0, "reference_mixing": 0.0, "masked_reference_mixing": 0.0}
    draws = {"draws": 1, "fusion": "average", "precision": "float32"}
    return SamplingParams.model_validate(steps | weights | draws | changes)


def make_sampler_options(**changes: Any) -> "SamplerOptions":
    from compodiff.model.sampling.query import SamplerOptions

    return SamplerOptions.of(make_sampling_params(**changes))


def make_training_params(**changes: Any) -> TrainingParams:
    """Eight steps over all three tasks."""
    rows = {"seed": 17, "batch_size": 32, "accumulation_steps": 1, "condition_dropout": 0.1, "relation_exponent": -0.5}
    shares = {"text_to_image": {"world": 0.3}, "masked": {"world": 0.3}, "triplet": {"world": 0.4}}
    curve = {"set": "world", "benchmark": None, "queries": 40}
    tasks = {"tasks": shares, "curve": curve, "mixup_concentration": 0.0, "learns_from": "pictures"}
    noise = {"objective": "diffusion", "noise_draws": 1, "pure_noise_share": 0.0}
    contrast = {
        "contrastive_weight": 0.0,
        "contrastive_temperature": 0.07,
        "contrastive_negatives": 8,
        "contrastive_mined": 0,
    }
    pace = {"steps": 8, "warmup_steps": 2, "learning_rate": 3e-3, "learning_rate_schedule": "cosine"}
    optimizer = {"weight_decay": 0.06, "clip_norm": 1.0, "ema_decay": 0.95, "precision": "float32", "zero_stage": 0}
    stops = {"validate_every": 1, "checkpoint_every": 3}
    return TrainingParams.model_validate(rows | tasks | noise | contrast | pace | optimizer | stops | changes)


def make_floors(**changes: float) -> SimilarityFloors:
    """Floors that let everything through."""
    return SimilarityFloors.model_validate(dict.fromkeys(SimilarityFloors.model_fields, -1.0) | changes)


def make_scenes_params(*, train: int = 0, validation: int = 0, **changes: Any) -> ScenesParams:
    """`train` and `validation` families of scenes; all are let through."""
    usual = {"recipe": "scenes", "reads": "data", "min_rows": 1, "floors": None, "seed": 17, "edits_per_relation": 1}
    return ScenesParams.model_validate(usual | {"families": {"train": train, "validation": validation}} | changes)


def make_captions_params(**changes: Any) -> EmojiCaptionsParams:
    """Pairs of the catalogue; all are let through."""
    usual = {"recipe": "emoji_captions", "reads": "data", "min_rows": 1, "floors": None}
    return EmojiCaptionsParams.model_validate(usual | changes)


def make_edits_params(**changes: Any) -> EmojiEditsParams:
    """Triplets of the catalogue, each pair of pictures once; all are let through."""
    usual = {"recipe": "emoji_edits", "reads": "data", "min_rows": 1, "floors": None, "seed": 17}
    amounts = {"captions_per_pair": 1, "max_pairs_per_relation": 1000}
    return EmojiEditsParams.model_validate(usual | amounts | changes)


def make_synthesis_params(**changes: Any) -> SynthesisParams:
    return SynthesisParams.model_validate({"rows_per_shard": 40, "batch_size": 8} | changes)


def make_diffusion_params(pipeline: Path | str, **changes: Any) -> DiffusionParams:
    """Four steps at 32 pixels for one candidate, which shares nothing with its reference."""
    networks = {"pipeline": str(pipeline), "revision": None, "safety_checker": None, "precision": "float32"}
    drawing = {
        "scheduler": "DDIMScheduler",
        "steps": 4,
        "picture_size": 32,
        "batch_size": 4,
        "candidates": 1,
        "kept": 1,
    }
    ranges = {"min_guidance": 7.5, "max_guidance": 15, "min_shared": 0, "max_shared": 0}
    return DiffusionParams.model_validate(networks | drawing | ranges | changes)


def make_validation_params(**changes: Any) -> ValidationParams:
    usual = {"max_text_length": 200, "max_rejected_fraction": 0.1, "rows_at_once": 1000}
    return ValidationParams.model_validate(usual | changes)


def make_embedded_encoder_params(**changes: Any) -> EmbeddedEncoderParams:
    """Two maps of the image tower, 24 components."""
    maps = {"stride_8": {"grid": 2, "dimensions": 12}, "head": {"grid": 1, "dimensions": 12}}
    sizes = {"image_size": 64, "maps": maps, "tower_batch_size": 16, "components": 24, "batch_size": 48}
    sizes |= {"max_variants": 8, "edits": None}
    pace = {"seed": 17, "steps": 150, "image_learning_rate": 1e-3, "text_learning_rate": 3e-3, "warmup_steps": 5}
    return EmbeddedEncoderParams.model_validate(sizes | pace | {"weight_decay": 0.05, "classes": None} | changes)


def make_embedding_params(**changes: Any) -> EmbeddingParams:
    """One mask for each picture, of a fifth to 0.7 of it."""
    masks = {"masks_per_picture": 1, "min_mask_fraction": 0.2, "max_mask_fraction": 0.7}
    texts = {"texts": "stored", "stored_text_bytes": 10**9}
    return EmbeddingParams.model_validate({"seed": 1, "batch_size": 16} | masks | texts | changes)


def make_emoji_benchmark_params(**changes: Any) -> EmojiBenchmarkParams:
    usual = {"recipe": "emoji", "reads": "data", "gate": None, "seed": 17, "max_queries_per_relation": 10}
    return EmojiBenchmarkParams.model_validate(usual | changes)


def make_benchmark_gate(**changes: Any) -> BenchmarkGate:
    usual = {
        "figure": "recall_at_10",
        "floor": 0.4,
        "margin": 0.01,
        "max_relation_drop": 0.1,
        "max_plausible_loss": 0.1,
    }
    return BenchmarkGate.model_validate(usual | changes)


# Networks


def make_denoiser_config(**changes: Any) -> "DenoiserConfig":
    """A network of our own of two narrow layers, for embeddings and tokens 16 wide."""
    from compodiff.model.network.denoiser import DenoiserConfig

    layers = {"width": 16, "depth": 2, "heads": 2, "cross_heads": 2, "head_width": 8, "feed_forward_factor": 2}
    ends = {"embedding_dim": 16, "token_dims": (16,), "mask_size": 8, "image_slots": 2, "residual": False}
    return DenoiserConfig(**(layers | ends | changes))


def make_random_denoiser(config: "DenoiserConfig", *, seed: int = 3, output_std: float = 0.0) -> "Denoiser":
    """Random weights; the output layer of a residual network is zero unless `output_std` says otherwise."""
    import torch

    from compodiff.model.network.denoiser import Denoiser

    with torch.random.fork_rng():
        torch.manual_seed(seed)  # nn.Module draws its weights from the global generator
        denoiser = Denoiser(config).eval().requires_grad_(False)
        if output_std:
            torch.nn.init.normal_(denoiser.output_projection.weight, std=output_std)
    return denoiser


def make_encoder_manifest(**changes: Any) -> "EncoderManifest":
    from compodiff.encoders import EncoderManifest

    sight = {
        "image_size": 32,
        "mean": (0.5,) * 3,
        "std": (0.5,) * 3,
        "interpolation": "bicubic",
        "resize_mode": "squash",
    }
    widths = {"embedding_dim": 16, "token_dim": 16, "context_length": 16}
    usual = {"name": "tiny", "weights_digest": "0" * 64, "activation": "gelu", "grids": {}} | sight | widths
    return EncoderManifest.from_json(usual | changes)


def change_parts(manifest: "EncoderManifest", **changes: Any) -> "EncoderManifest":
    """The manifest with fields of all its parts changed."""
    from dataclasses import replace

    texts = tuple(replace(part, **changes) for part in manifest.texts)
    return replace(manifest, picture=replace(manifest.picture, **changes), texts=texts)


def make_embedded_encoder(*, seed: int = 3, **changes: Any) -> "Encoder":
    """The packaged towers under random projections."""
    import torch

    from compodiff.encoders import load_embedded_encoder

    torch.set_num_threads(1)
    usual: dict[str, Any] = {"embedding_dim": 24, "image_size": 64}
    return load_embedded_encoder(**(usual | changes), generator=torch.Generator().manual_seed(seed))


# Pictures


def draw_noise(seed: int = 0, width: int = 40, height: int = 30, channels: int = 3) -> Image.Image:
    """Every pixel by chance."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(pixels)


def draw_patches(seed: int, width: int = 64, height: int = 48, across: int = 4) -> Image.Image:
    """Large soft patches of colour: no two seeds look alike, and they survive compression."""
    return draw_noise(seed, across, across).resize((width, height), Image.Resampling.BICUBIC)


def draw_halves(width: int = 16, height: int = 8, mode: str = "RGB") -> Image.Image:
    """The left half is red, the right half blue."""
    picture = Image.new("RGB", (width, height), "red")
    picture.paste("blue", (width // 2, 0, width, height))
    return picture.convert(mode)


def draw_box_mask(size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    """White within left, upper, right and lower; black elsewhere."""
    mask = Image.new("L", size)
    mask.paste(255, box)
    return mask


def turn_sideways() -> Image.Exif:
    """Metadata of a picture stored turned by a quarter: its top is at the right."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def encode_picture(picture: Image.Image | str = "red", form: str = "PNG", **options: Any) -> bytes:
    """The bytes of a picture, or of 16 x 16 pixels of a colour."""
    stream = io.BytesIO()
    shown = Image.new("RGB", (16, 16), picture) if isinstance(picture, str) else picture
    shown.save(stream, form, **options)
    return stream.getvalue()


def encode_bomb(edge: int) -> bytes:
    """A small PNG whose header says that it is `edge` x `edge`."""
    content = bytearray(encode_picture(Image.new("1", (8, 8))))
    content[16:24] = struct.pack(">II", edge, edge)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


def write_tar(path: Path, files: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def compute_cosines(queries: np.ndarray, pictures: np.ndarray) -> np.ndarray:
    """Every cosine, in float64: (Q, D) and (N, D) to (Q, N); 0 where a vector is zero."""
    queries, pictures = queries.astype(np.float64), pictures.astype(np.float64)
    lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(pictures, axis=1)
    return np.divide(queries @ pictures.T, lengths, out=np.zeros_like(lengths), where=lengths > 0)
