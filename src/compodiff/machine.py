"""What this machine is, and how it locks: the one module for what Linux and macOS answer in different ways.

Every question has a portable answer beside the one that only Linux gives; psutil is imported where it is asked, so that
this module can be imported, and says what it can, where the installation is incomplete.
"""

import errno
import os
import platform
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path
from typing import Protocol

CPUINFO = Path("/proc/cpuinfo")
PCI = Path("/sys/bus/pci/devices")
CGROUP = Path("/sys/fs/cgroup")  # of a container: what it may use of the machine

# What /proc/cpuinfo (x86, Arm) and sysctl (Apple) call hardware that multiplies bfloat16.
_BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16", "bf16", "feat_bf16"})
_NVIDIA, _DISPLAY = "0x10de", "0x03"  # as PCI numbers makers and kinds of devices
_APPLE = "hw.optional.arm."
_NO_FOLDER_LOCKS = (errno.EBADF, errno.EINVAL, errno.EISDIR, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)
LOCK_FILE = ".compodiff.lock"
_NETWORKS = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "afpfs", "webdav", "ceph", "lustre", "fuse.sshfs", "fuse.rclone")
)


class _Opened(Protocol):
    def fileno(self) -> int: ...


@dataclass(frozen=True)
class Processor:
    """The processor: its name, who made it, and its features in small letters (`avx2`, `avx512_bf16`, ...)."""

    name: str
    vendor: str
    features: frozenset[str]

    @property
    def multiplies_bfloat16(self) -> bool:
        """Whether it says that it multiplies bfloat16 in hardware."""
        return bool(self.features & _BFLOAT16)


@dataclass(frozen=True)
class Memory:
    """Bytes of memory that this process may use, and those of them that are free."""

    total: int
    available: int


def count_usable_cores() -> int:
    """Return how many cores this process may use: of its affinity, and no more than its container is given."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota, _, period = _read(CGROUP / "cpu.max").partition(" ")
    if quota.isdecimal() and period.strip().isdecimal():
        return max(1, min(cores, ceil(int(quota) / int(period))))
    return cores


def has_nvidia_gpu() -> bool:
    """Return whether an NVIDIA GPU is plugged in, with a driver or without; where the system does not say, no."""
    return any(
        _read(device / "vendor") == _NVIDIA and _read(device / "class").startswith(_DISPLAY) for device in PCI.glob("*")
    )


def is_alive(pid: int) -> bool:
    """Return whether a process of this id runs; one that has ended and was not yet collected (a zombie) does not."""
    import psutil

    try:
        return bool(psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD))
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # it is somebody else's
        return True


def lower_priority() -> None:
    """Let all other work go before that of this thread, where the system gives threads priorities of their own."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


def read_memory() -> Memory:
    """Return the memory of this machine, or of the container that this process runs in."""
    import psutil

    found = psutil.virtual_memory()
    limit, used = _read(CGROUP / "memory.max"), _read(CGROUP / "memory.current")
    if not (limit.isdecimal() and used.isdecimal() and int(limit) < found.total):
        return Memory(found.total, found.available)
    return Memory(int(limit), min(found.available, int(limit) - int(used)))


def read_peak_memory() -> int:
    """Return the most bytes of memory that this process has had."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


def can_write(folder: Path) -> bool:
    """Return whether a file can be made in `folder`: rights do not tell, on a read-only disk or for the superuser."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def is_on_network(folder: Path) -> bool:
    """Return whether another machine may delete files in `folder`: to read one that is mapped then ends a process."""
    import psutil

    real = os.path.realpath(folder)
    holding = [
        each for each in psutil.disk_partitions(all=True) if f"{real}/".startswith(f"{each.mountpoint.rstrip('/')}/")
    ]
    # Of two at one place, the later one is seen.
    return bool(holding) and max(reversed(holding), key=lambda each: len(each.mountpoint)).fstype in _NETWORKS


@cache
def read_processor() -> Processor:
    """Return what the operating system says about the processor."""
    if CPUINFO.is_file():
        fields = _parse_first_processor(CPUINFO.read_text(encoding="utf-8", errors="replace"))
        words = fields.get("flags") or fields.get("Features") or ""
        return Processor(_name_on_linux(fields), fields.get("vendor_id", ""), frozenset(words.lower().split()))
    answers = _read_sysctl()
    name = answers.get("machdep.cpu.brand_string") or platform.processor() or platform.machine()
    on_intel = " ".join(answers.get(f"machdep.cpu.{each}", "") for each in ("features", "leaf7_features"))
    on_arm = {
        key.removeprefix(_APPLE).lower() for key, value in answers.items() if key.startswith(_APPLE) and value == "1"
    }
    return Processor(name, answers.get("machdep.cpu.vendor", ""), frozenset(on_intel.lower().split()) | on_arm)


def lock_file(file: _Opened, *, wait: bool) -> None:
    """Lock an open file for this process alone, until it is closed; `wait` for another process that holds it.

    Raises:
        BlockingIOError: another process holds it, and `wait` is False.
    """
    import fcntl

    fcntl.flock(file.fileno(), fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process alone while the block runs; nothing is written into it where it can be locked.

    A file system that locks files only (NFS, for one) gets a small file in the folder, which stays there.

    Raises:
        BlockingIOError: another process holds it.
        OSError: it cannot be opened.
    """
    try:
        descriptor = _lock_opened(folder, os.O_RDONLY)
    except OSError as error:
        if error.errno not in _NO_FOLDER_LOCKS:
            raise
        descriptor = _lock_opened(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT)
    try:
        yield
    finally:
        os.close(descriptor)


def _lock_opened(path: Path, flags: int) -> int:
    """Open and lock `path` without waiting; return its descriptor."""
    import fcntl

    descriptor = os.open(path, flags, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _read(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(encoding="utf-8").strip()
    return ""


def _parse_first_processor(cpuinfo: str) -> dict[str, str]:
    """Return the fields of the first processor in /proc/cpuinfo, and those that stand once for all."""
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    return fields


def _name_on_linux(fields: Mapping[str, str]) -> str:
    if "model name" not in fields:  # Arm has numbers instead
        return platform.processor() or platform.machine()
    return f"{fields['model name']} (family {fields.get('cpu family', '?')}, model {fields.get('model', '?')})"


def _read_sysctl() -> dict[str, str]:
    """Return what macOS says about its processor; elsewhere nothing."""
    command = ["sysctl", "machdep.cpu", "hw.optional"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10).stdout
    except (OSError, subprocess.TimeoutExpired):
        return {}
    lines = (line.partition(": ") for line in answer.splitlines())
    return {name: value.strip() for name, _, value in lines}
