"""Texts that say nothing: empty, or of spaces and characters that nobody sees, of which an encoder makes no token."""


def is_blank(text: str | None) -> bool:
    """Return whether a text has no character that can be seen."""
    return not text or not any(character.isprintable() and not character.isspace() for character in text)
