"""What one filter tells metrics and spans of its decisions: short words, and never who called or with what."""

from collections.abc import Callable

from sidecar.model import Request


class Ledger:
    """The account of one filter."""

    __slots__ = ("_count", "_method")

    def __init__(self, method: str, count: Callable[[str, str], None]) -> None:
        self._method = method
        self._count = count

    def tell(self, request: Request, outcome: str) -> None:
        """Note the outcome of one request."""
        if request.notes is None:
            request.notes = {}
        request.notes["sidecar.auth.method"] = self._method
        request.notes["sidecar.auth.outcome"] = outcome
        self._count("Auth", outcome)

    def passed(self, request: Request) -> None:
        """The request goes on, as one whose credentials hold."""
        request.authenticated = True
        self.tell(request, "allowed")

    def source(self, outcome: str) -> None:
        """What credentials are checked with (keys, users) has `changed` in its source, or looking at it `failed`."""
        self._count("Auth", f"source_{outcome}")
