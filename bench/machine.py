"""Processes under measurement: started on one core, read through /proc; everything else runs on the other.

CPU is the process's own clock (nanoseconds, all threads, those that ended too), summed over the process tree.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

CORES = sorted(os.sched_getaffinity(0))
PROXY_CORE, LOAD_CORE = CORES[0], CORES[-1]
_CLOCK_OF_PROCESS = 2  # CPUCLOCK_SCHED in the kernel's clock ids


class Failed(Exception):
    """A system did not do what it is measured for; the run ends."""


def free_port() -> int:
    """A port where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def program(name: str) -> str:
    """The command `name`, from this virtual environment or the system."""
    for folder in (Path(sys.executable).parent, *map(Path, ("/usr/sbin", "/usr/bin", "/usr/local/bin"))):
        if os.access(folder / name, os.X_OK):
            return str(folder / name)
    raise Failed(f"{name} is not installed")


class Process:
    """One system and its children; `with Process(...) as process:` ends them all."""

    def __init__(
        self, command: Sequence[str], *, log: Path, core: int, environ: Mapping[str, str] | None = None
    ) -> None:
        self.log = log
        self.started = time.monotonic()
        with log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - commands are made here
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, **(environ or {})},
                preexec_fn=lambda: os.sched_setaffinity(0, {core}),  # noqa: PLW1509 - no threads here
            )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def until(self, holds: Callable[[], bool], within: float = 20.0) -> float:
        """Poll until it holds; the seconds since the start."""
        while not holds():
            if self._process.poll() is not None or time.monotonic() - self.started > within:
                raise Failed(f"{self.log.stem} did not start:\n{self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.002)
        return time.monotonic() - self.started

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def stop(self) -> None:
        """SIGTERM, and after 10 s SIGKILL to all."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()

    def tree(self) -> list[int]:
        """Its process and the children of it."""
        pids, at = [self.pid], 0
        while at < len(pids):
            for task in Path(f"/proc/{pids[at]}/task").glob("*/children"):
                pids += map(int, task.read_text().split())
            at += 1
        return pids

    def cpu(self) -> float:
        """Seconds of CPU used so far."""
        return sum(time.clock_gettime((~pid << 3) | _CLOCK_OF_PROCESS) for pid in self.tree())

    def kernel(self) -> float:
        """Seconds of it in the kernel, in ticks of 10 ms."""
        ticks = sum(int(_stat(pid)[12]) for pid in self.tree())
        return ticks / os.sysconf("SC_CLK_TCK")

    def rss(self) -> float:
        """MiB of memory in use, shared pages of libraries and of the program included."""
        return sum(_field(pid, "VmRSS") for pid in self.tree()) / 1024

    def reset_peak(self) -> None:
        """Let the peak begin at what is in use now."""
        for pid in self.tree():
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def peak(self) -> float:
        """MiB in use at most since `reset_peak`."""
        return sum(_field(pid, "VmHWM") for pid in self.tree()) / 1024


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _field(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    return 0


def describe() -> str:
    """The machine in one line, for the report."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        "unknown processor",
    )
    kernel = os.uname().release
    python = ".".join(map(str, sys.version_info[:3]))
    return f"{model}, {len(CORES)} cores, Linux {kernel}, CPython {python}"
