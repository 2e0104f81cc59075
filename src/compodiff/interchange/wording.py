"""Relative captions for sets that have none: what changed between the two captions, put into one of our templates."""

import re
from dataclasses import dataclass
from random import Random

from compodiff.language.templates import ADD, ATTRIBUTE, REMOVE, REPLACE, TEMPLATES
from compodiff.language.terms import ATTRIBUTE as ADJECTIVE
from compodiff.language.terms import TaggedCaption

REWRITTEN = "rewritten"  # the captions share too little for a term to be told
_ARTICLES = ("a", "an", "the")
_JOINTS = ("with", "and", "next", "to", "beside", "near", "in", "on")
_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "several", "many", "some")
_LONGEST_TERM = 4  # words
_WHOLE = ("now {target}", "show {target} instead", "it should be {target}", "make it {target}", "rather {target}")


@dataclass(frozen=True)
class WordingChange:
    """How two captions differ.

    Attributes:
        relation: what kind of change it is.
        reference: the term that went, "" for none.
        target: the term that came, "" for none.
        noun: what the terms describe, where they are adjectives.
    """

    relation: str
    reference: str
    target: str
    noun: str = ""


def find_change(before: TaggedCaption, after: TaggedCaption) -> WordingChange:
    """Find the words that differ; `rewritten` with both whole captions where these make no term."""
    gone, come = _find_differing(_Words(before), _Words(after))
    whole = WordingChange(REWRITTEN, gone.whole, come.whole)
    noun = come.noun_after
    if gone.is_attribute and come.is_attribute and noun and noun == gone.noun_after:
        return WordingChange(ATTRIBUTE, gone.text, come.text, noun)
    if not gone.is_closed or not come.is_closed:  # "red" of "red dog", "coffee" of "coffee table", "two" of "two dogs"
        gone, come = gone.to_noun, come.to_noun
    if len(gone) == len(gone.words) or max(len(gone), len(come)) > _LONGEST_TERM or not len(gone) + len(come):
        return whole
    if len(gone) and len(come):
        gone, come = gone.with_article, come.with_article
        return WordingChange(REPLACE, gone.text, come.text) if gone.is_term and come.is_term else whole
    one = (gone if len(gone) else come).without_joints
    if not one.is_term:
        return whole
    return WordingChange(REMOVE, one.text, "") if len(gone) else WordingChange(ADD, "", one.text)


def say_the_same(one: str, other: str) -> bool:
    """Whether two captions differ by nothing but articles, case and punctuation."""
    plain = ([word for word in re.findall(r"\w+", text.lower()) if word not in _ARTICLES] for text in (one, other))
    return next(plain) == next(plain)


def put_in_words(change: WordingChange, random: Random) -> str:
    """Ask for the change in one of our templates."""
    if change.relation == REWRITTEN:
        return random.choice(_WHOLE).format(target=change.target)
    return random.choice(TEMPLATES[change.relation]).format(
        reference=change.reference,
        target=change.target,
        reference_bare=strip_article(change.reference),
        noun=change.noun,
    )


def strip_article(term: str) -> str:
    """The term without its article."""
    first, _, rest = term.partition(" ")
    return rest if first in _ARTICLES and rest else term


class _Words:
    """A caption as words, each with what it is: "noun", "attribute", "number", "article" or ""."""

    def __init__(self, tagged: TaggedCaption) -> None:
        text = tagged.caption.rstrip(" .")
        self.words = [found.group() for found in re.finditer(r"\S+", text)]
        self.kinds, self.ends = [], []  # whether a noun's run of words ends with this one
        for found in re.finditer(r"\S+", text):
            run = next((it for it in tagged.occurrences if it.start < found.end() and it.end > found.start()), None)
            kind = "" if run is None else "attribute" if run.form == ADJECTIVE else "noun"
            word = found.group().lower()
            self.kinds.append("article" if word in _ARTICLES else "number" if word in _NUMBERS else kind)
            self.ends.append(run is not None and run.end <= found.end())


@dataclass(frozen=True)
class _Span:
    """Words first to last (exclusive) of a caption."""

    of: _Words
    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first

    @property
    def words(self) -> list[str]:
        return self.of.words

    @property
    def kinds(self) -> list[str]:
        return self.of.kinds[self.first : self.last]

    @property
    def text(self) -> str:
        return " ".join(self.words[self.first : self.last])

    @property
    def whole(self) -> str:
        return " ".join(self.words)

    @property
    def is_attribute(self) -> bool:
        """Whether it is adjectives and nothing else."""
        return len(self) > 0 and set(self.kinds) == {"attribute"}

    @property
    def is_term(self) -> bool:
        """Whether it ends with a noun, and has nothing before it but what belongs to it."""
        return len(self) > 0 and self.kinds[-1] == "noun" and "" not in self.kinds

    @property
    def is_closed(self) -> bool:
        """Whether the noun that its last word belongs to ends with it."""
        return not len(self) or (self.kinds[-1] == "noun" and self.of.ends[self.last - 1]) or self.kinds[-1] == ""

    @property
    def noun_after(self) -> str:
        """The noun that follows at once, "" for none."""
        return " ".join(self.words[self.last : _Span(self.of, self.last, self.last)._noun_end])

    @property
    def to_noun(self) -> "_Span":
        """The same with the noun that follows at once, and the adjectives between."""
        return _Span(self.of, self.first, self._noun_end)

    @property
    def with_article(self) -> "_Span":
        """The same with the article or number right before it."""
        before = self.first > 0 and self.of.kinds[self.first - 1] in ("article", "attribute", "number")
        return _Span(self.of, self.first - 1, self.last).with_article if before else self

    @property
    def without_joints(self) -> "_Span":
        """The same without what joins it to the rest."""
        joined = len(self) > 1 and self.words[self.first].lower() in _JOINTS
        return _Span(self.of, self.first + 1, self.last).without_joints if joined else self

    @property
    def _noun_end(self) -> int:
        end, kinds = self.last, self.of.kinds
        while end < len(kinds) and kinds[end] in ("attribute", "noun"):
            end += 1
            if self.of.ends[end - 1] and kinds[end - 1] == "noun":
                return end
        return self.last


def _find_differing(before: _Words, after: _Words) -> tuple[_Span, _Span]:
    """The words of each caption between those that both begin and those that both end with."""
    one, other = ([word.lower() for word in it.words] for it in (before, after))
    first, shorter = 0, min(len(one), len(other))
    while first < shorter and one[first] == other[first]:
        first += 1
    last = 0
    while last < shorter - first and one[-1 - last] == other[-1 - last]:
        last += 1
    return _Span(before, first, len(one) - last), _Span(after, first, len(other) - last)
