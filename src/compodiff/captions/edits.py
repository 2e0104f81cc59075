"""From a caption with its terms to caption pairs: a term is replaced, added, removed, or an attribute changed."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from random import Random

from compodiff.captions.replacements import Replacements
from compodiff.language.templates import ADD, ATTRIBUTE, REMOVE, REPLACE, TEMPLATES, choose_article
from compodiff.language.terms import ATTRIBUTE as ADJECTIVE
from compodiff.language.terms import ONE, SINGULAR, Occurrence, TaggedCaption
from compodiff.pairs.pair import CaptionPair
from compodiff.params import KeywordParams

_JOINTS = (" with {}", " and {}", " next to {}", " beside {}", " near {}")
_ARTICLE_BEFORE = re.compile(r"\b(a|an) $", re.IGNORECASE)
_ADJACENT = re.compile(r" (\w+ )?")
_WORD = re.compile(r"[\w'-]+")


@dataclass(frozen=True)
class CaptionEdit:
    """A caption before and after a change, and the change in words."""

    relation: str
    reference_caption: str
    target_caption: str
    relative_caption: str
    keyword: str

    def make_pair(self, key: str, split: str) -> CaptionPair:
        """Make a caption pair of it, whose pictures are to be drawn."""
        return CaptionPair(key=key, split=split, reference=f"{key}-reference", target=f"{key}-target", **asdict(self))


class CaptionEditor:
    """Draws edits; the same caption and random numbers give the same edit."""

    def __init__(self, replacements: Replacements, params: KeywordParams) -> None:
        self._replacements = replacements
        self._params = params
        self._kinds = list(params.shares.model_dump())
        self._weights = list(params.shares.model_dump().values())
        self._draw: Mapping[str, Callable[[TaggedCaption, Random, Occurrence, str], CaptionEdit | None]] = {
            REPLACE: self._replace,
            ADD: self._add,
            REMOVE: self._remove,
            ATTRIBUTE: self._change_attribute,
        }

    def make_edits(self, tagged: TaggedCaption, random: Random) -> Iterator[CaptionEdit]:
        """Yield up to `pairs_per_caption` different edits; none where no term of the caption has a replacement."""
        usable = TaggedCaption(tagged.caption, tuple(it for it in tagged.occurrences if self._is_usable(tagged, it)))
        if not usable.occurrences:
            return
        seen: set[tuple[str, str]] = set()
        for _ in range(self._params.pairs_per_caption):
            edit = self._make_edit(usable, random)
            if edit is not None and (edit.reference_caption, edit.target_caption) not in seen:
                seen.add((edit.reference_caption, edit.target_caption))
                yield edit

    def _make_edit(self, tagged: TaggedCaption, random: Random) -> CaptionEdit | None:
        first = random.choices(self._kinds, self._weights)[0]
        others = [kind for kind, share in zip(self._kinds, self._weights, strict=True) if share and kind != first]
        for kind in (first, *others):
            drawn = self._draw_change(tagged, random, adjective=kind == ATTRIBUTE)
            edit = None if drawn is None else self._draw[kind](tagged, random, *drawn)
            if edit is not None:
                return edit
        return None

    def _is_usable(self, tagged: TaggedCaption, it: Occurrence) -> bool:
        """Return whether the term has replacements, and the form here is one in which they fit."""
        term = _read_form(tagged, it).lower()
        form = self._replacements.forms.get(term)
        return term in self._replacements.choices and (it.form == form or (it.form == SINGULAR and form == ONE))

    def _replace(self, tagged: TaggedCaption, random: Random, occurrence: Occurrence, target: str) -> CaptionEdit:
        reference = _read_form(tagged, occurrence).lower()
        after = _splice(tagged.caption, occurrence, target)
        before, after, reference, target = self._swap_sometimes((tagged.caption, after, reference, target), random)
        return CaptionEdit(REPLACE, before, after, self._word_edit(REPLACE, random, reference, target), target)

    def _change_attribute(
        self, tagged: TaggedCaption, random: Random, occurrence: Occurrence, target: str
    ) -> CaptionEdit | None:
        described = _find_noun(tagged, occurrence)
        if described is None:
            return None
        reference = _read_form(tagged, occurrence).lower()
        after = _splice(tagged.caption, occurrence, target)
        before, after, reference, target = self._swap_sometimes((tagged.caption, after, reference, target), random)
        template = random.choice(TEMPLATES[ATTRIBUTE])
        noun = _read_form(tagged, described).lower()
        return CaptionEdit(
            ATTRIBUTE, before, after, template.format(reference=reference, target=target, noun=noun), target
        )

    def _add(self, tagged: TaggedCaption, random: Random, _: Occurrence, new: str) -> CaptionEdit:
        after = self._join_term(tagged.caption, new, random)
        return CaptionEdit(ADD, tagged.caption, after, self._word_edit(ADD, random, "", new), new)

    def _remove(self, tagged: TaggedCaption, random: Random, stays: Occurrence, gone: str) -> CaptionEdit:
        """Let what `_add` would add be there and go; the keyword is a term that stays."""
        before = self._join_term(tagged.caption, gone, random)
        keyword = _read_form(tagged, stays).lower()
        return CaptionEdit(REMOVE, before, tagged.caption, self._word_edit(REMOVE, random, gone, ""), keyword)

    def _join_term(self, caption: str, term: str, random: Random) -> str:
        """Return the caption with another thing in it, before its closing marks."""
        body = caption.rstrip(" .,;:!?")
        return body + random.choice(_JOINTS).format(self._make_phrase(term)) + caption[len(body) :]

    def _draw_change(self, tagged: TaggedCaption, random: Random, *, adjective: bool) -> tuple[Occurrence, str] | None:
        """Return a term of the caption and a replacement that the caption does not contain yet."""
        fitting = [it for it in tagged.occurrences if (it.form == ADJECTIVE) == adjective]
        if not fitting:
            return None
        occurrence = random.choice(fitting)
        target = self._replacements.draw(_read_form(tagged, occurrence).lower(), random)
        words = set(_WORD.findall(tagged.caption.lower()))
        return None if target is None or not words.isdisjoint(target.split()) else (occurrence, target)

    def _swap_sometimes(self, pair: tuple[str, str, str, str], random: Random) -> tuple[str, str, str, str]:
        before, after, reference, target = pair
        return (after, before, target, reference) if random.random() < self._params.swapped_share else pair

    def _word_edit(self, relation: str, random: Random, reference: str, target: str) -> str:
        return random.choice(TEMPLATES[relation]).format(
            reference=self._make_phrase(reference), target=self._make_phrase(target), reference_bare=reference
        )

    def _make_phrase(self, term: str) -> str:
        """Return the term with the article it needs: "a dog", but "snow" and "boats"."""
        return f"{choose_article(term)} {term}" if self._replacements.forms.get(term) == ONE else term


def _read_form(tagged: TaggedCaption, it: Occurrence) -> str:
    return tagged.caption[it.start : it.end]


def _find_noun(tagged: TaggedCaption, adjective: Occurrence) -> Occurrence | None:
    """Return the term that an adjective stands before, with at most a word between them."""
    for it in tagged.occurrences:
        if it.start > adjective.end and it.form != ADJECTIVE:
            return it if _ADJACENT.fullmatch(tagged.caption, adjective.end, it.start) else None
    return None


def _splice(caption: str, it: Occurrence, term: str) -> str:
    """Return the caption with another term at `it`: the article before it follows, a capital at the start stays."""
    before, after = caption[: it.start], caption[it.end :]
    found = _ARTICLE_BEFORE.search(before)
    if found:
        fitting = choose_article(term)
        before = before[: found.start()] + (fitting.capitalize() if found[1][0].isupper() else fitting) + " "
    elif not before and caption[0].isupper():
        term = term[0].upper() + term[1:]
    return before + term + after
