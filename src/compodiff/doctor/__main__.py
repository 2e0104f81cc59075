"""The doctor where nothing may be installed: python -m compodiff.doctor [--json] [--quick]."""

import argparse
import sys
from pathlib import Path

from compodiff.doctor import write_report


def main() -> int:
    """Print the findings; return 1 where one is a fault."""
    parser = argparse.ArgumentParser(prog="compodiff doctor", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quick", action="store_true", help="do not measure how long make run will take")
    asked = parser.parse_args()
    return write_report(Path.cwd(), sys.stdout.write, as_json=asked.json, calibrate=not asked.quick)


if __name__ == "__main__":
    sys.exit(main())
