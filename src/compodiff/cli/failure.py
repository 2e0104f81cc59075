"""What the command line says when a command ends in an error: one line, whatever the error is."""

import contextlib
import os
import sys
import tempfile
import time
import traceback
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from compodiff.cli.output import echo
from compodiff.errors import CompoDiffError, ResourceUnavailable
from compodiff.storage.names import make_printable

_FAULT = 70  # of the program; sysexits.h calls it EX_SOFTWARE
_REPORTS = "the project's issue tracker"


def report_error(error: Exception) -> int:
    """Print one line about an error on stderr; return the exit code that goes with it.

    What nobody foresaw is a fault of the program: its traceback is kept in a file, which the line names.
    """
    if isinstance(error, CompoDiffError):
        _say(str(error))
        return error.exit_code
    if isinstance(error, ModuleNotFoundError) and (error.name or "compodiff").partition(".")[0] != "compodiff":
        way_out = "make (make doctor says what else is missing)"
        if error.name == "faiss":  # an extra, as there is one for the processor and one for a GPU
            way_out = "pip install 'compodiff[cpu]', or [gpu]; in a clone: make"
        _say(f"{error.name} is not installed; run: {way_out}")
        return ResourceUnavailable.exit_code
    if isinstance(error, OSError) and error.errno is not None:
        named = (error.filename, error.filename2)
        names = " to ".join(os.fsdecode(name) for name in named if isinstance(name, str | bytes))
        _say(f"{names}{': ' if names else ''}{error.strerror}")
        return ResourceUnavailable.exit_code
    where = _keep_traceback(error)
    said = " ".join(str(error).split())[:200]
    _say(
        f"a fault of this program: {type(error).__name__}{': ' if said else ''}{said}; "
        f"please report it with {where or 'its traceback'} to {_find_tracker()}"
    )
    if where is None:
        traceback.print_exception(error)
    return _FAULT


def close_output() -> None:
    """Write out what stdout still holds; a reader that has gone (`| head`) is no error."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes again when it ends, and would complain.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads stderr any more
        echo(f"compodiff: {text}", err=True)


def _keep_traceback(error: Exception) -> Path | None:
    """Return the file that the traceback was written to; None where no place can be written."""
    content = "".join(
        (f"{sys.version}\n{[make_printable(each) for each in sys.argv]}\n", *traceback.format_exception(error))
    )
    for folder in (_find_state_folder(), Path(tempfile.gettempdir())):
        path = folder / f"traceback-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8", errors="backslashreplace")
        except OSError:
            continue
        return path
    return None


def _find_state_folder() -> Path:
    """Return where programs keep what a person may look for later, as the XDG base directories say."""
    chosen = os.environ.get("XDG_STATE_HOME", "")
    return (Path(chosen) if os.path.isabs(chosen) else Path(os.path.expanduser("~/.local/state"))) / "compodiff"


def _find_tracker() -> str:
    """Return where the package says that faults are reported."""
    try:
        urls = metadata("compodiff").get_all("Project-URL") or []
    except PackageNotFoundError:
        return _REPORTS
    known = dict(each.split(", ", 1) for each in urls if ", " in each)
    labels = ("issues", "bug tracker", "tracker")
    return next((url for label, url in known.items() if label.lower() in labels), _REPORTS)
