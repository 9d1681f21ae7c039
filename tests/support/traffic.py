"""Mixed traffic: clients that behave, dawdle, give up or attack, and an origin that answers or misbehaves by path."""

import asyncio
import random
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

WITHIN = 40.0
BIG = bytes(range(256)) * 4096
_RESET = struct.pack("ii", 1, 0)
_HOST = b"Host: shop.example\r\n"
_HOSTILE = (
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/9.9\r\n" + _HOST + b"\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + _HOST + b"X : a\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + _HOST + b"X: a\r\n b\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + _HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + _HOST + b"Content-Length: +5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\n" + _HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + _HOST + b"X-A: 1\r\n" * 300 + b"\r\n",
    b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n" + _HOST + b"\r\n",
)


# --- the origin -----------------------------------------------------------------------------------------------------


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One request; raises where the connection is to end."""
    head = await reader.readuntil(b"\r\n\r\n")
    path = head.split(b" ", 2)[1]
    body = await _body(reader, head.lower())
    if path == b"/big":
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BIG) + BIG)
    elif path == b"/stream":
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(8):
            writer.write(b"5\r\nhello\r\n")
            await asyncio.sleep(0.002)
        writer.write(b"0\r\nX-Sum: 1\r\n\r\n")
    elif path == b"/faulty/reset":
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\npart")
        raise ConnectionError
    elif path == b"/faulty/bad":
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!")
        raise ConnectionError
    elif path == b"/upgrade":
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        while data := await reader.read(4096):
            writer.write(data)
        raise ConnectionError
    else:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    await writer.drain()


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    if b"transfer-encoding: chunked" in head:
        body = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        while await reader.readuntil(b"\r\n") != b"\r\n":
            pass  # a trailer
        return body
    length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return await reader.readexactly(int(length)) if length else b""


@asynccontextmanager
async def traffic_origin() -> AsyncIterator[str]:
    """Its address, until the block ends."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await _answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(serve(reader, writer), name="origin")
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"{host}:{port}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await asyncio.sleep(0)  # the transports close


# --- clients --------------------------------------------------------------------------------------------------------


