"""The stage train_encoder: the default encoder's projections, on train concepts. Run: compodiff run train_encoder."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from compodiff.catalogue.captions import list_picture_captions, list_relative_captions
from compodiff.catalogue.pictures import Catalogue
from compodiff.encoder_training.class_dimensions import Described, add_class_dimensions
from compodiff.encoder_training.edit_maps import EditExamples, choose_wordings, fit_edit_maps
from compodiff.encoder_training.projections import ProjectionExamples, train_projections
from compodiff.encoder_training.tower_outputs import compute_picture_maps, compute_pooled_states, embed_ahead
from compodiff.encoders import KIND, MEMO, Encoder, assemble_encoder, load_embedded_encoder, save_encoder
from compodiff.encoders.edit_maps import EditMaps
from compodiff.encoders.embedded import load_classifier
from compodiff.encoders.named_classes import read_descriptions
from compodiff.params import EditMapsParams, EmbeddedEncoderParams, EncoderParams, NamedClassesParams
from compodiff.scenes.edits import make_family_generator
from compodiff.scenes.exact.captions import GROUND, list_all_wordings, list_wordings
from compodiff.scenes.exact.families import BASE, EVERY_EDIT, draw_every_edit, list_ways
from compodiff.scenes.exact.operations import GROUNDS, ExactEdit
from compodiff.scenes.exact.subjects import CatalogueSubjects
from compodiff.stages.declaration import Input, Output
from compodiff.storage.ownership import require_replaceable_folder

_SPLIT = "train"


def train_encoder(
    *,
    encoder: EncoderParams,
    data: Annotated[Path, Input("data")],
    folder: Annotated[Path, Output("artifacts/encoder")],
) -> None:
    """Write the encoder of params: the embedded one with projections trained here, or one of parts.

    The towers' outputs are kept in a hidden file beside `folder`: after a kill, and for the stages that follow.

    Raises:
        InputInvalid: the catalogue cannot be read, or a library does not know a part's model or its weights.
        ResourceUnavailable: the disk is full, or weights could not be fetched.
    """
    require_replaceable_folder(folder, KIND)
    if encoder.parts is not None:
        parts = assemble_encoder(encoder.parts.picture, encoder.parts.texts)
        save_encoder(parts.record_agreement(encoder.parts.precision), folder)
    if encoder.embedded is not None:
        _train_embedded(encoder.embedded, Catalogue.load(data), folder)


def _train_embedded(params: EmbeddedEncoderParams, catalogue: Catalogue, folder: Path) -> None:
    encoder = load_embedded_encoder(
        embedding_dim=sum(each.dimensions for each in params.maps.values()),
        image_size=params.image_size,
        generator=torch.Generator().manual_seed(params.seed),
        grids={name: each.grid for name, each in params.maps.items()},
    )
    encoder = encoder.prepare_for_many().remember_in(folder.with_name(MEMO))
    examples = _make_examples(encoder, catalogue, params)
    model = _get_model(encoder)
    train_projections(model.visual.proj, model.text.proj, examples, params)
    if params.classes is not None:
        described = _describe(encoder, params.classes, params.tower_batch_size)
        add_class_dimensions(model, examples, load_classifier(), described, params.classes)
        own, added = encoder.manifest.picture, params.classes.dimensions
        grown = replace(own, embedding_dim=own.embedding_dim + added, class_dimensions=added)
        encoder.manifest = replace(encoder.manifest, picture=grown)
    if params.edits is not None:
        encoder.edits = _learn_edits(encoder, catalogue, params.edits, params.tower_batch_size)
    save_encoder(encoder, folder)


def _learn_edits(encoder: Encoder, catalogue: Catalogue, params: EditMapsParams, batch_size: int) -> EditMaps:
    """Fit what exact edits do to embeddings; the projections are trained already."""
    model = _get_model(encoder)

    @torch.inference_mode()
    def embed(pictures: list[Image.Image]) -> Tensor:
        pixels = torch.stack([encoder.preprocess(picture) for picture in pictures])
        embeddings: Tensor = model.visual.project(encoder.compute_joined_maps(pixels, keep=False))
        return embeddings

    edits = _make_edit_examples(catalogue, embed, params)
    chosen = choose_wordings(edits, _list_other_wordings(catalogue))
    with torch.inference_mode():
        texts: Tensor = model.text.proj(compute_pooled_states(encoder, list(chosen), batch_size))
    return fit_edit_maps(edits, chosen, texts[:, : encoder.manifest.learned_dim], params)


def _describe(encoder: Encoder, params: NamedClassesParams, batch_size: int) -> Described:
    """Return what the text tower makes of the classes, of things, and of what names nothing."""
    things, names = (read_descriptions(params.vocabulary, detailed=detailed) for detailed in (True, False))
    kinds = (read_descriptions("imagenet-1k"), things, names, list_all_wordings(GROUNDS))
    texts = sorted({text for kind in kinds for text in kind}, key=lambda text: (len(text), text))
    row_of = {text: row for row, text in enumerate(texts)}
    states = compute_pooled_states(encoder, texts, batch_size)
    return Described(*(states[[row_of[text] for text in kind]] for kind in kinds))


def _get_model(encoder: Encoder) -> Any:
    """Return the open_clip model that holds both towers of the embedded encoder."""
    return encoder.picture.module


def _make_examples(encoder: Encoder, catalogue: Catalogue, params: EmbeddedEncoderParams) -> ProjectionExamples:
    """List the distinct train pictures with their captions, as the towers see them."""
    model = _get_model(encoder)
    pictures = catalogue.pictures
    pictures = pictures[(pictures["split"] == "train") & (pictures["twin_of"] == pictures.index)]
    captions = [list_picture_captions(row) for row in pictures.to_dict("records")]
    # Sorted by length, so that a batch holds little padding.
    texts = sorted({caption for each in captions for caption in each}, key=lambda text: (len(text), text))
    row_of = {text: row for row, text in enumerate(texts)}
    return ProjectionExamples(
        maps=compute_picture_maps(encoder, list(pictures.index), catalogue.read, params.tower_batch_size),
        widths=model.visual.widths,
        states=compute_pooled_states(encoder, texts, params.tower_batch_size),
        captions=np.array([[row_of[caption] for caption in each] for each in captions]),
        concepts=list(pictures["concept"]),
    )


def _make_edit_examples(
    catalogue: Catalogue, embed: Callable[[list[Image.Image]], Tensor], params: EditMapsParams
) -> list[EditExamples]:
    """Embed train pictures of the catalogue before and after each edit, there and back; no photograph is among them."""
    subjects = CatalogueSubjects(catalogue, _SPLIT, params.pictures)

    def paint(number: int) -> list[Image.Image]:
        generator = make_family_generator(params.seed, "edit maps", number)
        family = draw_every_edit(subjects.draw(number, generator), generator)
        return [family.paint(name) for name in (BASE, *(edit.name for edit in family.edits))]

    embedded = embed_ahead(paint, subjects.count(), embed)  # (pictures, 1 + edits, D)
    pairs: dict[tuple[str, str], list[tuple[Tensor, Tensor]]] = defaultdict(list)
    for place, (relation, colour) in enumerate(EVERY_EDIT, start=1):
        ends = embedded[:, 0], embedded[:, place]
        for way, asked in list_ways(ExactEdit(relation, colour=colour), None).items():
            pairs[asked].append((ends[way], ends[1 - way]))
    return [EditExamples(_join(found, 0), _join(found, 1), list_wordings(*asked)) for asked, found in pairs.items()]


def _join(pairs: Sequence[tuple[Tensor, Tensor]], side: int) -> Tensor:
    return torch.cat([pair[side] for pair in pairs])


def _list_other_wordings(catalogue: Catalogue) -> list[str]:
    """Return what training asks of pictures that is no edit of the whole: of emoji, and of a picture's ground."""
    relations = catalogue.relations
    columns = ["relation", "reference_term", "target_term"]
    terms = relations.loc[relations["split"] == _SPLIT, columns].drop_duplicates().to_numpy().tolist()
    wordings = {wording for each in terms for wording in list_relative_captions(*each)}
    return sorted(wordings | {wording for colour in GROUNDS for wording in list_wordings(GROUND, colour)})
