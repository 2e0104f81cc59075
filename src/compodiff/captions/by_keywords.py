"""Keyword captions from any caption set, in two passes over a stream: tag and count, then edit.

work/                    kept, so that another seed or band tags and embeds nothing again
  tagged.parquet         usable captions with their terms, written by the first pass
  tally.json             what the first pass counted; written last
  terms-*.npy            embeddings of the frequent terms
OUT.parquet              the caption pairs

Memory holds the counts of terms, the replacements and one group of rows, whatever the size of the set.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tqdm import tqdm

from compodiff.captions.caption_sets import (
    TALLY,
    PairSplits,
    choose_split,
    digest_caption,
    make_unusable_error,
    read_captions,
    select_captions,
    stamp_files,
)
from compodiff.captions.edits import CaptionEditor
from compodiff.captions.replacements import Replacements, embed_terms, find_replacements
from compodiff.encoders import Encoder, load_encoder
from compodiff.errors import InputInvalid
from compodiff.language.terms import TAGGER, Occurrence, TaggedCaption, Tagger, TermCounts
from compodiff.pairs.caption_file import KIND, open_pair_writer
from compodiff.params import CaptionParams
from compodiff.storage import claims
from compodiff.storage.atomic import write_json
from compodiff.storage.ownership import require_replaceable_file
from compodiff.storage.tables import count_rows, open_table_writer, read_rows

WORK = "tagged captions"
TAGGED, TALLIED = "tagged.parquet", "tally.json"
COUNTED_PER_TERM = 8  # entries counted for each term that is kept at most


@dataclass(frozen=True)
class KeywordRun:
    """One making of keyword captions.

    Attributes:
        captions: the caption set.
        work: folder for what can be used again.
        params: section `captions`.
    """

    captions: Path
    work: Path
    params: CaptionParams

    def tag(self, tagger: Tagger) -> dict[str, int]:
        """Return first pass: write usable captions with their terms to the work folder, unless it holds them already.

        Returns:
            What was counted, under the names of `caption_sets.TALLY`.

        Raises:
            InputInvalid: the set is unreadable, or no caption of it is usable.
        """
        it = self.params.keywords
        limits: dict[str, Any] = {"min_english": it.min_english, "max_characters": it.max_characters}
        fingerprint = {"captions": stamp_files(self.captions), "tagger": tagger.name, **limits}
        claims.claim_folder(self.work, fingerprint, WORK, (TAGGED, TALLIED, "terms-*.npy"))
        if not (self.work / TALLIED).exists():
            tally = Counter(dict.fromkeys(TALLY, 0))
            progress = tqdm(read_captions(self.captions), "tagging", unit=" captions", unit_scale=True, disable=None)
            usable = select_captions(progress, tally, **limits)
            with open_table_writer(self.work / TAGGED, {"caption": str, "terms": list[int]}) as table:
                for tagged in tagger.tag(usable):
                    table.add({"caption": tagged.caption, "terms": _pack_forms(tagged)})
            if not tally["usable"]:
                raise make_unusable_error(self.captions, tally)
            write_json(self.work / TALLIED, dict(tally))
        tallied: dict[str, int] = json.loads((self.work / TALLIED).read_text(encoding="utf-8"))
        return tallied

    def find_frequent_terms(self) -> dict[str, int]:
        """Return the terms to use, most frequent first, with their forms.

        Raises:
            InputInvalid: no term is frequent enough.
        """
        it = self.params.keywords
        counts = TermCounts(COUNTED_PER_TERM * it.max_terms)
        for tagged in self._tag_captions("counting terms"):
            counts.add(tagged)
        frequent = counts.find_frequent(min_count=it.min_count, max_terms=it.max_terms)
        if not frequent:
            raise InputInvalid(
                f"no term of {self.captions} occurs {it.min_count} times; lower captions.keywords.min_count"
            )
        return frequent

    def find_replacements(self, encoder: Encoder) -> Replacements:
        """Return what may replace each term, by the similarity of `encoder`.

        Raises:
            InputInvalid: no term is frequent enough, or none has another within the band.
        """
        it, forms = self.params.keywords, self.find_frequent_terms()
        with tqdm(total=len(forms), desc="embedding terms", unit=" terms", disable=None) as bar:
            embeddings = embed_terms(list(forms), encoder, self.work, bar.update)
        found = find_replacements(
            forms, embeddings, low=it.min_similarity, high=it.max_similarity, seed=self.params.seed
        )
        if not found.choices:
            raise InputInvalid(
                f"none of {len(forms):,} terms has another within [{it.min_similarity}, {it.max_similarity}] of "
                f"{encoder.manifest.name}; widen captions.keywords.min_similarity and max_similarity"
            )
        return found

    def write(self, replacements: Replacements, to: Path) -> dict[str, Any]:
        """Write the caption pairs (second pass), none twice and no caption in both splits.

        Returns:
            pairs, by_relation, dropped, captions_without_pair, captions_per_second.

        Raises:
            InputInvalid: no caption gave a pair.
        """
        editor, random = CaptionEditor(replacements, self.params.keywords), Random()
        by_relation: Counter[str] = Counter()
        splits, dropped = PairSplits(), Counter(duplicate=0, other_split=0)
        without, started = 0, time.perf_counter()
        with open_pair_writer(to, "keyword") as pairs:
            for tagged in self._tag_captions("editing"):
                digest = digest_caption(tagged.caption)
                random.seed(digest ^ self.params.seed)  # of its own: a caption's edits do not depend on its neighbours
                before = pairs.written
                split = choose_split(digest, self.params.validation_fraction)
                for edit in editor.make_edits(tagged, random):
                    if fault := splits.find_fault(split, edit.reference_caption, edit.target_caption):
                        dropped[fault] += 1
                        continue
                    pairs.add(edit.make_pair(pairs.make_key(), split))
                    by_relation[edit.relation] += 1
                without += pairs.written == before
            if not pairs.written:
                raise InputInvalid(f"no caption of {self.captions} has a term with a replacement; give a larger set")
        seconds = time.perf_counter() - started
        return {
            "pairs": pairs.written,
            "by_relation": dict(sorted(by_relation.items())),
            "dropped": dict(dropped),
            "captions_without_pair": without,
            "captions_per_second": round(count_rows(self.work / TAGGED) / seconds),
        }

    def _tag_captions(self, what: str) -> Iterator[TaggedCaption]:
        path = self.work / TAGGED
        rows = read_rows(path, ["caption", "terms"], remedy=f"delete {self.work} and run again")
        for row in tqdm(rows, desc=what, total=count_rows(path), unit=" captions", unit_scale=True, disable=None):
            it = row["terms"]
            yield TaggedCaption(row["caption"], tuple(map(Occurrence, it[::3], it[1::3], it[2::3])))


def make_keyword_pairs(
    captions: Path, to: Path, params: CaptionParams, *, encoder: Path, tagger: str = TAGGER, work: Path | None = None
) -> dict[str, Any]:
    """Write the caption pairs of a set to the file `to`; what can be used again stays in `work`, or TO.work.

    Raises:
        InputInvalid: `to` or `work` is somebody's, or the set gives no pair.
    """
    work = work or to.with_name(f"{to.name}.work")
    require_replaceable_file(to, KIND)
    claims.require_claimable(work, WORK)
    run = KeywordRun(captions, work, params)
    network = load_encoder(encoder).prepare_for_many()  # a wrong one shows before hours of tagging
    tally = run.tag(Tagger(tagger))
    replacements = run.find_replacements(network)
    written = run.write(replacements, to)
    return {"captions": tally, "terms": len(replacements.choices), **written}


def _pack_forms(tagged: TaggedCaption) -> list[int]:
    return [number for it in tagged.occurrences for number in (it.start, it.end, it.form)]