class Peer:
    """One connection of a client."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rng: random.Random, limit: float
    ) -> None:
        self.reader, self.writer, self.rng = reader, writer, rng
        self.limit = limit  # seconds that the sidecar waits for a client

    async def response(self) -> tuple[int, bytes]:
        head = await self.reader.readuntil(b"\r\n\r\n")
        return int(head[9:12]), await _body(self.reader, head.lower())

    async def ask(self, path: bytes, body: bytes | None = None) -> tuple[int, bytes]:
        if body is None:
            self.writer.write(b"GET %b HTTP/1.1\r\n%b\r\n" % (path, _HOST))
        elif self.rng.random() < 0.5:
            self.writer.write(b"POST %b HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n" % (path, _HOST, len(body)) + body)
        else:
            self.writer.write(b"POST %b HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n\r\n" % (path, _HOST))
            for at in range(0, len(body), 1000):
                part = body[at : at + 1000]
                self.writer.write(b"%x\r\n%b\r\n" % (len(part), part))
            self.writer.write(b"0\r\n\r\n")
        return await self.response()

    def reset(self) -> None:
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.writer.transport.abort()


def _same(answer: tuple[int, bytes], body: bytes) -> None:
    status, found = answer
    assert (status, found == body) == (200, True), (status, found[:200])


async def good(peer: Peer) -> None:
    for _ in range(peer.rng.randrange(1, 8)):
        body = peer.rng.randbytes(peer.rng.randrange(1, 5000))
        _same(await peer.ask(b"/echo", body), body)
        _same(await peer.ask(b"/ok"), b"")


async def large(peer: Peer) -> None:
    _same(await peer.ask(b"/big"), BIG)
    _same(await peer.ask(b"/stream"), b"hello" * 8)


async def pipelined(peer: Peer) -> None:
    peer.writer.write(b"GET /ok HTTP/1.1\r\n%b\r\n" % _HOST * 5)
    for _ in range(5):
        _same(await peer.response(), b"")


async def tunnelled(peer: Peer) -> None:
    peer.writer.write(b"GET /upgrade HTTP/1.1\r\n%bConnection: Upgrade\r\nUpgrade: echo\r\n\r\n" % _HOST)
    assert (await peer.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    peer.writer.write(b"echo")
    assert await peer.reader.readexactly(4) == b"echo"
    if peer.rng.random() < 0.5:
        peer.writer.write_eof()
        assert await peer.reader.read() == b""


async def slow_head(peer: Peer) -> None:
    for byte in b"GET /ok HTTP/1.1\r\n%b\r\n" % _HOST:
        peer.writer.write(bytes([byte]))
        await asyncio.sleep(0.001)
    assert (await peer.response())[0] in {200, 408}, "in time or not"


async def slow_reader(peer: Peer) -> None:
    peer.writer.write(b"GET /big HTTP/1.1\r\n%b\r\n" % _HOST)
    for _ in range(20):
        await peer.reader.read(2000)
        await asyncio.sleep(0.005)


async def silent(peer: Peer) -> None:
    peer.writer.write(peer.rng.choice([b"", b"GET / HT", b"POST / HTTP/1.1\r\n%bContent-Length: 9\r\n\r\n" % _HOST]))
    with suppress(TimeoutError):
        async with asyncio.timeout(peer.rng.choice([0.05, peer.limit * 1.3])):
            await peer.reader.read()


async def leaves(peer: Peer) -> None:
    peer.writer.write(
        peer.rng.choice(
            [
                b"GET /ok HT",
                b"GET /stream HTTP/1.1\r\n%b\r\n" % _HOST,
                b"GET /big HTTP/1.1\r\n%b\r\n" % _HOST,
                b"POST /echo HTTP/1.1\r\n%bContent-Length: 99999\r\n\r\npart" % _HOST,
                b"POST /echo HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n\r\n5\r\nhel" % _HOST,
            ]
        )
    )
    await peer.writer.drain()
    await asyncio.sleep(peer.rng.random() / 50)
    peer.reset()


async def faulty_upstream(peer: Peer) -> None:
    with suppress(asyncio.IncompleteReadError):
        status, _ = await peer.ask(peer.rng.choice([b"/faulty/bad", b"/faulty/reset"]))
        assert status in {502, 503}


async def hostile(peer: Peer) -> None:
    peer.writer.write(peer.rng.choice(_HOSTILE) + b"GET /smuggled HTTP/1.1\r\n%b\r\n" % _HOST)
    status, _ = await peer.response()
    assert 400 <= status < 600
    assert await peer.reader.read() == b"", "something was served behind a malformed request"


BEHAVIOURS: tuple[Callable[[Peer], Awaitable[None]], ...] = (
    good, good, large, pipelined, tunnelled, slow_head, slow_reader, silent, leaves, leaves, faulty_upstream, hostile,
)  # fmt: skip
HARMED = frozenset({"good", "large", "pipelined", "tunnelled", "hostile"})  # must find what they expect


async def mix(address: str, seconds: float, clients: int, rng: random.Random, limit: float) -> Counter[str]:
    """Let `clients` at a time behave by turns; returns what was done. Raises where a good one was harmed."""
    done: Counter[str] = Counter()
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds

    async def one() -> None:
        while loop.time() < end:
            behave = rng.choice(BEHAVIOURS)
            host, _, port = address.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                async with asyncio.timeout(WITHIN):
                    await behave(Peer(reader, writer, rng, limit))
            except (ConnectionError, asyncio.IncompleteReadError):
                if behave.__name__ in HARMED:
                    raise
            finally:
                writer.transport.abort()
                await asyncio.sleep(0)
            done[behave.__name__] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(one(), name="test")
    return done
