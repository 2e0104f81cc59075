"""Stable Diffusion, its safety checker and CLIPSeg of the real classes, with random weights and the real tokenizer."""

from functools import cache
from pathlib import Path
from typing import Any

import open_clip
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPSegConfig,
    CLIPSegForImageSegmentation,
    CLIPSegProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    ViTImageProcessor,
)

TEXT = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "projection_dim": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "bos_token_id": 49406,
    "eos_token_id": 49407,
    "pad_token_id": 49407,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 16,
}


@cache
def tokenizer() -> CLIPTokenizer:
    """CLIP's own, from the merges that open_clip ships."""
    packaged = open_clip.tokenizer.SimpleTokenizer()
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocab = {names.get(token, token): number for token, number in packaged.encoder.items()}
    return CLIPTokenizer(vocab=vocab, merges=list(packaged.bpe_ranks), model_max_length=77)


def unet(**changed: Any) -> UNet2DConditionModel:
    torch.manual_seed(1)
    settings: dict[str, Any] = {
        "sample_size": 16,
        "block_out_channels": (16, 32),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 16,
        "attention_head_dim": 8,
        "norm_num_groups": 8,
    }
    network = UNet2DConditionModel(**(settings | changed)).requires_grad_(False)
    for name, weight in network.named_parameters():
        if ".to_" in name:
            weight.mul_(6)  # as drawn, every map is flat and the text moves next to nothing
    return network


def vae() -> AutoencoderKL:
    torch.manual_seed(2)
    return AutoencoderKL(block_out_channels=(8, 8), norm_num_groups=4, **_two("down", "up"), latent_channels=4)


def _two(*ways: str) -> dict[str, Any]:
    return {f"{way}_block_types": (f"{way.capitalize()}EncoderBlock2D".replace("UpEn", "UpDe"),) * 2 for way in ways}


def checker(*, alarmed: bool) -> StableDiffusionSafetyChecker:
    """One that flags every picture, or none."""
    torch.manual_seed(3)
    network = StableDiffusionSafetyChecker(
        CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=16)
    ).requires_grad_(False)
    network.concept_embeds_weights.fill_(-2.0 if alarmed else 2.0)
    network.special_care_embeds_weights.fill_(2.0)
    return network


def image_processor() -> CLIPImageProcessor:
    return CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32)


def stable_diffusion(folder: Path, *, alarmed: bool = False, **unet_changed: Any) -> Path:
    torch.manual_seed(0)
    StableDiffusionPipeline(
        vae=vae(),
        text_encoder=CLIPTextModel(CLIPTextConfig(**TEXT)),
        tokenizer=tokenizer(),
        unet=unet(**unet_changed),
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False, set_alpha_to_one=False),
        safety_checker=checker(alarmed=alarmed),
        feature_extractor=image_processor(),
    ).save_pretrained(folder)
    return folder


def stable_diffusion_xl(folder: Path) -> Path:
    torch.manual_seed(0)
    StableDiffusionXLPipeline(
        vae=vae(),
        text_encoder=CLIPTextModel(CLIPTextConfig(**TEXT)),
        text_encoder_2=CLIPTextModelWithProjection(CLIPTextConfig(**TEXT)),
        tokenizer=tokenizer(),
        tokenizer_2=tokenizer(),
        unet=unet(
            cross_attention_dim=32,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 16,
            transformer_layers_per_block=(1, 2),
            use_linear_projection=True,
        ),
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False, set_alpha_to_one=False),
    ).save_pretrained(folder)
    return folder


def safety_checker(folder: Path, *, alarmed: bool) -> Path:
    checker(alarmed=alarmed).save_pretrained(folder)
    image_processor().save_pretrained(folder)
    return folder


def clipseg(folder: Path) -> Path:
    torch.manual_seed(4)
    config = CLIPSegConfig(
        text_config=TEXT,
        vision_config=VISION,
        projection_dim=16,
        extract_layers=[0],
        reduce_dim=8,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=16,
        conditional_layer=0,
    )
    CLIPSegForImageSegmentation(config).save_pretrained(folder)
    CLIPSegProcessor(ViTImageProcessor(size={"height": 32, "width": 32}), tokenizer()).save_pretrained(folder)
    return folder
