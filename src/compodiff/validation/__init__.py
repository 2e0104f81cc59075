"""Great Expectations over the rows of sets: what holds is trained on, what does not is quarantined with the reason."""

from compodiff.validation.pages import write_pages
from compodiff.validation.rows import HeldOut, Judged, shorten_digests
from compodiff.validation.verdict import Verdict, validate_rows
from compodiff.validation.writing import write_verdicts

__all__ = ["HeldOut", "Judged", "Verdict", "shorten_digests", "validate_rows", "write_pages", "write_verdicts"]
