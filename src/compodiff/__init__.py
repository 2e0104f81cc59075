"""CompoDiff: composed image retrieval with latent diffusion (arXiv 2303.11916).

Show a picture, say what should be different, and get the pictures that fit best. In a project after `make run`:

    >>> from compodiff import Searcher
    >>> searcher = Searcher.load("artifacts")
    >>> ranking = searcher.search("\N{LARGE RED CIRCLE}", "make it blue", k=3)
    >>> [hit.rank for hit in ranking]
    [1, 2, 3]
    >>> ranking[0].path.is_file()
    True

`Searcher.load()` takes the champion of the registry; `index="Pictures"` searches a folder of your own after
`compodiff index build Pictures`. Errors that you can mend are children of `compodiff.errors.CompoDiffError`.
"""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compodiff.search.searcher import Blend, Hit, Query, Ranking, Searcher

__version__ = "0.2.0"  # the only place; pyproject.toml and `compodiff --version` read it
__all__ = ["Blend", "Hit", "Query", "Ranking", "Searcher", "__version__"]

# Before any library is imported that would fetch or call home: `compodiff get` and `push` alone use the network.
for _name in ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"):
    os.environ.setdefault(_name, "1")


def __getattr__(name: str) -> Any:
    """Import the library when it is first asked for: torch takes seconds, and the command line should not."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from compodiff.search import searcher

    return getattr(searcher, name)
