"""The shell blocks of README.md and the tutorials, in the order of a first hour, and what cannot be run of them."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", *(f"docs/tutorials/{name}.md" for name in (
    "search-my-pictures", "evaluate-my-model", "train-on-my-data", "operate-it")))  # fmt: skip
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_PROGRAMS = ("compodiff", "make", "mkdir", "dvc", "prefect", "export", "source", "curl", "python", "pip")

# Begins of commands that are not run, and why. A begin that no page has fails the test.
LEFT_OUT = {
    "make test": "would run this test within itself",
    "pip install 'compodiff-": "tests/e2e/test_release.py installs the wheel",
    "compodiff demo": "the wheel carries its model; tests/e2e/test_release.py serves it",
    "compodiff get siglip2-b16": "needs the network",
    "compodiff adapt --encoder siglip2-b16": "needs those weights",
    "compodiff import FOLDER": "FOLDER is the reader's",
    "compodiff finetune --set mine": "after the import of FOLDER",
    "compodiff benchmark doctor fashioniq": "the data set is the reader's",
    "compodiff benchmark score cirr": "the data set is the reader's",
    "compodiff benchmark doctor cirr": "the data set is the reader's",
    "compodiff benchmark run cirr": "the data set is the reader's",
    "compodiff benchmark submit cirr": "the data set is the reader's",
    "compodiff inspect artifacts/sets/mine": "rates by hand; tests/e2e/test_sheet.py does it in a browser",
    "dvc repro validate@mine": "tests/e2e/test_own_domain.py does it",
    "source .venv/bin/activate": "every command is run with its path",
}
# Begins of commands that run until they are stopped.
SERVERS = ("compodiff serve", "compodiff index add ~/Pictures --watch", "prefect server start", "prefect worker start")


# What a newcomer is told, and why.
REFUSED = {"compodiff rollback": "compodiff has no previous champion to go back to"}


@dataclass(frozen=True)
class Step:
    """One command of a page, without its comment."""

    page: str
    command: str

    @property
    def is_server(self) -> bool:
        """Whether it runs until it is stopped."""
        return self.command.startswith(SERVERS)

    @property
    def why_left_out(self) -> str:
        """Why it is not run, or ""."""
        return next((why for begin, why in LEFT_OUT.items() if self.command.startswith(begin)), "")


def list_steps(page: str) -> list[Step]:
    """Return the commands of a page's shell blocks, in order; a block that begins with no command shows something.

    A block of Python is a step as well.
    """
    text = (ROOT / page).read_text(encoding="utf-8").replace("\\\n", " ")
    steps: list[Step] = []
    for kind, block in _BLOCK.findall(text):
        if kind == "python":
            steps.append(Step(page, f"python -c {shlex.quote(block)}"))
        elif kind in ("", "sh") and block.startswith(_PROGRAMS):
            lines = (re.sub(r"\s+#\s.*", "", line).strip() for line in block.splitlines())
            steps += [Step(page, line) for line in lines if line]
    return steps
