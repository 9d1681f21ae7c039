"""A small HTTP/1.1 client on asyncio streams: one kept connection, and no second try of anything.

The demo counts failed requests, so its client must not hide any: libraries quietly repeat a GET whose kept connection
was closed. It reads what the demo's own servers and the sidecar send them: bodies with a Content-Length.
"""

import asyncio
from typing import NamedTuple

_PATIENCE = 10.0  # seconds for a whole answer


class Reply(NamedTuple):
    """Status and body of an answer."""

    status: int
    body: bytes


class Client:
    """Asks one server, `host:port`; requests take turns."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, target: str, *, method: str = "GET", headers: str = "") -> Reply:
        """Send a request without a body; `headers` are whole lines. Raises OSError, EOFError and ValueError."""
        try:
            async with asyncio.timeout(_PATIENCE):
                return await self._ask(f"{method} {target} HTTP/1.1\r\nHost: {self._address}\r\n{headers}\r\n")
        except TimeoutError:
            self.close()
            raise TimeoutError(f"no whole answer within {_PATIENCE:g} s") from None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; the next question opens a new one."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _ask(self, head: str) -> Reply:
        if self._streams is None:
            host, _, port = self._address.rpartition(":")
            self._streams = await asyncio.open_connection(host, int(port))
        reader, writer = self._streams
        writer.write(head.encode("ascii"))
        await writer.drain()
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        if "content-length" not in fields:
            raise ValueError("an answer without Content-Length")
        body = await reader.readexactly(int(fields["content-length"]))
        if fields.get("connection", "").lower() == "close":
            self.close()
        return Reply(int(lines[0].split(" ")[1]), body)
