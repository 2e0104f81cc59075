"""Which split a caption belongs to."""

FRACTIONS = 1 << 32


def split_of(digest: int, validation_fraction: float) -> str:
    """Train or validation, by the digest of a caption alone: all its pairs, of any seed and path, are in the same."""
    return "validation" if (digest % FRACTIONS) / FRACTIONS < validation_fraction else "train"
