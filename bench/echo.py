"""Origins that nginx cannot be.

`python -m bench.echo echo PORT` answers any upgrade and sends back what comes; `python -m bench.echo slow PORT…`
answers 200 on each port, after 50 times as long on the last as on the others.
"""

import asyncio
import base64
import hashlib
import re
import sys

FAST, SLOW = 0.002, 0.1  # seconds that an answer takes
_KEY = re.compile(rb"sec-websocket-key: *(\S+)", re.IGNORECASE)
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 200\r\n\r\n" + b"x" * 200


class _Base(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]  # asyncio's base class


class _Echo(_Base):
    """The handshake of RFC 6455 §4.2.2, then every byte as it came."""

    upgraded = False

    def data_received(self, data: bytes) -> None:
        if self.upgraded:
            self.transport.write(data)
            return
        key = _KEY.search(data)
        magic = (key[1] if key else b"") + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(magic).digest())  # noqa: S324 - the protocol's own
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        self.upgraded = True


class _Slow(_Base):
    """Answers each request after the port's delay."""

    def __init__(self, delay: float) -> None:
        self._delay = delay

    def data_received(self, data: bytes) -> None:
        for _ in range(data.count(b"\r\n\r\n")):
            asyncio.get_running_loop().call_later(self._delay, self._answer)

    def _answer(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(_ANSWER)


async def main(kind: str, ports: list[int]) -> None:
    """Serve until the process is ended."""
    loop = asyncio.get_running_loop()
    for port in ports:
        delay = SLOW if port == ports[-1] else FAST
        await loop.create_server(_Echo if kind == "echo" else lambda delay=delay: _Slow(delay), "127.0.0.1", port)
    await loop.create_future()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], [int(port) for port in sys.argv[2:]]))
