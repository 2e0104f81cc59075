"""Cases of how a model must behave, in a file that its users extend: the second gate of promotion."""
