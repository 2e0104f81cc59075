"""The released weights as a model that every command takes: composed/, encoder/ and sampling.json in one folder.

Facts of the released code (navervision/CompoDiff, Apache-2.0): pictures are seen by CLIP ViT-L/14, texts by the last
states of CLIP bigG, of all 77 tokens, padding included; no part gives a text an embedding in the pictures' space. The
null text is the empty one.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from compodiff.encoders import Encoder, assemble_encoder, save_encoder
from compodiff.errors import CheckpointMismatch
from compodiff.hub import FetchedModel, KnownModel
from compodiff.model.checkpoint import ModelCard, save_model
from compodiff.model.dials import FILE
from compodiff.params import PartParams, SamplingParams
from compodiff.project import find_models_home
from compodiff.released.conversion import read_released
from compodiff.search.locate import ModelParts
from compodiff.storage.atomic import replace_folder, write_json
from compodiff.storage.ownership import require_apart, require_replaceable_folder

KIND = "fetched model"
PICTURE = PartParams(name="clip-l14")
TEXTS = (PartParams(name="clip-bigg14", padding="attended", joint=False),)

# The released demo's: it calls the network as often as its user says ("10"), averages two draws, and mixes in the
# reference. float32, as it computes on a CPU.
DIALS = SamplingParams(
    seed=17,
    num_inference_steps=10,
    solver="ddim",
    grid="legacy",
    eta=1.0,
    w_image=1.5,
    w_text=7.5,
    draws=2,
    fusion="average",
    reference_mixing=0.1,
    masked_reference_mixing=0.05,
    precision="float32",
)


def choose_model_folder(model: KnownModel, out: Path | None = None) -> Path:
    """Return where a released model will stand: `out`, or under its name among the models of this user.

    Raises:
        InputInvalid: something stands there that is not ours.
    """
    folder = out or find_models_home() / model.name
    require_replaceable_folder(folder, KIND)
    return folder


def make_model_folder(fetched: FetchedModel, folder: Path) -> ModelCard:
    """Make a model of released weights that were fetched, and of the encoder that they work with.

    Raises:
        CheckpointMismatch, InputInvalid: as `write_model_folder`.
        ResourceUnavailable: the encoder's models are not fetched, or the disk is full.
    """
    origin = {"hub_id": fetched.hub_id, "revision": fetched.revision}
    return write_model_folder(fetched.folder, folder, lambda: assemble_encoder(PICTURE, TEXTS), origin)


def write_model_folder(released: Path, out: Path, load: Callable[[], Encoder], origin: dict[str, str]) -> ModelCard:
    """Write a model folder of released weights and the encoder that they work with, whole or not at all.

    Args:
        released: the folder as it is published, pytorch_model.bin and config.json.
        out: where the model will stand; a model that an earlier call wrote there is replaced.
        load: loads the encoder, which sees pictures and texts as the released code does, once the weights are read.
        origin: where the weights come from, for the card.

    Raises:
        CheckpointMismatch: the weights would run code, are damaged, of another architecture, or work with another
            encoder.
        InputInvalid: `out` holds something that is not ours, or is what is read.
        ResourceUnavailable: the disk is full; nothing is left, or the earlier model.
    """
    require_apart(out, released)
    weights, card = read_released(released)
    encoder = load()
    manifest, shape = encoder.manifest, card.denoiser
    takes, makes = (f"{it.embedding_dim} and texts {' and '.join(map(str, it.token_dims))}" for it in (shape, manifest))
    if takes != makes:
        raise CheckpointMismatch(f"{released} takes pictures {takes} wide, the encoder makes {makes}")
    with replace_folder(out, KIND) as temporary:
        parts = ModelParts(temporary)
        saved = save_encoder(encoder, parts.encoder)
        card = replace(card, encoder=saved.to_json(), trained_with=card.trained_with | origin)
        save_model(parts.composed, weights, card)
        write_json(temporary / FILE, DIALS.model_dump())
    return card
