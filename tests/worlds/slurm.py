"""A queue of jobs that answers to Slurm's commands as far as submitit gives them: `install_slurm(FOLDER)`.

One job runs at a time, as processes of this machine in a group of their own; what it says goes where `srun` is told.
sbatch starts a process that is the job's `slurmd`: it waits for its turn, runs the script, and again where requeued.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = ("sbatch", "srun", "sacct", "scancel", "scontrol")


def install_slurm(folder: Path) -> dict[str, str]:
    """Put the commands into `folder`/bin; return the environment in which they are found."""
    (folder / "bin").mkdir(parents=True)
    (folder / "jobs").mkdir()
    for name in COMMANDS:
        command = folder / "bin" / name
        command.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {name} "$@"\n')
        command.chmod(0o755)
    return {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "QUEUE": str(folder / "jobs")}


def sbatch(script: str) -> None:
    queue = Path(os.environ["QUEUE"])
    number = str(time.time_ns() // 10**6)  # submitit remembers how a number ended, whatever the queue
    write(number, "state", "PENDING")
    (queue / f"{number}.sh").write_text(Path(script).read_text())
    quiet = {name: subprocess.DEVNULL for name in ("stdin", "stdout", "stderr")}
    subprocess.Popen([sys.executable, __file__, "slurmd", number], start_new_session=True, **quiet)  # type: ignore[call-overload]
    sys.stdout.write(f"Submitted batch job {number}\n")


def slurmd(number: str) -> None:
    """Run a job when no other runs, until it is not requeued any more."""
    queue = Path(os.environ["QUEUE"])
    while read(number, "state") == "PENDING":
        if any(path.read_text() == "RUNNING" for path in queue.glob("*.state")):
            time.sleep(0.1)
            continue
        write(number, "state", "RUNNING")
        node = {"SLURM_JOB_ID": number, "SLURM_JOB_NODELIST": "localhost", "SLURM_JOB_NUM_NODES": "1"}
        process = subprocess.Popen(["bash", queue / f"{number}.sh"], env=os.environ | node, start_new_session=True)
        write(number, "pid", str(process.pid))
        code = process.wait()
        if read(number, "state") == "RUNNING":
            write(number, "state", "FAILED" if code else "COMPLETED")


def srun(*arguments: str) -> None:
    output = arguments[arguments.index("--output") + 1].replace("%j", os.environ["SLURM_JOB_ID"]).replace("%t", "0")
    command = arguments[arguments.index("-u") - 1 :]  # Python, as submitit starts it
    with open(output, "ab") as file:
        sys.exit(subprocess.run(command, stdout=file, stderr=file, check=False).returncode)


def sacct(*arguments: str) -> None:
    sys.stdout.write("JobID|State|NodeList\n")
    for at, each in enumerate(arguments):
        number = arguments[at + 1] if each == "-j" else ""
        if (Path(os.environ["QUEUE"]) / f"{number}.state").exists():
            sys.stdout.write(f"{number}|{read(number, 'state')}|localhost\n")


def scancel(number: str) -> None:
    was = read(number, "state")
    write(number, "state", "CANCELLED")
    if was == "RUNNING":
        tell(number, signal.SIGTERM)


def scontrol(_requeue: str, number: str) -> None:
    write(number, "state", "PENDING")


def tell(number: str, what: signal.Signals) -> None:
    """Send a signal to Python in the job, as Slurm does to a step's tasks."""
    import psutil

    for each in psutil.Process(int(read(number, "pid"))).children(recursive=True):
        if each.cmdline()[1:4] == ["-u", "-m", "submitit.core._submit"]:
            each.send_signal(what)


def read(number: str, what: str) -> str:
    return (Path(os.environ["QUEUE"]) / f"{number}.{what}").read_text()


def write(number: str, what: str, text: str) -> None:
    path = Path(os.environ["QUEUE"]) / f"{number}.{what}"
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").replace(path)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
