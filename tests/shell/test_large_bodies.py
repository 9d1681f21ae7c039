"""Long and heavy: what a real process holds of 1 GiB bodies and of a thousand idle clients. Run with `-m soak -s`."""

import asyncio
import hashlib
from contextlib import AsyncExitStack

import pytest

from tests.support.client import client
from tests.support.origin import Origin, OriginConnection
from tests.support.process import Process, sidecar

pytestmark = pytest.mark.soak

GIB = 1 << 30
BLOCK = bytes(range(256)) * 1024  # 256 KiB
WARM = 64 << 20  # bytes that pass before memory is looked at: buffers and allocator have their size then
HOST = b"Host: shop.example\r\n"


def digest_of(size: int) -> bytes:
    digest = hashlib.sha256()
    for _ in range(size // len(BLOCK)):
        digest.update(BLOCK)
    return digest.digest()


class Peak:
    """How far the process's peak rises above what it holds at rest."""

    def __init__(self, process: Process) -> None:
        self._process = process
        process.reset_peak()
        self._before = process.memory("VmRSS")

    @property
    def grown(self) -> int:
        """KiB."""
        return self._process.memory("VmHWM") - self._before


async def _download(address: str, size: int) -> bytes:
    digest = hashlib.sha256()
    async with client(address) as one:
        await one.send(b"GET /%d HTTP/1.1\r\n" % size + HOST + b"\r\n")
        await one.head()
        left = size
        while left:
            data = await one.exactly(min(left, len(BLOCK)))
            one.forget()
            digest.update(data)
            left -= len(data)
    return digest.digest()


async def _upload(address: str, size: int) -> bytes:
    async with client(address) as one:
        await one.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % size)
        for _ in range(size // len(BLOCK)):
            await one.send(BLOCK)
        await one.until(b"\r\n\r\n")
        return bytes.fromhex((await one.exactly(64)).decode())


async def _serve(connection: OriginConnection) -> None:
    """Sends as many bytes as the path says; hashes what is posted."""
    while True:
        head = await connection.until(b"\r\n\r\n")
        if head.startswith(b"GET"):
            size = int(head.split()[1][1:])
            await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            for _ in range(size // len(BLOCK)):
                await connection.send(BLOCK)
            continue
        left = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
        digest = hashlib.sha256()
        while left:
            data = await connection.exactly(min(left, len(BLOCK)))
            connection.forget()
            digest.update(data)
            left -= len(data)
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n" + digest.hexdigest().encode())


@pytest.mark.timeout(300)
@pytest.mark.parametrize("direction", ["down", "up"])
async def test_body_of_1_gib_passes_bit_exact_with_4_mib_of_memory_at_most(direction: str) -> None:
    carry = _download if direction == "down" else _upload
    async with Origin(_serve) as origin:
        async with sidecar("proxy", "--from", "127.0.0.1:0", "--to", origin.address) as process:
            await carry(process.address, WARM)
            peak = Peak(process)
            assert await carry(process.address, GIB) == digest_of(GIB)
            print(f"1 GiB {direction}: peak memory grew by {peak.grown} KiB")
            assert peak.grown <= 4096


@pytest.mark.timeout(120)
async def test_idle_client_costs_20_kib_at_most() -> None:
    async with Origin() as origin, AsyncExitStack() as open_connections:
        async with sidecar("proxy", "--from", "127.0.0.1:0", "--to", origin.address) as process:
            for _ in range(20):
                async with client(process.address) as one:
                    await one.ask(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
            before = process.memory("VmRSS")
            for _ in range(1000):
                one = await open_connections.enter_async_context(client(process.address))
                assert (await one.ask(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")).body == b"ok"
            await asyncio.sleep(0.5)
            each = (process.memory("VmRSS") - before) / 1000
            print(f"an idle client costs {each:.1f} KiB")
            assert each <= 20
            await open_connections.aclose()
