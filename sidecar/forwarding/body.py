"""A streamed response body: when it ends, breaks or is dropped, its attempt is closed and its lease released."""

import time

from sidecar.clusters.cluster import Lease
from sidecar.errors import ProxyError
from sidecar.forwarding.headers import kept_trailers
from sidecar.model import Attempt, Response
from sidecar.upstream.exchange import Exchange


class UpstreamBody:
    """An iterator, not a generator: one that was never started must still give back what it holds."""

    __slots__ = ("_attempt", "_exchange", "_lease", "_response")

    def __init__(self, exchange: Exchange, response: Response, lease: Lease, attempt: Attempt) -> None:
        self._exchange = exchange
        self._response = response
        self._lease = lease
        self._attempt = attempt

    def __aiter__(self) -> "UpstreamBody":
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._exchange.__anext__()
        except StopAsyncIteration:
            if self._exchange.trailers:
                self._response.trailers = kept_trailers(self._exchange.headers, self._exchange.trailers)
            self._end()
            raise
        except ProxyError as failure:
            self._attempt.error_type = failure.error_type
            self._attempt.details = str(failure)
            self._end()
            raise

    async def aclose(self) -> None:
        """Give everything back; an exchange that is not complete takes its connection with it."""
        self._end()
        await self._exchange.aclose()

    def _end(self) -> None:
        self._exchange.cancel_timer()
        close_attempt(self._attempt)
        self._lease.release()


def close_attempt(attempt: Attempt) -> None:
    """Note when the attempt ended, once."""
    if not attempt.end_ns:
        attempt.end_ns = time.time_ns()
