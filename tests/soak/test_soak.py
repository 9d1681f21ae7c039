"""Good, slow, aborted and hostile traffic for a while: afterwards nothing is left over, and memory is where it was.

The short form runs by default; the long one (`make soak`) takes `SECONDS` (600), half for each engine.
"""

import asyncio
import gc
import json
import os
import random
from collections import Counter
from pathlib import Path

import pytest

from tests.support.client import ask
from tests.support.process import sidecar
from tests.support.proxy import Data, eventually, reverse, running_proxy
from tests.support.traffic import mix, traffic_origin

CLIENTS = 24
SHORT = 1.2  # seconds
LONG = float(os.environ.get("SECONDS", "600"))
GROWTH = 4_096  # KiB that a process may be larger than after its warm-up
OBJECTS = 500  # that a loop may hold more than after its warm-up

ENGINES = ("aiohttp", "native")


def config(origin: str, engine: str, limit: float) -> Data:
    """Limits short enough to be met; a faulty cluster of its own, so that no good request meets an ejected endpoint."""
    limits = dict.fromkeys(("header_timeout", "keepalive_timeout", "body_timeout"), f"{limit:g}s")
    data = reverse(origin, listener={"limits": limits, "engine": engine}, cluster={"idle_timeout": "200ms"})
    data["clusters"].append({"name": "faulty", "static": {"endpoints": [origin]}, "idle_timeout": "200ms"})
    faulty = {"matches": [{"path": {"type": "PathPrefix", "value": "/faulty"}}], "backendRefs": [{"name": "faulty"}]}
    data["listeners"][0]["routes"][0]["rules"].insert(0, faulty)
    return data


@pytest.mark.parametrize("engine", ENGINES)
async def test_nothing_is_left_in_a_process_after_mixed_traffic(engine: str, tmp_path: Path) -> None:
    await _process(engine, SHORT, tmp_path)


@pytest.mark.parametrize("engine", ENGINES)
async def test_nothing_is_left_in_a_loop_after_mixed_traffic(engine: str) -> None:
    await _loop(engine, SHORT)


@pytest.mark.soak
@pytest.mark.timeout(LONG + 120)
@pytest.mark.parametrize("engine", ENGINES)
async def test_nothing_is_left_in_a_process_after_long_mixed_traffic(engine: str, tmp_path: Path) -> None:
    await _process(engine, LONG * 0.4, tmp_path)


@pytest.mark.soak
@pytest.mark.timeout(LONG + 120)
@pytest.mark.parametrize("engine", ENGINES)
async def test_nothing_is_left_in_a_loop_after_long_mixed_traffic(engine: str) -> None:
    await _loop(engine, LONG * 0.1)


async def _process(engine: str, seconds: float, folder: Path) -> None:
    rng, limit = random.Random(1), _limit(seconds)
    async with traffic_origin() as origin:
        data = config(origin, engine, limit)
        data["admin"] = {"address": f"unix:{folder}/admin"}
        file = folder / "sidecar.yaml"
        file.write_text(json.dumps(data))
        async with sidecar("run", "--config", str(file)) as process:
            done = await mix(process.address, seconds / 3, CLIENTS, rng, limit)
            await _quiet(f"unix:{folder}/admin")
            before, files = process.memory("VmRSS"), process.descriptors()
            done += await mix(process.address, seconds * 2 / 3, CLIENTS, rng, limit)
            await _quiet(f"unix:{folder}/admin")
            after = process.memory("VmRSS")
            _tell(f"{engine} process", seconds, done, f"RSS {before} -> {after} KiB, descriptors {files}")
            await eventually(lambda: process.descriptors() <= files, "file descriptors are left over")
            assert after - before < GROWTH
            assert await process.terminate() == 0
            assert process.process.stderr is not None
            said = (await process.process.stderr.read()).decode()
            assert "Traceback" not in said, said[-2000:]
            assert "ERROR" not in said, said[-2000:]


async def _loop(engine: str, seconds: float) -> None:
    rng, limit = random.Random(2), _limit(seconds)
    async with traffic_origin() as origin, running_proxy(config(origin, engine, limit)) as proxy:
        done = await mix(proxy.address, seconds / 3, CLIENTS, rng, limit)
        before = await _objects(proxy.proxy.listeners[0])
        done += await mix(proxy.address, seconds * 2 / 3, CLIENTS, rng, limit)
        after = await _objects(proxy.proxy.listeners[0])
        await proxy.quiet()
        _tell(f"{engine} loop", seconds, done, f"objects {before} -> {after}")
        assert after - before < OBJECTS
    # what `running_proxy` looks for when it ends: leases, connections of both sides, tasks, errors in the log


async def _objects(listener: object) -> int:
    await eventually(lambda: not getattr(listener, "connections", 0), "downstream connections are left over", 10)
    await asyncio.sleep(0)
    gc.collect()
    return len(gc.get_objects())


def _limit(seconds: float) -> float:
    """Seconds that the sidecar waits for a client: more than a busy machine may stall, in a long run."""
    return 1.0 if seconds < 10 else 3.0


async def _quiet(admin: str) -> None:
    """Wait until the process says that it holds no connection and no lease."""
    held: list[str] = []
    try:
        async with asyncio.timeout(15):
            while True:
                answer = await ask(admin, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                assert answer.status == 200, answer
                held = [
                    line for line in answer.body.decode().splitlines() if line.startswith(_HELD) and line[-3:] != "0.0"
                ]
                if not held:
                    return
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"left over: {held}") from None


_HELD = ("sidecar_downstream_connections", "sidecar_upstream_connections", "sidecar_cluster_requests_in_flight")


def _tell(what: str, seconds: float, done: Counter[str], figures: str) -> None:
    print(f"\n{what}: {seconds:.0f} s, {sum(done.values())} connections ({dict(done)}), {figures}")
