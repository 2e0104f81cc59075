"""Caption pairs to learn from: of a person's own list by keywords, or of our grammar of everyday things.

WORK/captions.txt     of a list, the captions that are used
WORK/tagged/          what `compodiff captions keywords` keeps
WORK/pairs.parquet    the pairs
"""

import heapq
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tqdm import tqdm

from compodiff.captions.by_keywords import make_keyword_pairs
from compodiff.captions.caption_sets import (
    TALLY,
    PairSplits,
    choose_split,
    digest_caption,
    make_unusable_error,
    read_captions,
    select_captions,
)
from compodiff.captions.everyday import EverydayGrammar
from compodiff.captions.everyday_words import KINDS
from compodiff.embeddings.lengths import shorten_rows
from compodiff.encoders import Encoder
from compodiff.encoders.named_classes import read_class_names
from compodiff.errors import InputInvalid
from compodiff.pairs.caption_file import open_pair_writer, read_caption_pairs
from compodiff.params import CaptionParams, Params
from compodiff.storage.atomic import replace_path, write_json

PAIRS, CAPTIONS, COUNTED, TAGGED = "pairs.parquet", "captions.txt", "counted.json", "tagged"
_GRAMMAR = "everyday"


def make_pairs(work: Path, captions: Path | None, encoder: Encoder, folder: Path, params: Params) -> Path:
    """Write caption pairs to the work folder, unless an earlier run did; return their file.

    Args:
        work: the folder.
        captions: a list of a person's own; None: our grammar's.
        encoder: by whose similarity terms replace each other.
        folder: of that encoder.
        params: of the project.

    Raises:
        InputInvalid: the list cannot be read, has no usable caption or nothing to change, or gives too few pairs.
    """
    path = work / PAIRS
    if not path.exists():
        if captions is None:
            write_everyday_pairs(path, params)
        else:
            listed = sample_captions(captions, work, params)
            keywords = _fit_keywords(encoder, params)
            make_keyword_pairs(listed, path, keywords, encoder=folder, work=work / TAGGED)
    of_training = sum(pair.split == "train" for pair in read_caption_pairs(path))
    if of_training < params.adaptation.least_pairs:
        raise InputInvalid(
            f"{captions or 'the grammar'} gives {of_training} caption pairs to learn from, at least "
            f"{params.adaptation.least_pairs} are needed; give more captions, or raise adaptation.captions"
        )
    return path


def write_everyday_pairs(path: Path, params: Params) -> None:
    """Write as many pairs of our grammar's captions as params say captions are used."""
    grammar, splits = EverydayGrammar(params.captions.seed, read_class_names()), PairSplits()
    with open_pair_writer(path, _GRAMMAR) as pairs:
        for edit in grammar.draw_edits(params.adaptation.captions):
            split = choose_split(digest_caption(edit.reference_caption), params.captions.validation_fraction)
            fault = splits.find_fault(split, edit.reference_caption, edit.target_caption, edit.relative_caption)
            if not fault:
                pairs.add(edit.make_pair(pairs.make_key(), split))


def sample_captions(captions: Path, work: Path, params: Params) -> Path:
    """Write the usable captions of a list to the work folder, of a long list an even sample; return the file.

    A list of any length is read as a stream; what is kept depends on the captions and not on their order.

    Raises:
        InputInvalid: it cannot be read, or has no usable caption.
    """
    path, limits = work / CAPTIONS, params.captions.keywords
    if path.exists():
        return path
    tally = Counter(dict.fromkeys(TALLY, 0))
    read = tqdm(read_captions(captions), "reading captions", unit=" captions", unit_scale=True, disable=None)
    usable = select_captions(read, tally, min_english=limits.min_english, max_characters=limits.max_characters)
    keyed = ((digest_caption(f"{params.captions.seed} {caption}"), caption) for caption in usable)
    kept = heapq.nsmallest(params.adaptation.captions, keyed)
    if len(kept) < params.adaptation.least_pairs:
        raise _explain_too_few(captions, tally, params.adaptation.least_pairs)
    write_json(work / COUNTED, dict(tally) | {"used": len(kept)})
    with replace_path(path) as temporary:
        temporary.write_text("".join(f"{caption}\n" for _, caption in kept), encoding="utf-8")
    return path


def _explain_too_few(captions: Path, tally: Mapping[str, int], least: int) -> InputInvalid:
    """Return the error that a list with too few usable captions ends with."""
    if not tally["usable"]:
        return make_unusable_error(captions, tally)
    counted = ", ".join(f"{tally[name]} {name}" for name in TALLY if tally[name])
    return InputInvalid(
        f"{captions} has too few captions ({counted}), at least {least} are needed; give more, or no "
        "--captions: a list of everyday things is made then"
    )


def _fit_keywords(encoder: Encoder, params: Params) -> CaptionParams:
    """Return how keywords are replaced, with the band of similarities measured in this encoder's own cosines."""
    names = [name for kind in KINDS for name in kind.names]
    embedded = [
        encoder.embed_texts(names[start : start + 64], "terms are compared by meaning").float().cpu().numpy()
        for start in range(0, len(names), 64)
    ]
    unit = shorten_rows(np.concatenate(embedded)[:, : encoder.manifest.learned_dim])
    cosines = (unit @ unit.T)[np.triu_indices(len(names), 1)]
    own = params.adaptation
    low, high = np.quantile(cosines, (own.least_similarity, own.most_similarity)).tolist()
    changes = {"min_similarity": low, "max_similarity": high}
    return params.captions.model_copy(update={"keywords": params.captions.keywords.model_copy(update=changes)})
