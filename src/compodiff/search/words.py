"""Words of a query against what people wrote of the pictures: names, folders, captions and columns of the index.

Case, accents, plurals, `_`, `-` and camelCase make no difference, nor whether two words are written as one.
"""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from math import log

import pandas as pd

from compodiff.index.index import GROUP

_HUMP = re.compile(r"(?<=[^\W\d_])(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])")
# Chinese and Japanese have no spaces: each character is a word.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|(?:(?![\u3040-\u30ff\u3400-\u9fff])[^\W\d_])+|\d+")
_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe"})
_EMPTY = frozenset(
    ("a", "an", "and", "are", "as", "at", "be", "by", "for", "from", "image", "in", "is", "it", "its", "my", "of", "on",
     "or", "photo", "photograph", "photos", "picture", "pictures", "the", "this", "to", "with")
)  # fmt: skip
_IRREGULAR = {
    "children": "child", "feet": "foot", "geese": "goose", "men": "man", "mice": "mouse", "oxen": "ox",
    "people": "person", "teeth": "tooth", "women": "woman",
}  # fmt: skip
_ENDINGS = (("ies", "y"), ("ves", "f"), ("ves", "fe"), ("es", ""), ("s", ""))
_NAME, _FOLDER, _CAPTION = "name", "folder", "caption"
_PLACE_OF = {
    _NAME: 1.0,
    "title": 0.9,
    "keywords": 0.9,
    _CAPTION: 0.8,
    "description": 0.8,
}  # how much a word counts in each; elsewhere _ELSEWHERE
_ELSEWHERE = 0.6
_OTHER_FORM, _JOINED = 0.9, 0.9  # how much a word counts that is not written quite so
_BEGUN = 0.1  # a word that only begins so; less than what any whole word counts
_BEGUN_SHARE = 0.5
_LENGTH, _LONGEST = 0.05, 20  # by which each further word of a name makes one of them count less, up to so many
_LEAST_BEGUN = 3  # letters of a word that is still being typed
# What no person wrote of one picture. Every photograph of a telephone is by "Apple", and half of all are "landscape".
_NOT_WRITTEN = frozenset(
    ("picture_id", "path", "offset", "length", "sha256", "split", GROUP, "camera", "lens", "zone", "orientation")
)


@dataclass(frozen=True)
class WordMatch:
    """What is written of a picture fits the words of a query.

    Attributes:
        score: how well; 0 for not at all.
        share: of the words, by how rare they are, in (0, 1].
        places: where they stand: "name", "folder", "caption" or a column.
    """

    score: float
    share: float
    places: tuple[str, ...]


