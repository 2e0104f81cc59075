"""A team's month in minutes: real servers, schedules, clients and faults from a seed. Needs what the tests need.

Run: .venv/bin/python infra/soak.py --minutes 60 --seed 1. A failure is had again by its seed: the faults, in their
order, come from it; what they meet depends on the machine. As root, on Linux, with PostgreSQL and faketime, all kinds
of faults are done; elsewhere those that can be. Ends with 1 where something was violated.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> int:
    """Run the soak and print what it found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a new folder for project and logs, which stays (logs beside disk/)")
    asked = parser.parse_args()
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

    from conftest import SMALL_CODEPOINTS
    from worlds.soak.scenario import soak

    import flows  # noqa: F401  # its settings stand before Prefect is imported
    from compodiff.catalogue.build import build_catalogue
    from compodiff.params import DataParams

    began = time.monotonic()

    def say(line: str) -> None:
        sys.stdout.write(f"[{time.monotonic() - began:6.0f}] {line}\n")
        sys.stdout.flush()

    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "data"
        small = DataParams(seed=17, picture_size=64, train_fraction=0.5, validation_fraction=0.25)
        build_catalogue(data, small, codepoints=SMALL_CODEPOINTS)
        folder = asked.keep or Path(temporary) / "team"
        report = soak(data, folder, seed=asked.seed, seconds=60 * asked.minutes, say=say)
    say(str(report))
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
