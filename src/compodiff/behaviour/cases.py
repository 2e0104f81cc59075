"""The file of cases, such as behaviour.yaml: each asks the model over its own gallery, and says what must come of it.

- `minimum`: a query must find a picture among its first k. No champion may fail it.
- `invariance`: wordings of one change must rank mostly the same pictures first.
- `direction`: a text must move the answer towards a picture: nearer to it than to `past`, which is the reference where
  none is named, and more so than the reference is.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from compodiff.errors import InputInvalid
from compodiff.params import Section
from compodiff.params.strict_yaml import parse_yaml
from compodiff.storage.names import make_printable

_PictureId = Annotated[str, Field(min_length=1)]
_Text = Annotated[str, Field(min_length=1)]


class _NamedCase(Section):
    """What every case says."""

    name: str = Field(min_length=1, description="what people read where it fails")
    reference: _PictureId = Field(description="a picture of the gallery")


class MinimumCase(_NamedCase):
    """A query that must find a picture."""

    kind: Literal["minimum"]
    text: _Text = Field(description="the relative caption")
    finds: _PictureId
    k: int = Field(ge=1, le=1000, description="among so many first answers")


class InvarianceCase(_NamedCase):
    """Wordings of one change."""

    kind: Literal["invariance"]
    texts: list[_Text] = Field(min_length=2, description="the first is compared with each of the others")
    k: int = Field(ge=1, le=1000, description="first answers of each")
    overlap: float = Field(gt=0, le=1, description="share of the first answers that must be the same")


class DirectionCase(_NamedCase):
    """A text that moves the answer."""

    kind: Literal["direction"]
    text: _Text = Field(description="the relative caption")
    towards: _PictureId
    past: _PictureId | None = Field(default=None, description="null: the reference")


Case = MinimumCase | InvarianceCase | DirectionCase
_CASES: TypeAdapter[list[Case]] = TypeAdapter(list[Annotated[Case, Field(discriminator="kind")]])


def read_cases(path: Path) -> list[Case]:
    """Read a file of cases: a list in YAML, of at least one.

    Raises:
        InputInvalid: it is missing or not YAML, or a case lacks a key, has an unknown one, or the name of another.
    """
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
        cases = _CASES.validate_python(content)
    except FileNotFoundError as error:
        raise InputInvalid(f"{path} is not there; params.yaml names it as promotion.behaviour (null: none)") from error
    except ValidationError as error:  # which is a ValueError
        raise InputInvalid(
            f"{path}: {'; '.join(_describe_fault(fault['loc'], fault['msg']) for fault in error.errors()[:5])}"
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # also bytes that are no text, or a date that is none
        raise InputInvalid(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    names = [case.name for case in cases]
    if twice := [name for place, name in enumerate(names) if name in names[:place]]:
        raise InputInvalid(f"{path} has two cases of the name {twice[0]!r}; give each its own")
    return cases


def _describe_fault(place: Sequence[int | str], said: str) -> str:
    """Return what is wrong with the file in one line: the case by its place from 1 on, the key, the reason."""
    if not place:
        return f"{said} of cases"
    return make_printable(f"case {int(place[0]) + 1}{''.join(f', {each}' for each in place[1:])}: {said}")
