"""The native front of one listener: makes connections, holds what they share."""

import asyncio

from sidecar.config.model import Listener
from sidecar.errors import BadRequest
from sidecar.listener.http1.connection import Connection
from sidecar.listener.http1.head import MAX_HEAD, HeadLimits, HeadParser
from sidecar.listener.service import Service


class NativeFront:
    """A protocol factory (`create_server`)."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.connections: set[Connection] = set()
        self.parser = _parser(service.spec)

    def __call__(self) -> Connection:
        """Make the protocol of a new connection."""
        return Connection(self, asyncio.get_running_loop())

    @property
    def open(self) -> int:
        """Open connections."""
        return len(self.connections)

    def reconfigure(self) -> None:
        """Take the limits of the service's new configuration."""
        self.parser = _parser(self.service.spec)

    def check_partial(self, buffer: bytes) -> None:
        """Refuse early what can no longer become a head; raises BadRequest."""
        if buffer[0] == 0x16:
            raise BadRequest("TLS on a port that speaks plain HTTP")
        first = buffer.find(b"\n")
        if first >= 0 and buffer[first - 1 : first] != b"\r":
            raise BadRequest("a bare LF in the request line (RFC 9112 §2.2)")
        if (first if first >= 0 else len(buffer)) > self.parser.limits.target + 1:  # its CR may be here already
            raise BadRequest(f"a request line over {self.parser.limits.target} bytes", 414)
        if len(buffer) > MAX_HEAD + 3:  # its end may be here in part
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


def _parser(spec: Listener) -> HeadParser:
    limits = spec.limits
    sizes = HeadLimits(limits.max_target_bytes, limits.max_header_bytes, limits.max_header_count)
    return HeadParser(sizes, named_ports=spec.mode == "forward")
