"""The findings as a person, or a program, reads them."""

import json
import textwrap
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from compodiff.doctor import examine
from compodiff.doctor.finding import MachineFinding

_MARKS = {"well": " ", "note": "-", "fault": "!"}
_NAME_WIDTH, _WIDTH = 13, 120


def write_report(project: Path, write: Callable[[str], object], *, as_json: bool, calibrate: bool) -> int:
    """Write the findings about `project`, as text each as it is made; return 1 where one is a fault, else 0."""
    found = []
    for finding in examine(project, calibrate=calibrate):
        found.append(finding)
        if not as_json:
            write(_format_finding(finding))
    faults = [each.name for each in found if each.state == "fault"]
    if as_json:
        write(json.dumps({"faults": faults, "findings": [asdict(each) for each in found]}, indent=2) + "\n")
    else:
        write(f"\nto mend: {', '.join(faults)}\n" if faults else "\nnothing to mend\n")
    return 1 if faults else 0


def _format_finding(finding: MachineFinding) -> str:
    """Return one finding: its mark (! for a fault, - for a note), its name, the answer, and below it the way out."""
    blank = " " * (_NAME_WIDTH + 2)
    head = f"{_MARKS[finding.state]} {finding.name:<{_NAME_WIDTH}}"
    lines = textwrap.wrap(finding.text, _WIDTH - len(blank), break_long_words=False, break_on_hyphens=False) or [""]
    lines += [f"-> {finding.remedy}"] if finding.remedy else []
    return head + f"\n{blank}".join(lines) + "\n"
