"""One start of one system, and what is measured on it in every round: CPU, latency, memory, streaming, start-up."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.load import Address, Load, Result, once, quantile, request
from bench.machine import PROXY_CORE, Failed, Process, free_port
from bench.origin import Around
from bench.systems import Setup, System

CONNECTIONS = 32
RATE = 500  # requests a second in the open loop
STREAMS = 4  # connections that stream 1 MiB bodies
IDLE = 1_000  # connections that do nothing
DELIVERED = 0.99  # share of its spans that a system must deliver
Metrics = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Seconds of each load."""

    warm: float
    closed: float
    large: float
    open: float
    special: float
    watch: float  # of 1,000 idle connections


FULL = Lengths(warm=0.7, closed=2.0, large=1.0, open=3.0, special=1.0, watch=1.0)
QUICK = Lengths(warm=0.2, closed=0.6, large=0.3, open=1.0, special=0.4, watch=0.3)


class Running:
    """A system that serves, with what was sent through it."""

    def __init__(self, process: Process, address: Address, startup: float) -> None:
        self.process = process
        self.address = address
        self.startup = startup
        self.sent = 1  # the one that found it ready

    def closed(self, requests: Sequence[bytes], seconds: float, connections: int = CONNECTIONS) -> tuple[Result, float]:
        """Saturate it; CPU in microseconds for each request."""
        with Load(self.address, requests, connections) as load:
            return self._measured(lambda: load.closed(seconds))

    def open(self, requests: Sequence[bytes], rate: float, seconds: float) -> tuple[Result, float]:
        """Send at a fixed rate; CPU in microseconds for each request."""
        with Load(self.address, requests, CONNECTIONS) as load:
            return self._measured(lambda: load.open(rate, seconds))

    def _measured(self, run: Callable[[], Result]) -> tuple[Result, float]:
        before = self.process.cpu()
        result = run()
        used = self.process.cpu() - before
        self.sent += result.requests
        if result.errors:
            raise Failed(f"{self.process.log.stem}: {result.errors} of {result.requests} answers were not 200")
        return result, used / max(result.requests, 1) * 1e6


@contextmanager
def running(system: System, around: Around, *, probe: bytes = b"", **changes: object) -> Iterator[Running]:
    """Start it, wait until it answers, and in the end stop it and count its spans."""
    folder = Path(tempfile.mkdtemp(prefix=f"{system.key}-", dir=around.folder))
    port = free_port()
    setup = replace(Setup(around=around, port=port, folder=folder, endpoints=[("127.0.0.1", around.origin)]), **changes)
    launch = system.launch(setup)
    before = around.spans()
    address = ("127.0.0.1", port)
    probe = probe or request("/200" if setup.routes == 1 else "/r0/200", close=True)
    log = around.folder / f"{system.key}.log"
    with Process(launch.command, log=log, core=PROXY_CORE, environ=launch.environ) as process:
        served = Running(process, address, process.until(lambda: once(address, probe)))
        yield served
    if system.spans:
        _delivered(system, around, served.sent * system.spans, before)
    shutil.rmtree(folder)


def _delivered(system: System, around: Around, due: int, before: int) -> None:
    """What a system says it traces must have come, or its figures mean nothing."""
    deadline = time.monotonic() + 10
    while (came := around.spans() - before) < due * DELIVERED:
        if time.monotonic() > deadline:
            raise Failed(f"{system.label} delivered {came} of {due} spans")
        time.sleep(0.05)


def core(system: System, around: Around, lengths: Lengths) -> Metrics:
    """What every system is measured for in every round."""
    small, medium, large = ([request(f"/{size}")] for size in ("200", "10k", "1m"))
    with running(system, around) as served:
        process = served.process
        time.sleep(0.2)
        metrics = {"startup": served.startup * 1e3, "rss_idle": process.rss()}
        served.closed(small, lengths.warm)
        metrics |= _growth(served)  # before larger loads have grown the heap
        result, metrics["cpu_200"] = served.closed(small, lengths.closed)
        metrics["rate_200"] = result.requests / result.elapsed
        _, metrics["cpu_10k"] = served.closed(medium, lengths.large)
        _, metrics["cpu_1m"] = served.closed(large, lengths.large, STREAMS)
        metrics["rss_after"] = process.rss()
        result, metrics["cpu_500"] = served.open(small, RATE, lengths.open)
        metrics |= {name: result.quantile(share) for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))}
        metrics["late_p99"] = quantile(result.late, 0.99) * 1e6
        _, metrics["cpu_10k_500"] = served.open(medium, RATE, lengths.large)
        _, metrics["cpu_1m_50"] = served.open(large, RATE / 10, lengths.large)
        metrics |= _idle(served, lengths.watch)
        return metrics


def direct(around: Around, lengths: Lengths) -> Metrics:
    """The origin without a proxy: what is subtracted from latencies, and the proof that it is not the bottleneck."""
    small = [request("/200")]
    address = ("127.0.0.1", around.origin)
    with Load(address, small, CONNECTIONS) as load:
        saturated = load.closed(lengths.closed)
        result = load.open(RATE, lengths.open)
    metrics = {name: result.quantile(share) for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))}
    return {
        **metrics,
        "rate_200": saturated.requests / saturated.elapsed,
        "late_p99": quantile(result.late, 0.99) * 1e6,
    }


def _growth(served: Running) -> Metrics:
    """MiB that the process grows by while 100 MiB pass."""
    served.process.reset_peak()
    before = served.process.rss()
    served.closed([request("/100m")], 0.0, connections=1)
    return {"growth_100m": max(0.0, served.process.peak() - before)}


def _idle(served: Running, seconds: float) -> Metrics:
    """What 1,000 connections cost that have served one request each and now wait."""
    before = served.process.rss()
    with Load(served.address, [request()], IDLE) as load:
        served.sent += load.closed(0.0).requests
        memory = (served.process.rss() - before) * 1024 / IDLE
        cpu = served.process.cpu()
        time.sleep(seconds)
        used = served.process.cpu() - cpu
    return {"idle_kib": memory, "idle_cpu": used / seconds * 1e3}
