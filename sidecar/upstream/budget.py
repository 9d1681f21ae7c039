"""How many connections the pools of one cluster may hold together, and who waits for one (Envoy: circuit breakers)."""

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from sidecar.errors import UpstreamOverflow

if TYPE_CHECKING:
    from sidecar.upstream.connection import Connection
    from sidecar.upstream.pool import Pool


class Budget:
    """Counts open connections; a request that finds none free waits its turn, or is refused at once."""

    def __init__(self, max_connections: int, max_pending: int) -> None:
        self.max_connections = max_connections
        self.max_pending = max_pending
        self.open = 0
        self.pools: set[Pool] = set()
        self._waiting: deque[tuple[Pool, asyncio.Future[Connection | None]]] = deque()

    @property
    def pending(self) -> int:
        """Requests waiting for a connection."""
        return len(self._waiting)

    async def acquire(self, pool: "Pool", timeout: float) -> "Connection | None":  # noqa: ASYNC109 - the cluster's setting
        """Wait at most `timeout` seconds for a freed connection of `pool`, or (None) for the right to open one.

        Raises UpstreamOverflow where too many wait already or none becomes free.
        """
        if self.open < self.max_connections and not self._waiting:
            self.open += 1
            return None
        if len(self._waiting) >= self.max_pending:
            raise UpstreamOverflow(
                f"max_connections ({self.max_connections}) and max_pending_requests ({self.max_pending}) are reached"
            )
        turn: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((pool, turn))
        any(other.reclaim() for other in self.pools)
        try:
            async with asyncio.timeout(timeout):
                return await turn
        except BaseException as error:
            self._give_up(pool, turn)
            if isinstance(error, TimeoutError):
                reason = f"max_connections ({self.max_connections}) reached, none became free within {timeout:g} s"
                raise UpstreamOverflow(reason) from None
            raise

    def offer(self, connection: "Connection", pool: "Pool") -> bool:
        """Hand a freed connection to the first who waits for its pool; False where nobody does."""
        for entry in self._waiting:
            if entry[0] is pool and not entry[1].done():
                self._waiting.remove(entry)
                entry[1].set_result(connection)
                return True
        return False

    def release(self) -> None:
        """A connection has ended: its place goes to the first who waits."""
        while self._waiting:
            _, turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.open -= 1

    def _give_up(self, pool: "Pool", turn: "asyncio.Future[Connection | None]") -> None:
        if (pool, turn) in self._waiting:
            self._waiting.remove((pool, turn))
        elif turn.done() and not turn.cancelled():  # granted in the same moment: pass it on
            connection = turn.result()
            if connection is None:
                self.release()
            else:
                connection.close()
