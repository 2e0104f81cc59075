"""Make .venv with the pinned packages, so that one can watch it: python infra/install.py. `make` runs it.

What is there already is kept, so that an installation that was stopped or failed goes on. pip, or uv where it is
installed, shows its own progress; where it fails, one line says why and what to do. Standard library only.
"""

import os
import pty
import re
import shutil
import subprocess
import sys
import termios
import urllib.parse
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WANTED = ".[cpu,photos,postgres,s3,test]"
NEEDED_GB = 8  # measured: 7.7, of which torch with CUDA takes 5.5
ANNOUNCEMENT = """\
make: installing the pinned packages into .venv by {tool}, with Python {python}: about 3 GB to fetch, {needed} GB on
make: disk ({free:.0f} GB are free); it took 5 minutes where it was measured. A smaller torch: docs/installation.md."""
_REMEMBERED = 2**18  # bytes of the end of the output, which the cause is looked for in
_AGAIN = "then run make again: what is there is kept"

# The first that is found in the output is the cause; what pip says last is often only the consequence.
CAUSES = (
    (r"No space left|Errno 28|os error 28|Disk quota exceeded", "the disk is full ({free}); free some"),
    (
        r"ProxyError|[Cc]annot connect to proxy|Tunnel connection failed|tunnel error|proxy connect",
        "the proxy does not let the download through ({proxies}); correct it, or unset it where none is needed",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|invalid peer certificate|SSLError",
        "the network answers with a certificate that is not known; name your network's in PIP_CERT (uv: SSL_CERT_FILE)",
    ),
    (
        r"NewConnectionError|NameResolutionError|name resolution|ConnectTimeout|Read timed out|Connection reset"
        r"|Network is unreachable|dns error|error sending request|IncompleteRead",
        "the package index does not answer; look at the network, or set HTTPS_PROXY where it needs one",
    ),
    (
        r"(?:command|No such file or directory:) '[^']*(?:cc|\+\+|clang)[^']*'|Unable to find a compiler",
        "a package has to be built on this system and there is no compiler; install one (Debian, Ubuntu: sudo apt"
        " install build-essential; macOS: xcode-select --install)",
    ),
    (
        r"Read-only file system|Permission denied|Operation not permitted|not writable",
        "a file or folder may not be written ({denied}); change its rights, or copy the project to a folder of yours",
    ),
    (
        r"ResolutionImpossible|conflicting dependencies",
        "a setting of pip asks for other versions than constraints.txt; look at PIP_CONSTRAINT and: pip config list",
    ),
    (
        r"No matching distribution|Could not find a version|No solution found",
        "the package index lacks a version of constraints.txt; look at PIP_INDEX_URL and: pip config list",
    ),
)


class Refused(Exception):
    """The installation cannot go on: why, and the way out, in one line."""


def main() -> int:
    """Install and return the exit code."""
    try:
        install(ROOT)
    except Refused as error:
        _say(f"make: {error}")
        return 1
    except KeyboardInterrupt:
        _say("\nmake: the installation was stopped; make goes on from here")
        return 130
    return 0


def install(root: Path) -> None:
    """Have everything in `root`/.venv; why it failed also stands in .venv/.failed, for `make doctor`.

    Raises:
        Refused: with the cause and the way out.
    """
    folder = root / ".venv"
    try:
        make_environment(folder)
        command = installer(folder)
        free = shutil.disk_usage(root).free / 1e9
        version = ".".join(map(str, sys.version_info[:3]))
        _say(ANNOUNCEMENT.format(tool=Path(command[0]).name, python=version, needed=NEEDED_GB, free=free))
        code, output = run_watched(command, root)
        if code:
            raise Refused(explain(output, root))
        # Where there is no git (a download of the sources), DVC has to be told.
        subprocess.run([folder / "bin" / "python", "-m", "flows.processes.source_control"], cwd=root, check=True)
    except Refused as error:
        with suppress(OSError):  # the disk is full, or the folder is not ours
            (folder / ".failed").write_text(f"{error}\n", encoding="utf-8")
        raise
    (folder / ".installed").touch()  # newer than .failed, which therefore counts no more


def make_environment(folder: Path) -> None:
    """Make `folder` a virtual environment; one that is there is kept, unless its Python is gone or of another version.

    Raises:
        Refused: it cannot be written.
    """
    if _version_of(folder / "bin" / "python") == sys.version_info[:2]:
        return
    if folder.exists():
        _say(f"make: {folder} has no working Python of this version; it is made anew")
    pip = ["--without-pip"] if shutil.which("uv") else []
    command = [sys.executable, "-m", "venv", "--clear", *pip, str(folder)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise Refused(explain(made.stdout + made.stderr, folder.parent))


def installer(folder: Path) -> list[str]:
    """Return the command that installs: uv where there is one, else the environment's pip."""
    wanted = ["--constraint", "constraints.txt", "--editable", WANTED]
    python = str(folder / "bin" / "python")
    if uv := shutil.which("uv"):
        # Without compiled files each process would compile what it imports; `make check` asks pip whether all fits.
        return [uv, "pip", "install", "--python", python, "--compile-bytecode", *wanted, "pip"]
    return [python, "-m", "pip", "install", "--disable-pip-version-check", *wanted]


def run_watched(command: list[str], folder: Path) -> tuple[int, str]:
    """Run a command, show what it writes as it writes it, and return its exit code and the end of that.

    It is given a terminal where we have one: only then do pip and uv draw their progress.
    """
    on_terminal = sys.stderr.isatty()
    ours, theirs = pty.openpty() if on_terminal else os.pipe()
    if on_terminal:
        termios.tcsetwinsize(theirs, termios.tcgetwinsize(sys.stderr))
    with subprocess.Popen(command, cwd=folder, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        output = b""
        try:
            while chunk := _read(ours):
                sys.stderr.buffer.write(chunk)
                sys.stderr.buffer.flush()
                output = (output + chunk)[-_REMEMBERED:]
        except KeyboardInterrupt:
            process.terminate()  # it may have been started too late to be interrupted with us
            raise
        finally:
            os.close(ours)
    return process.returncode, output.decode(errors="replace")


def explain(output: str, root: Path) -> str:
    """Return in one line what an installer's output says went wrong, and the way out."""
    for pattern, words in CAUSES:
        if re.search(pattern, output):
            said = words.format(
                free=f"{shutil.disk_usage(root).free / 1e9:.1f} GB are free of the {NEEDED_GB} that it takes",
                proxies=", ".join(_proxies()) or "pip's configuration names it: pip config list",
                denied=_denied(output) or root,
            )
            return f"{said}, {_AGAIN}"
    return f"the installer failed, and the lines above say why; mend that, {_AGAIN}"


def _proxies() -> list[str]:
    """Return the proxies that the environment sets, without names and passwords in them."""
    names = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
    found = {name: os.environ[name] for each in names for name in (each, each.lower()) if name in os.environ}
    return [f"{name}={re.sub(r'//[^/@]*@', '//', urllib.parse.unquote(value))}" for name, value in found.items()]


def _denied(output: str) -> str:
    found = re.search(r"(?:Read-only file system|Permission denied|Operation not permitted)[^'\n]*'([^'\n]+)'", output)
    return found[1] if found else ""


def _version_of(python: Path) -> tuple[int, ...]:
    script = "import sys; print(*sys.version_info[:2])"
    try:
        found = subprocess.run([python, "-c", script], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ()
    return tuple(map(int, found.split()))


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # how Linux says that nobody writes to a terminal any more
        return b""


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
