"""Relative captions for sets that have none: what changed between the two captions, put into one of our templates."""

from dataclasses import dataclass
from random import Random

from compodiff.synthesis.templates import ADD, REMOVE, REPLACE, TEMPLATES

REWRITTEN = "rewritten"  # the captions share too little for a term to be told
_ARTICLES = ("a", "an", "the")
_JOINTS = ("with", "and", "next", "to", "beside", "near", "in", "on")
_LONGEST_TERM = 4  # words
_WHOLE = ("now {target}", "show {target} instead", "it should be {target}", "make it {target}", "rather {target}")


@dataclass(frozen=True)
class Change:
    """How two captions differ: the term that went and the one that came, "" for none, and what kind of change it is."""

    relation: str
    reference: str
    target: str


def change_between(reference_caption: str, target_caption: str) -> Change:
    """Find the words that differ; `rewritten` with both whole captions where these are more than a term."""
    before, after = reference_caption.rstrip(" .").split(), target_caption.rstrip(" .").split()
    first = 0
    while first < min(len(before), len(after)) and before[first].lower() == after[first].lower():
        first += 1
    last = 0
    while last < min(len(before), len(after)) - first and before[-1 - last].lower() == after[-1 - last].lower():
        last += 1
    shared = first + last
    gone, come = before[first : len(before) - last], after[first : len(after) - last]
    if shared == 0 or max(len(gone), len(come)) > _LONGEST_TERM or not gone + come:
        return Change(REWRITTEN, " ".join(before), " ".join(after))
    if first and before[first - 1].lower() in _ARTICLES and gone and come:
        gone, come = [before[first - 1].lower(), *gone], [after[first - 1].lower(), *come]
    if not gone or not come:
        return Change(REMOVE if gone else ADD, _term(gone), _term(come))
    return Change(REPLACE, " ".join(gone), " ".join(come))


def worded(change: Change, random: Random) -> str:
    """Ask for the change in one of our templates."""
    if change.relation == REWRITTEN:
        return random.choice(_WHOLE).format(target=change.target)
    return random.choice(TEMPLATES[change.relation]).format(
        reference=change.reference, target=change.target, reference_bare=bare(change.reference)
    )


def bare(term: str) -> str:
    """The term without its article."""
    first, _, rest = term.partition(" ")
    return rest if first in _ARTICLES and rest else term


def _term(words: list[str]) -> str:
    """The words that were added or taken away, without what joined them to the rest."""
    while len(words) > 1 and words[0].lower() in _JOINTS:
        words = words[1:]
    # "a dog and | a | cat": the article of what follows may have been taken for that of what came before.
    if len(words) > 1 and words[-1].lower() in _ARTICLES:
        words = [words[-1], *words[:-1]]
    return " ".join(words)
