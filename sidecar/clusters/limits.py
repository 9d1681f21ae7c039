"""The circuit limits of one cluster (pure): requests in flight, and retries among them.

Connections and waiting requests are the pool's. Names and defaults are Envoy's (circuit breakers, retry budget).
"""

from sidecar.config.model import CircuitBreakers


class CircuitLimits:
    """Says whether one more request, or one more retry, may run."""

    __slots__ = ("_least", "_percent", "max_requests", "retries")

    def __init__(self, spec: CircuitBreakers) -> None:
        self.retries = 0  # retries that run now
        self.reconfigure(spec)

    def reconfigure(self, spec: CircuitBreakers) -> None:
        """Take new limits; retries that run stay counted."""
        self.max_requests = spec.max_requests
        self._percent = spec.retry_budget_percent
        self._least = spec.min_retry_concurrency

    def retry_allowed(self, inflight: int) -> bool:
        """Whether one more retry fits the budget: a share of the requests in flight, never less than the minimum."""
        return self.retries < max(self._least, self._percent * inflight // 100)

    def begin_retry(self, inflight: int) -> bool:
        """Count a retry in, if the budget has room; `end_retry` belongs to each True."""
        if not self.retry_allowed(inflight):
            return False
        self.retries += 1
        return True

    def end_retry(self) -> None:
        """Count a retry out."""
        self.retries -= 1
