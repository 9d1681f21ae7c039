"""The native front of one listener: makes connections, holds what they share."""

import asyncio

from sidecar.config.model import Listener
from sidecar.listener.http1.connection import Connection
from sidecar.listener.http1.head import HeadLimits, HeadParser
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