class WrittenWords:
    """The words that are written of the pictures of one index; read when they are first asked for."""

    def __init__(self, pictures: pd.DataFrame) -> None:
        """Take the pictures' table; its order is that of the rows that are found."""
        self._pictures = pictures

    def find(self, text: str) -> dict[int, WordMatch]:
        """Return the rows of the pictures of which any word of `text` is written, and how well they fit."""
        words = split_words(text)
        words = [word for word in words if word not in _EMPTY] or words
        found = [self._find_word(words, place) for place in range(len(words))]
        rareness = [log(1 + len(self._pictures) / max(len(rows), 0.5)) for rows in found]
        scores: dict[int, list[float]] = {}
        places: dict[int, list[str]] = {}
        for rows, rare in zip(found, rareness, strict=True):
            for row, (weight, place) in rows.items():
                both = scores.setdefault(row, [0.0, 0.0])
                both[0] += rare * weight
                both[1] += rare / sum(rareness) * (1.0 if weight > _BEGUN else _BEGUN_SHARE)
                places.setdefault(row, []).append(place)
        return {
            row: WordMatch(round(score, 6), min(share, 1.0), tuple(dict.fromkeys(places[row])))
            for row, (score, share) in scores.items()
        }

    def _find_word(self, words: Sequence[str], place: int) -> Mapping[int, tuple[float, str]]:
        """Return the rows that have the word at `place`, with how much it counts there and where it stands."""
        word = words[place]
        asked = {word: 1.0} | {form: _OTHER_FORM for form in list_singulars(word)}
        asked |= {first + second: _JOINED for first, second in pairwise(words[max(place - 1, 0) : place + 2])}
        if place == len(words) - 1 and not any(form in self._postings for form in asked):
            asked |= {longer: _BEGUN for longer in self._list_longer(word)}
        rows: dict[int, tuple[float, str]] = {}
        for form, share in asked.items():
            for row, (weight, where) in self._postings.get(form, {}).items():
                rows[row] = max(rows.get(row, (0.0, "")), (share * weight, where))
        return rows

    def _list_longer(self, word: str) -> Iterator[str]:
        """Yield the written words that begin with `word`, where it has letters enough."""
        if len(word) < _LEAST_BEGUN:
            return
        for known in self._vocabulary[bisect_left(self._vocabulary, word) :]:
            if not known.startswith(word):
                return
            yield known

    @cached_property
    def _vocabulary(self) -> list[str]:
        return sorted(self._postings)

    @cached_property
    def _postings(self) -> dict[str, dict[int, tuple[float, str]]]:
        """Map each word to the rows it is written of, with how much it counts there and where it stands."""
        postings: dict[str, dict[int, tuple[float, str]]] = {}
        for place, texts in _list_columns(self._pictures):
            known: dict[str, dict[str, tuple[float, str]]] = {}
            for row, text in enumerate(texts):
                if not text:
                    continue
                if text not in known:
                    known[text] = _weigh_words(text, place)
                for word, entry in known[text].items():
                    postings.setdefault(word, {}).setdefault(row, entry)
        return postings


def split_words(text: str) -> list[str]:
    """Return the words of a text or of a name, in small letters and without accents."""
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text)
        text = "".join(each for each in text if unicodedata.category(each) != "Mn")
    return _WORD.findall(_HUMP.sub(" ", text).casefold().translate(_LETTERS))


@lru_cache(10_000)
def list_singulars(word: str) -> list[str]:
    """Return what an English plural may be the plural of; a few words too many do no harm."""
    if word in _IRREGULAR:
        return [_IRREGULAR[word]]
    if len(word) <= _LEAST_BEGUN or word.endswith("ss"):
        return []
    return [word.removesuffix(plural) + single for plural, single in _ENDINGS if word.endswith(plural)]


def _list_columns(pictures: pd.DataFrame) -> Iterator[tuple[str, list[str]]]:
    """Yield where words may stand, where they count most first, and what is written of each picture; "" for nothing."""
    for column in sorted(pictures.columns, key=lambda name: -_PLACE_OF.get(name, _ELSEWHERE)):
        values = pictures[column]
        is_text = pd.api.types.is_string_dtype(values)
        if column in _NOT_WRITTEN or not (is_text or values.dtype == object):
            continue
        texts = values.fillna("").tolist()
        if values.dtype == object:
            texts = [_join_text(value) for value in texts]
        if column == _NAME:  # a file is named by its path from the folder, whose parts stand in a column of their own
            paths = pictures["path"].tolist()
            texts = [_find_stem(text) if text == path else text for text, path in zip(texts, paths, strict=True)]
        yield str(column), texts


def _join_text(value: object) -> str:
    if isinstance(value, str):
        return value
    is_list = hasattr(value, "__iter__") and not isinstance(value, bytes)
    return " ".join(each for each in value if isinstance(each, str)) if is_list else ""  # type: ignore[attr-defined]


def _find_stem(path: str) -> str:
    name = path.rpartition("/")[2]
    return name.rpartition(".")[0] or name


def _weigh_words(text: str, place: str) -> dict[str, tuple[float, str]]:
    """Return each word of a text, its singulars and its neighbours as one word, with how much it counts."""
    words = split_words(text)
    weight = _PLACE_OF.get(place, _ELSEWHERE) / (1 + _LENGTH * min(len(words) - 1, _LONGEST))
    weighed = {first + second: (_JOINED * weight, place) for first, second in pairwise(words)}
    weighed |= {form: (_OTHER_FORM * weight, place) for word in words for form in list_singulars(word)}
    return weighed | {word: (weight, place) for word in words}
