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
from compodiff.project import find_params_file

_MARKS = {"well": " ", "note": "-", "fault": "!"}
_NAME_WIDTH, _WIDTH = 13, 120


def examine(project: Path | None, *, calibrate: bool = True) -> Iterator[MachineFinding]:
    """Yield the findings about this machine and the project at `project`, each as it is made.

    More is asked of a checkout, which `make` installs by constraints.txt; outside any project (None), of the package.
    To `calibrate` is to measure for some seconds how long `make run` will take in a checkout.
    """
    checkout = project if project is not None and (project / "constraints.txt").is_file() else None
    again = installation.REMEDY if checkout is None else "run: rm -f .venv/.installed && make"
    ask_here = partial(ask, if_incomplete=again)
    yield ask_here("Python", installation.judge_python)
    if checkout is not None:
        yield ask_here("installation", partial(installation.judge_last_attempt, checkout))
    yield ask_here("packages", partial(installation.judge_packages, checkout, again))
    yield ask_here("project", partial(installation.judge_project, project, is_checkout=checkout is not None))
    yield ask_here("home", installation.judge_home)
    yield ask_here("proxy", installation.judge_proxy)
    yield ask_here("compiler", installation.judge_compiler)
    yield ask_here("processor", hardware.judge_processor)
    yield ask_here("threads", hardware.judge_threads)
    yield ask_here("memory", hardware.judge_memory)
    yield ask_here("disk", partial(hardware.judge_disk, project or Path.home()))
    yield ask_here("GPU", hardware.judge_gpu)
    params = project / "params.yaml" if project is not None else find_params_file()
    yield ask_here("precision", partial(hardware.judge_precision, params))
    yield ask_here("weights", partial(installation.judge_weights, again))
    if project is not None:
        yield ask_here("champion", partial(installation.judge_champion, project))
    if checkout is not None and calibrate:
        yield ask_here("make run", partial(estimate_run, checkout))


def write_report(project: Path | None, write: Callable[[str], object], *, as_json: bool, calibrate: bool) -> int:
    """Write the findings of `examine`, as text each as it is made; return 1 where one is a fault, else 0."""
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
