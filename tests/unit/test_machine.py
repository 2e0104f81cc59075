"""Every answer about the machine, once as Linux gives it and once where the platform gives no such answer."""

import errno
import fcntl
import os
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from compodiff import machine

AMD = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 17
model name\t: AMD EPYC
flags\t\t: fpu avx2 avx512f avx512_bf16

processor\t: 1
vendor_id\t: AuthenticAMD
model name\t: another
flags\t\t: fpu
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd bf16 i8mm\nCPU part\t: 0xd40\n"
APPLE = """machdep.cpu.brand_string: Apple M2
machdep.cpu.core_count: 8
hw.optional.arm.FEAT_BF16: 1
hw.optional.arm.FEAT_SME: 0
"""
INTEL_MAC = """machdep.cpu.vendor: GenuineIntel
machdep.cpu.brand_string: Intel(R) Core(TM) i7
machdep.cpu.features: FPU SSE AVX1.0
machdep.cpu.leaf7_features: AVX2 BMI2
"""


@pytest.fixture
def container(tmp_path, monkeypatch):
    """A control group's folder, empty as on macOS or in a container without limits."""
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    return tmp_path


@pytest.fixture
def describe(tmp_path, monkeypatch):
    """Let /proc/cpuinfo, or sysctl where there is none, say `text`."""

    def say(text, *, linux):
        monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
        if linux:
            machine.CPUINFO.write_text(text)
        monkeypatch.setattr(machine.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=text))
        return machine.read_processor.__wrapped__()

    return say


def test_cores_are_those_of_the_affinity_or_else_all(container, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    assert machine.count_usable_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert machine.count_usable_cores() == 8
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert machine.count_usable_cores() == 1


@pytest.mark.parametrize(
    ("limit", "cores"), [("150000 100000", 2), ("10000 100000", 1), ("max 100000", 8), ("900000 100000", 8), ("", 8)]
)
def test_a_container_is_given_no_more_cores_than_its_quota(container, monkeypatch, limit, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    (container / "cpu.max").write_text(f"{limit}\n")
    assert machine.count_usable_cores() == cores


def test_memory_is_the_machines_or_the_containers(container):
    everything = psutil.virtual_memory().total
    found = machine.read_memory()
    assert found.total == everything
    assert 0 < found.available <= everything
    (container / "memory.max").write_text(f"{everything // 4}\n")
    (container / "memory.current").write_text(f"{everything // 4 - 5}\n")
    assert machine.read_memory() == machine.Memory(everything // 4, 5)
    (container / "memory.max").write_text("max\n")
    assert machine.read_memory().total == everything


def test_a_process_is_alive_until_it_has_ended():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert machine.is_alive(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, not yet collected
        assert not machine.is_alive(process.pid)
    assert not machine.is_alive(process.pid)


def test_somebody_elses_process_is_alive(monkeypatch):
    def refuse(pid):
        raise psutil.AccessDenied(pid)

    monkeypatch.setattr(psutil, "Process", refuse)
    assert machine.is_alive(1)


def test_the_processor_on_linux(describe):
    amd = describe(AMD, linux=True)
    assert (amd.name, amd.vendor) == ("AMD EPYC (family 25, model 17)", "AuthenticAMD")
    assert "avx2" in amd.features
    assert amd.multiplies_bfloat16
    assert not describe(AMD.replace(" avx512_bf16", ""), linux=True).multiplies_bfloat16
    assert describe(ARM, linux=True).multiplies_bfloat16


def test_the_processor_on_macos(describe):
    apple = describe(APPLE, linux=False)
    assert apple.name == "Apple M2"
    assert apple.multiplies_bfloat16
    assert "feat_sme" not in apple.features
    intel = describe(INTEL_MAC, linux=False)
    assert intel.vendor == "GenuineIntel"
    assert {"avx2", "avx1.0"} <= intel.features
    assert not intel.multiplies_bfloat16


def test_a_system_that_says_nothing_about_its_processor(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setenv("PATH", str(tmp_path))  # no sysctl there
    found = machine.read_processor.__wrapped__()
    assert found.name
    assert not found.multiplies_bfloat16


HOLD = """
import sys
from pathlib import Path
from compodiff import machine
try:
    with machine.lock_folder(Path(sys.argv[1])):
        print("held", flush=True)
except BlockingIOError:
    print("busy", flush=True)
"""


def another_process(folder: Path) -> str:
    return subprocess.run([sys.executable, "-c", HOLD, folder], capture_output=True, text=True, check=True).stdout


def test_a_folder_is_held_by_one_process_and_nothing_is_left_in_it(tmp_path):
    with machine.lock_folder(tmp_path):
        assert another_process(tmp_path) == "busy\n"
    assert another_process(tmp_path) == "held\n"
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_that_locks_no_folders_locks_a_file_in_it(tmp_path, monkeypatch):
    flock = fcntl.flock

    def refuse_folders(descriptor, operation):
        if os.path.isdir(descriptor):
            raise OSError(errno.EBADF, "Bad file descriptor")
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", refuse_folders)
    with machine.lock_folder(tmp_path), pytest.raises(BlockingIOError), machine.lock_folder(tmp_path):
        pass
    with machine.lock_folder(tmp_path):
        pass


def test_an_open_file_is_locked_until_it_is_closed(tmp_path):
    with (tmp_path / "lock").open("w") as first, (tmp_path / "lock").open("w") as second:
        machine.lock_file(first, wait=True)
        with pytest.raises(BlockingIOError):
            machine.lock_file(second, wait=False)
        first.close()
        machine.lock_file(second, wait=False)


def test_whether_a_folder_can_be_written_is_tried_and_leaves_nothing(tmp_path):
    assert machine.can_write(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert not machine.can_write(tmp_path / "gone")
    assert not machine.can_write(Path("/proc"))


def test_the_peak_of_memory_is_in_bytes_whatever_the_system_counts_in(monkeypatch):
    in_use = psutil.Process().memory_info().rss
    assert in_use / 2 < machine.read_peak_memory() < in_use * 20
    monkeypatch.setattr(resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=7000))
    monkeypatch.setattr(sys, "platform", "linux")
    assert machine.read_peak_memory() == 7000 * 1024
    monkeypatch.setattr(sys, "platform", "darwin")
    assert machine.read_peak_memory() == 7000


def test_the_innermost_file_system_says_whether_a_folder_is_on_a_network(tmp_path, monkeypatch):
    nas = tmp_path / "nas"
    places = (("/", "nfs4"), (tmp_path, "ext4"), (nas, "autofs"), (nas, "cifs"))
    mounted = [SimpleNamespace(mountpoint=str(place), fstype=kind) for place, kind in places]
    monkeypatch.setattr("psutil.disk_partitions", lambda all: mounted)
    here = [tmp_path, tmp_path / "nasty", nas, nas / "photos", Path("/")]
    assert [machine.is_on_network(folder) for folder in here] == [False, False, True, True, True]
