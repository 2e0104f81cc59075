"""Parsers of foreign bytes, small examples of what they read, and a process that feeds one of them mutated examples.

Run: python -m worlds.fuzzing PARSER SECONDS SEED FOLDER (in tests/). Every reading must end in a value or an error of
ours: anything else raised, more than ten processor seconds, two minutes, 2 GB more of memory, a crash, or a
file that appears beside what may be written is a fault, whose input stays in FOLDER as FILE~DIGEST.
"""

import hashlib
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from compodiff.errors import CompoDiffError

OUT = "out"  # the one folder that a reading may write, in the folder of its example
_LIMITS = {signal.ITIMER_PROF: 10, signal.ITIMER_REAL: 120}  # of one reading: processor seconds, seconds
_BYTES = 2 << 30
_MOST_FAULTS = 5
# fmt: off
_ODD = (b"\0", b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"-1", b"1e999", b"NaN", b"null", b'"', b"{",
        b"[" * 999, b"]", b"..", b"../../x", b"/etc/passwd", b"\xed\xa0\x80", b"\n", b",", b":", b"%s", b"9" * 400)
# fmt: on


@dataclass(frozen=True)
class Parser:
    """What reads the files of a folder; `make` writes an example into it, `mutated` names which of its files change."""

    make: Callable[[Path], None]
    read: Callable[[Path], object]
    mutated: tuple[str, ...] = ("*",)


def mutate(content: bytes, other: bytes, rng: random.Random) -> bytes:
    """Change a few places of `content`: bits, odd values, pieces that go, come twice or come from another file."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at, size = rng.randrange(len(changed) + 1), rng.choice((1, 2, 4, 8, 64, 512))
        kind = rng.randrange(7)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[at : at + size] = rng.randbytes(size)
        elif kind == 2:
            odd = rng.choice(_ODD)
            changed[at : at + rng.choice((0, len(odd)))] = odd
        elif kind == 3:
            del changed[at : at + size]
        elif kind == 4:
            changed[at:at] = changed[at : at + size]
        elif kind == 5 and rng.random() < 0.3:
            del changed[at:]
        elif kind == 6 and other:
            start = rng.randrange(len(other))
            changed[at : at + size] = other[start : start + size]
    return bytes(changed)


def run(parser: Parser, folder: Path) -> str:
    """Read what is in `folder`; return what is wrong with how that ended, or ""."""
    before = _list_outside(folder)
    try:
        with _limit_time():
            parser.read(folder)
    except CompoDiffError as error:
        if "\n" in str(error):
            return f"an error of several lines: {error}"
    except BaseException:
        return traceback.format_exc()
    if written := _list_outside(folder) ^ before:
        return f"written outside: {sorted(written)}"
    return ""


def _list_outside(folder: Path) -> set[str]:
    """Return the files of the sandbox, less those that a reading may write."""
    paths = (path.relative_to(folder.parent) for path in folder.parent.rglob("*"))
    return {str(path) for path in paths if path.parts[:2] != (folder.name, OUT)}


def feed(parser: Parser, seconds: float, seed: int, found: Path) -> int:
    """Read mutated examples for `seconds`; put those that end in a fault into `found`. Returns how many were read."""
    rng = random.Random(seed)
    found.mkdir(parents=True, exist_ok=True)
    sandbox = found / "sandbox"
    shutil.rmtree(sandbox, ignore_errors=True)
    whole, folder = sandbox / "whole", sandbox / "read" / "given"
    whole.mkdir(parents=True)
    parser.make(whole)
    files = sorted(path for pattern in parser.mutated for path in whole.rglob(pattern) if path.is_file())
    soft = _measure_memory() + _BYTES
    resource.setrlimit(resource.RLIMIT_AS, (soft, resource.RLIM_INFINITY))
    until, read, faults = time.monotonic() + seconds, 0, set[str]()
    while time.monotonic() < until and len(faults) < _MOST_FAULTS:
        shutil.rmtree(folder.parent, ignore_errors=True)
        shutil.copytree(whole, folder)
        chosen = rng.choice(files)
        content = mutate(chosen.read_bytes(), rng.choice(files).read_bytes(), rng)
        (folder / chosen.relative_to(whole)).write_bytes(content)
        kept = found / f"{chosen.relative_to(whole)}~{hashlib.sha256(content).hexdigest()[:12]}".replace("/", "+")
        kept.write_bytes(content)  # before it is read, which may end this process
        fault = run(parser, folder)
        read += 1
        where = "".join(fault.splitlines()[-3:])[:300]  # the line that raised, and what
        if fault and where not in faults:
            faults.add(where)
            kept.with_name(f"{kept.name}.txt").write_text(fault)
        else:
            kept.unlink()
    shutil.rmtree(sandbox)
    return read


def replay(parser: Parser, stored: Path, folder: Path) -> str:
    """Read the example with one file as it was stored (FILE~DIGEST); return what is wrong, or ""."""
    folder.mkdir(parents=True)
    parser.make(folder)
    name = stored.name.rpartition("~")[0].replace("+", "/")
    (folder / name).write_bytes(stored.read_bytes())
    return run(parser, folder)


@contextmanager
def _limit_time() -> Iterator[None]:
    """Stop the block when its time is up; timers and handlers, such as those of pytest, are as before afterwards."""
    handlers = [(number, signal.signal(number, _stop_reading)) for number in (signal.SIGPROF, signal.SIGALRM)]
    timers = [(timer, signal.setitimer(timer, seconds)) for timer, seconds in _LIMITS.items()]
    try:
        yield
    finally:
        for timer, (left, _) in timers:
            signal.setitimer(timer, left)
        for number, handler in handlers:
            signal.signal(number, handler)


class _Late(BaseException):
    """No error of the system's, which a parser may take for a fault of its file."""


def _stop_reading(number: int, _frame: object) -> None:
    raise _Late(f"{signal.Signals(number).name}: not read within {sorted(_LIMITS.values())} s")


def _measure_memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Feed the parser that the arguments name."""
    from worlds.foreign_parsers import PARSERS

    parsers: Mapping[str, Parser] = PARSERS
    name, seconds, seed, folder = sys.argv[1:]
    read = feed(parsers[name], float(seconds), int(seed), Path(folder))
    sys.stdout.write(f"{read}\n")


if __name__ == "__main__":
    main()
