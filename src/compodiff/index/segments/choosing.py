"""Which kind of index suits vectors: by their number, their width and the memory of this machine."""

from compodiff.index.gpus import GRAPH
from compodiff.index.segments.lists import KINDS

AUTO, FLAT = "auto", "flat"
IN_MEMORY = (FLAT, GRAPH)
EVERY_KIND = (AUTO, FLAT, *KINDS, GRAPH)
NAMED = "named by --kind"  # why it is of its kind
_SHARE = 4  # of the memory, one part is for vectors or codes: models, tables and what the system caches need the rest
_ROW_NUMBER = 8  # bytes beside each code
_NARROW = 128  # from this width on, codes of one bit find as well as those of 8 and are faster: docs/serving.md


def choose_kind(count: int, width: int, *, flat_up_to: int, memory: int) -> tuple[str, str]:
    """Return the kind that suits `count` vectors of a width, and why.

    Args:
        count: how many there are.
        width: how many float32 values each has.
        flat_up_to: as many are compared one by one fast enough (`index.flat_up_to`).
        memory: bytes that this process may use.
    """
    exact = 2 * 4 * count * width  # the vectors, and FAISS's copy while it is made
    codes = count * (width + _ROW_NUMBER)
    room = f"a quarter of the memory, {memory / _SHARE / 1e9:.3g} GB"
    if count <= flat_up_to and exact * _SHARE <= memory:
        return FLAT, (
            f"{count:,} vectors are at most index.flat_up_to ({flat_up_to:,}), "
            f"and {exact / 1e9:.3g} GB for them at most {room}"
        )
    if count > flat_up_to:
        more = f"{count:,} vectors are more than index.flat_up_to ({flat_up_to:,})"
    else:
        more = f"{exact / 1e9:.3g} GB for {count:,} vectors are more than {room}"
    if width >= _NARROW:
        return "ivf_rabitq", f"{more}; at width {width}, one bit a dimension and exact scores find enough"
    if codes * _SHARE <= memory:
        fits = f"codes of 8 bits find more, and their {codes / 1e9:.3g} GB are at most {room}"
        return "ivf_sq8", f"{more}; at width {width}, {fits}"
    return "ivf_rabitq", f"{more}; codes of 8 bits would take {codes / 1e9:.3g} GB, more than {room}"
