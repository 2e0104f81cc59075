"""`compodiff doctor`: this machine, what is installed, what is wrong with it, and what `make run` will take here.

It is asked when something is broken. So it imports nothing but the standard library by itself, each question is
guarded, and `python -m compodiff.doctor` (`make doctor`) needs no installation at all.
"""

import json
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

from compodiff.doctor import hardware, installation
from compodiff.doctor.duration import estimate_run
from compodiff.doctor.finding import MachineFinding, ask

_MARKS = {"well": " ", "note": "-", "fault": "!"}
_NAME_WIDTH, _WIDTH = 13, 120


def examine(project: Path, *, calibrate: bool = True) -> Iterator[MachineFinding]:
    """Yield the findings about this machine and the project at `project`, each as it is made.

    To `calibrate` is to measure for some seconds how long `make run` will take.
    """
    yield ask("Python", installation.judge_python)
    yield ask("installation", partial(installation.judge_last_attempt, project))
    yield ask("packages", partial(installation.judge_packages, project))
    yield ask("project", partial(installation.judge_project, project))
    yield ask("home", installation.judge_home)
    yield ask("proxy", installation.judge_proxy)
    yield ask("compiler", installation.judge_compiler)
    yield ask("processor", hardware.judge_processor)
    yield ask("threads", hardware.judge_threads)
    yield ask("memory", hardware.judge_memory)
    yield ask("disk", partial(hardware.judge_disk, project))
    yield ask("GPU", hardware.judge_gpu)
    yield ask("precision", partial(hardware.judge_precision, project))
    yield ask("weights", installation.judge_weights)
    yield ask("champion", partial(installation.judge_champion, project))
    if calibrate:
        yield ask("make run", partial(estimate_run, project))


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
