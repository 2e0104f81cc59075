"""CompoDiff: composed image retrieval with latent diffusion (arXiv 2303.11916).

from compodiff import Searcher

searcher = Searcher.load("models:/compodiff@champion", index="Pictures")
for hit in searcher.search("Pictures/cat.jpg", "sleeping", negative="dog"):
print(hit.score, hit.path)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compodiff.searcher import Blend, Found, Ranking, Searcher

__version__ = "0.1.0"
__all__ = ["Blend", "Found", "Ranking", "Searcher", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the library when it is first asked for: torch takes seconds, and the command line should not."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from compodiff import searcher

    return getattr(searcher, name)
