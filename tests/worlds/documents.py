"""The commands that the documents tell people to run, and the program's own tree of commands."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
import yaml

USAGE_ERROR: Any = typer.BadParameter.__base__
ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("infra/*/README.md"), ROOT / "mlruns" / "README.md")
)
FORMS = sorted((ROOT / ".github").rglob("*.*"))

_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_YAML = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Told:
    """A command as a document has it, without comment, and where it stands."""

    where: str
    command: str


def told_commands(path: Path, program: str) -> Iterator[Told]:
    """Yield what a document says of `program`: lines of code blocks, and code within lines."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    where = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name
    blocks = [line for block in _FENCE.findall(text) for line in block.splitlines()]
    rest = _FENCE.sub("", text)
    indented = [line for line in rest.splitlines() if line.startswith("    ")]
    for code in (*blocks, *indented, *_SPAN.findall(rest)):
        command = re.sub(r"\s#\s.*", "", code).strip()
        if command.split(" ")[0] == program:
            yield Told(where, command)


def told_values(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield what the blocks of YAML in a document give for sections of params.yaml: section, value."""
    for block in _YAML.findall(path.read_text(encoding="utf-8")):
        yield from yaml.safe_load(block).items()


def find_fault(told: str, tree: Any) -> str:
    """Return what is wrong with a command of the program: a word or an option that it does not have, or ""."""
    node, words = _find_command(told.translate(str.maketrans("[]", "  ")), tree)
    if hasattr(node, "commands") and words and not words[0].startswith("-"):
        return f"there is no command {words[0]!r}"
    options = {name for each in node.params for name in (*each.opts, *each.secondary_opts)} | {"--help"}
    given = [word.partition("=")[0] for word in words if re.match(r"--?[A-Za-z]", word)]
    return next((f"it has no option {name!r}" for name in given if name not in options), "")


def find_misuse(told: str, tree: Any) -> str:
    """Return what the program itself has against the words of a command, less what stands in brackets, or ""."""
    node, words = _find_command(re.sub(r"\[[^\]]*\]", "", told), tree)
    if not words or "--help" in words or hasattr(node, "commands"):
        return ""  # a command that is named, rather than told to be run
    try:
        node.make_context(node.name, words)
    except USAGE_ERROR as error:
        return str(error.format_message())
    return ""


def _find_command(told: str, tree: Any) -> tuple[Any, list[str]]:
    words = shlex.split(told)[1:]
    node = tree
    while words and hasattr(node, "commands") and words[0] in node.commands:
        node = node.commands[words.pop(0)]
    return node, words
