"""The native front of one listener: makes connections, holds what they share."""

import asyncio

from sidecar.config.model import Limits
from sidecar.errors import BadRequest
from sidecar.listener.http1.connection import Connection
from sidecar.listener.http1.head import HeadLimits, HeadParser
from sidecar.listener.service import Service

MAX_HEAD = 65_536  # bytes of a whole request head


class NativeFront:
    """A protocol factory (`create_server`)."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.connections: set[Connection] = set()
        self.parser = HeadParser(_head_limits(service.spec.limits))

    def __call__(self) -> Connection:
        """Make the protocol of a new connection."""
        return Connection(self, asyncio.get_running_loop())

    @property
    def open(self) -> int:
        """Open connections."""
        return len(self.connections)

    def reconfigure(self) -> None:
        """Take the limits of the service's new configuration."""
        self.parser = HeadParser(_head_limits(self.service.spec.limits))

    def check_partial(self, buffer: bytes) -> None:
        """Refuse early what can no longer become a head; raises BadRequest."""
        if buffer[0] == 0x16:
            raise BadRequest("TLS on a port that speaks plain HTTP")
        first = buffer.find(b"\n")
        if first >= 0 and buffer[first - 1 : first] != b"\r":
            raise BadRequest("a bare LF in the request line (RFC 9112 §2.2)")
        if first < 0 and len(buffer) > self.parser.limits.target:
            raise BadRequest(f"a request line over {self.parser.limits.target} bytes", 414)
        if len(buffer) > MAX_HEAD:
            raise BadRequest(f"a request head over {MAX_HEAD} bytes", 431)
        if b"\n\n" in buffer:
            raise BadRequest("a bare LF in a header line (RFC 9112 §2.2)")

    def close_idle(self) -> None:
        """Close connections without a request; the others close with their answer."""
        for connection in list(self.connections):
            if not connection.serving:
                connection.close()

    async def aclose(self) -> None:
        """Close all connections and wait for their tasks."""
        tasks = [connection.abort() for connection in list(self.connections)]
        if tasks:
            await asyncio.wait(tasks)


def _head_limits(limits: Limits) -> HeadLimits:
    return HeadLimits(limits.max_target_bytes, limits.max_header_bytes, limits.max_header_count)
