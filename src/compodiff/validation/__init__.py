"""What triplets must be before a model is trained on them: a Great Expectations suite over their manifest.

Expectations on rows tolerate a fraction: what fails them is quarantined and the pipeline goes on with the rest. Beyond
the fraction, and for faults that only an error of the program explains (columns, keys, test concepts), the suite fails.
"""

from compodiff.validation.evidence import add_evidence
from compodiff.validation.suite import MANIFEST, has_schema
from compodiff.validation.verdict import Verdict, validate_triplets

__all__ = ["MANIFEST", "Verdict", "add_evidence", "has_schema", "validate_triplets"]
