"""What a person should know about an answer that is right but may surprise: one line each."""

from compodiff.model.sampling.guidance import list_branches
from compodiff.model.sampling.query import SamplerOptions
from compodiff.search.query import Query
from compodiff.search.reranking import can_be_shown


def explain_negative(query: Query, options: SamplerOptions) -> str | None:
    """Say that the negative text has no effect, where it has none.

    It stands in for the empty text, so it counts only where the guidance uses the empty text at all.
    """
    if not query.negative_text:
        return None
    if query.mode != "composed":
        return f"the negative text has no effect in the mode {query.mode}; take the mode composed"
    has_image = query.reference is not None
    used = list_branches(w_image=options.w_image, w_text=options.w_text, has_text=True, has_image=has_image)
    if not all(branch.text for branch in used):
        return None
    dials = f"w_image {options.w_image:g} and w_text {options.w_text:g}" if has_image else f"w_text {options.w_text:g}"
    return f"the negative text has no effect at {dials}; raise w_text, for instance to {options.w_text + 1:g}"


def explain_nothing(query: Query, pictures: int, findable: int) -> str:
    """Say why no picture was found among `pictures`, of which the filter lets `findable` through."""
    if not findable:
        return f"none of the {pictures} pictures fits the filter {query.where!r}; loosen it"
    those = "pictures that fit the filter" if query.where else "pictures of the index"
    return f"all {findable} {those} are the reference, look the same as it, or are excluded; nothing is left to find"


def explain_unseen(query: Query | None) -> str | None:
    """Say that the reranker did not look at an answer, where it could not."""
    if query is None or can_be_shown(query):
        return None
    return "the reranker looks at pictures, and the reference is an embedding; the order is that of the embeddings"


def explain_guess(best: float, least: float) -> str:
    """Say that an answer is a guess: its best cosine, and that which words without meaning reach."""
    return f"nothing close; these are the nearest ({best:.2f}, and words without meaning reach {least:.2f} here)"
