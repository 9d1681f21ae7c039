"""The connections to one endpoint: the youngest idle one is used first, none is shared by two requests."""

import asyncio

from sidecar.errors import ConnectFailed
from sidecar.model import Address
from sidecar.upstream.budget import Budget
from sidecar.upstream.connect import Dialer
from sidecar.upstream.connection import Connection


class Pool:
    """Belongs to one host of one cluster; the cluster's pools share its budget."""

    def __init__(
        self,
        address: Address,
        *,
        dialer: Dialer,
        budget: Budget,
        connect_timeout: float,
        idle_timeout: float,
        stream_idle_timeout: float,
    ) -> None:
        self.address = address
        self.dialer = dialer
        self._budget = budget
        self._connect_timeout = connect_timeout
        self._idle_timeout = idle_timeout
        self.stream_idle_timeout = stream_idle_timeout
        self._idle: list[Connection] = []
        self._live: set[Connection] = set()
        self._closed = False
        budget.pools.add(self)

    @property
    def idle(self) -> int:
        """Connections waiting for a request."""
        return len(self._idle)

    @property
    def active(self) -> int:
        """Connections with a request."""
        return len(self._live) - len(self._idle)

    def take(self) -> Connection | None:
        """An idle connection that is still good, or None."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    async def open(self) -> Connection:
        """A new connection, or one that became free; raises ConnectFailed and its kin, or UpstreamOverflow."""
        freed = await self._budget.acquire(self, self._connect_timeout)
        if freed is not None:
            return freed
        try:
            connection = await self._dial()
        except BaseException:
            self._budget.release()
            raise
        self._live.add(connection)
        return connection

    def reclaim(self) -> bool:
        """Close the idle connection that waited longest, for another pool of the cluster."""
        if not self._idle:
            return False
        self._idle.pop(0).close()
        return True

    def close(self) -> None:
        """The endpoint is gone: idle connections close now, busy ones when they finish."""
        self._closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        if not self._live:
            self._budget.pools.discard(self)

    async def _dial(self) -> Connection:
        connection = await self.dialer.dial(self.address, self._new)
        if connection.transport is None:
            raise ConnectFailed(f"{self.address} closed the connection as soon as it was made")
        return connection

    def _new(self) -> Connection:
        return Connection(
            self.address,
            asyncio.get_running_loop(),
            idle_timeout=self._idle_timeout,
            stream_idle_timeout=self.stream_idle_timeout,
            on_free=self._freed,
            on_lost=self._lost,
        )

    def _freed(self, connection: Connection) -> None:
        if self._closed:
            connection.close()
        elif not self._budget.pending:
            self._idle.append(connection)
        elif not self._budget.offer(connection, self):
            connection.close()  # another pool of the cluster waits for its place

    def _lost(self, connection: Connection) -> None:
        if connection not in self._live:  # it was lost while being opened, and never counted
            return
        self._live.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._budget.release()
        if self._closed and not self._live:
            self._budget.pools.discard(self)
