"""One end of a raw HTTP/1.1 connection: sends bytes, keeps every byte received, finds where messages end."""

import asyncio
import socket
import struct

Fields = list[tuple[bytes, bytes]]


class Wire:
    """Neither client nor server: `until`, `exactly`, `body` read; `send`, `close`, `reset`, `half_close` write."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.received = bytearray()
        self.position = 0  # of the first byte not consumed
        self.pushed = 0  # bytes that `send` could hand to the socket's buffer
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Write, and wait while the peer reads slowly."""
        self._writer.write(data)
        await self._writer.drain()
        self.pushed += len(data)

    async def until(self, mark: bytes) -> bytes:
        """Bytes up to and with `mark`; raises IncompleteReadError where the peer ends before."""
        seen = self.position
        while (found := self.received.find(mark, seen)) < 0:
            seen = max(self.position, len(self.received) - len(mark) + 1)
            await self._more()
        return self._take(found + len(mark) - self.position)

    async def exactly(self, count: int) -> bytes:
        """The next `count` bytes."""
        while len(self.received) - self.position < count:
            await self._more()
        return self._take(count)

    async def rest(self) -> bytes:
        """All that comes until the peer ends the connection."""
        try:
            while True:
                await self._more()
        except (asyncio.IncompleteReadError, ConnectionError):
            return self._take(len(self.received) - self.position)

    async def body(self, head: bytes) -> tuple[bytes, Fields]:
        """The body behind a head that frames it by chunks or by length, and its trailers."""
        fields = {name.lower(): value for name, value in fields_of(head)}
        if b"chunked" in fields.get(b"transfer-encoding", b""):
            return await self._chunks()
        return await self.exactly(int(fields.get(b"content-length", b"0"))), []

    def forget(self) -> None:
        """Keep no longer what has been consumed."""
        del self.received[: self.position]
        self.position = 0

    def close(self) -> None:
        self._writer.close()

    def half_close(self) -> None:
        """Send no more, read on."""
        self._writer.write_eof()

    def reset(self) -> None:
        """End with a TCP reset, what is buffered is lost."""
        peer: socket.socket | None = self._writer.get_extra_info("socket")
        if peer is None or peer.fileno() < 0:  # closed already: asyncio's `abort` cannot bear that
            return
        if not self._writer.transport.is_closing():
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def _chunks(self) -> tuple[bytes, Fields]:
        body = bytearray()
        while size := int((await self.until(b"\r\n")).partition(b";")[0], 16):
            body += await self.exactly(size)
            if await self.exactly(2) != b"\r\n":
                raise AssertionError("a chunk does not end with CRLF")
        trailers = b""
        while (line := await self.until(b"\r\n")) != b"\r\n":
            trailers += line
        return bytes(body), fields_of(b"\r\n" + trailers + b"\r\n")

    async def _more(self) -> None:
        data = await self._reader.read(262_144)
        if not data:
            raise asyncio.IncompleteReadError(bytes(self.received[self.position :]), None)
        self.received += data

    def _take(self, count: int) -> bytes:
        data = bytes(self.received[self.position : self.position + count])
        self.position += count
        return data


def fields_of(head: bytes) -> Fields:
    """The field lines of a head, in order."""
    lines = head.split(b"\r\n")[1:-2]
    return [(name, value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in lines)]
