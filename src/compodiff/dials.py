"""The one table of what a query may set by a number: name, type, range, meaning, default.

The shell's options, the fields of the API's form, MLflow's schema and the ranges of params.yaml are made from it.
"""

from dataclasses import dataclass
from math import inf

from compodiff.errors import InputInvalid


@dataclass(frozen=True)
class Dial:
    """One number of a query.

    Attributes:
        name: in Python, in params.yaml and in MLflow.
        type: int or float.
        help: what it does, as the end of a sentence.
        least: the smallest value.
        most: the largest value.
        most_served: the largest value that one request to a server may ask for.
        default: None where the model's own counts (section `sampling` of its card).
        option: its short name at the shell, without dashes, and in a form; "" where it is the name.
    """

    name: str
    type: type[int] | type[float]
    help: str
    least: float = 0
    most: float = inf
    most_served: float = inf
    default: float | None = None
    option: str = ""

    @property
    def range(self) -> str:
        """Its range in words."""
        return f"{self.least} or more" if self.most == inf else f"{self.least} to {self.most}"

    def require(self, value: float | None) -> None:
        """Check a value; None leaves it to the model.

        Raises:
            InputInvalid: it is out of range, or no number.
        """
        if value is not None and not self.least <= value <= self.most:
            wanted = self.range if self.most == inf else f"a number from {self.range}"
            raise InputInvalid(f"{self.name} is {value}; take {wanted}")


_MOST_WEIGHT = 1_000_000
_LARGEST_SEED = 2**63 - 1

DIALS = {
    dial.name: dial
    for dial in (
        Dial("w_image", float, "how much the reference counts", most=_MOST_WEIGHT, most_served=100),
        Dial("w_text", float, "how much the text counts", most=_MOST_WEIGHT, most_served=100),
        Dial("num_inference_steps", int, "network calls", least=1, most_served=200, option="steps"),
        Dial("draws", int, "answers that are averaged", least=1, most_served=16),
        Dial("reference_mixing", float, "share of the reference's own embedding in the answer", most=1),
        Dial("seed", int, "of the noise", most=_LARGEST_SEED),
        Dial("k", int, "how many pictures", least=1, most_served=1_000, default=10),
        Dial("w_names", float, "how much names and captions count in a search by words alone", most=100, default=1.0),
        Dial("subtract_weight", float, "share of the answer's length that `subtract` takes off", most=1, default=0.5),
    )
}
