"""What the doctor says: one finding a question."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

State = Literal["well", "note", "fault"]


@dataclass(frozen=True)
class MachineFinding:
    """The answer to one question about this machine.

    Attributes:
        name: what was asked, in a word or two.
        state: `well`; `note` where something works less well than it could; `fault` where something fails.
        text: the answer.
        remedy: what to do, where there is something to do.
    """

    name: str
    state: State
    text: str
    remedy: str = ""


Answer = tuple[State, str] | tuple[State, str, str]
Question = Callable[[], Answer]


def ask(name: str, question: Question, *, if_incomplete: str = "") -> MachineFinding:
    """Return the answer; a question that cannot be answered says so.

    `if_incomplete` is the way out where that is because a part of the installation is missing.
    """
    try:
        return MachineFinding(name, *question())
    except Exception as error:
        reason = " ".join(str(error).split()) or "no reason given"
        return MachineFinding(
            name,
            "fault",
            f"cannot be told: {type(error).__name__}: {reason[:200]}",
            if_incomplete if isinstance(error, ImportError) else "",
        )
