"""`compodiff doctor`: this machine, what is installed, what is wrong with it, and what `make run` will take here.

It is asked when something is broken. So it imports nothing but the standard library by itself, each question is
guarded, and `python -m compodiff.doctor` (`make doctor`) needs no installation at all.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from compodiff.doctor import hardware, installation
from compodiff.doctor.duration import estimate_run
from compodiff.doctor.finding import MachineFinding, ask


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
