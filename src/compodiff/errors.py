"""What can go wrong, in the user's words.

Every message is one line that names the value at fault and the way out. `cli.main` prints it and exits with
`exit_code`.
"""


class CompoDiffError(Exception):
    """The root of every error a user can cause or mend."""

    exit_code = 1


class InputInvalid(CompoDiffError):
    """A picture, text, folder, file or number that was handed in cannot be used."""

    exit_code = 1


class ParamsInvalid(CompoDiffError):
    """params.yaml has an unknown, missing or ill-typed key."""

    exit_code = 2


class DataRejected(CompoDiffError):
    """The synthesized data failed an expectation of its validation suite."""

    exit_code = 3


class EncoderMismatch(CompoDiffError):
    """Vectors made with one encoder meet a model or index made with another."""

    exit_code = 4


class IndexMismatch(CompoDiffError):
    """An index does not fit the model or the pictures it is used with."""

    exit_code = 4


class CheckpointMismatch(CompoDiffError):
    """Weights do not fit the network they are loaded into."""

    exit_code = 4


class PromotionRefused(CompoDiffError):
    """The challenger did not pass the gate of params.yaml."""

    exit_code = 5


class ResourceUnavailable(CompoDiffError):
    """Disk, network, memory or a server that is needed is not there."""

    exit_code = 6


class TrainingStopped(CompoDiffError):
    """A training was told to stop and has its checkpoint: run again, it goes on from there."""

    exit_code = 75  # sysexits.h calls it EX_TEMPFAIL: try again later


class ProcessFailed(CompoDiffError):
    """A process that did the work of this one ended with an error; it said which."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
