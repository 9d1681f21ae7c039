"""A raw client: sends the bytes it is given and reads responses exactly, each with the bytes it was made of."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.support.wire import Fields, Wire, fields_of

WITHIN = 5.0


@dataclass(frozen=True)
class Answered:
    """One response as it came."""

    status: int
    reason: bytes
    fields: Fields
    body: bytes
    trailers: Fields
    head: bytes

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def value(self, name: bytes) -> bytes | None:
        return next(iter(self.values(name)), None)


class Client(Wire):
    """One connection to the proxy."""

    async def response(self, *, method: str = "GET") -> Answered:
        """The next response, an interim one too; one without length ends with the connection."""
        async with asyncio.timeout(WITHIN):
            head = await self.head()
            status = int(head[9:12])
            fields = fields_of(head)
            names = {name.lower() for name, _ in fields}
            body, trailers = b"", []
            if method != "HEAD" and status >= 200 and status not in {204, 304}:
                framed = names & {b"content-length", b"transfer-encoding"}
                body, trailers = await self.body(head) if framed else (await self.rest(), [])
            return Answered(status, head.partition(b"\r\n")[0][13:], fields, body, trailers, head)

    async def ask(self, request: bytes) -> Answered:
        """Send a request and read its response."""
        await self.send(request)
        return await self.response(method=request.partition(b" ")[0].decode())

    async def head(self) -> bytes:
        """A head with its empty line."""
        async with asyncio.timeout(WITHIN):
            return await self.until(b"\r\n\r\n")

    async def end(self) -> bytes:
        """What comes until the proxy ends the connection."""
        async with asyncio.timeout(WITHIN):
            return await self.rest()

    async def ended_whole(self) -> bool:
        """Whether the proxy closes without another byte."""
        return await self.end() == b""


@asynccontextmanager
async def client(address: str, *, receive_buffer: int | None = None) -> AsyncIterator[Client]:
    """Connect to `host:port` or `unix:/path`; `receive_buffer` makes a client that takes little without reading."""
    if address.startswith("unix:"):
        reader, writer = await asyncio.open_unix_connection(address[5:])
    else:
        host, _, port = address.rpartition(":")
        plain = socket.socket(proto=socket.IPPROTO_TCP)  # asyncio turns Nagle off by this
        plain.setblocking(False)
        if receive_buffer is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            await asyncio.get_running_loop().sock_connect(plain, (host, int(port)))
        except OSError:
            plain.close()
            raise
        reader, writer = await asyncio.open_connection(sock=plain, limit=16_384 if receive_buffer else 65_536)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


async def ask(address: str, request: bytes) -> Answered:
    """One request on a connection of its own."""
    async with client(address) as one:
        return await one.ask(request)
