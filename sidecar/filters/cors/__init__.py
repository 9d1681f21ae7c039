"""CORS: answers preflights, and says on other answers which origin may read them (HTTPCORSFilter; Fetch).

What is allowed is decided in `policy.py` and `origins.py`. CORS keeps pages from reading, not from sending: a request
of an origin that is not allowed goes its way, and its answer says nothing that would let a page read it.
"""

from sidecar.config.cors import Cors
from sidecar.errors import Forbidden, ProxyError
from sidecar.filters.context import FilterContext
from sidecar.filters.cors.policy import Asked, Policy, drop_cors
from sidecar.filters.vary import add_vary
from sidecar.model import Handler, Request, Response

_MAX_SHOWN = 100  # characters of an origin in an error


class CorsAround:
    """The filter of one rule."""

    __slots__ = ("_count", "_policy", "_spec")

    def __init__(self, spec: Cors, context: FilterContext, path: str) -> None:
        """Compile; raises ConfigError."""
        self._spec = spec
        self._count = context.count
        self._policy = Policy(spec, path)

    async def __call__(self, request: Request, forward: Handler) -> Response:
        """Answer a preflight; let everything else through and say who may read the answer."""
        asked = Asked(request)
        allowed = asked.origin is not None and self._policy.origins.allow(asked.origin)
        if asked.preflight:
            return self._preflight(request, asked, allowed=allowed)
        if asked.origin is not None:
            self._tell(request, "allowed" if allowed else "refused")
        try:
            response = await forward(request)
        except ProxyError as error:
            error.headers = (*error.headers, *self._for_error(asked, allowed=allowed))
            raise
        if response.tunnel is not None:  # a WebSocket is no fetch: its server looks at the origin itself
            return response
        headers = response.headers
        drop_cors(headers)
        if allowed:
            headers.extend(self._policy.actual(asked, headers))
        if self._policy.varies:
            add_vary(headers, b"Origin")
        return response

    def explain(self) -> str:
        """What it would do, in a line."""
        origins = ", ".join(self._spec.allow_origins) or "no other origin"
        return f"CORS: {origins} may call{' with credentials' if self._spec.allow_credentials else ''}"

    def _preflight(self, request: Request, asked: Asked, *, allowed: bool) -> Response:
        self._tell(request, "preflight_allowed" if allowed else "preflight_refused")
        if not allowed:
            origin = (asked.origin or b"").decode("latin-1")[:_MAX_SHOWN]
            refusal = Forbidden(f"CORS: the origin {origin!a} may not call here")
            refusal.headers = (("Vary", "Origin"),)
            raise refusal
        return Response(204, self._policy.preflight(asked), reason=b"No Content")

    def _for_error(self, asked: Asked, *, allowed: bool) -> list[tuple[str, str]]:
        """A page that may read answers may read refusals too."""
        lines = self._policy.actual(asked, ()) if allowed else []
        if self._policy.varies:
            lines.append((b"Vary", b"Origin"))
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in lines]

    def _tell(self, request: Request, outcome: str) -> None:
        self._count("CORS", outcome)
        if request.notes is None:
            request.notes = {}
        request.notes["sidecar.cors.outcome"] = outcome


def cors(spec: Cors, context: FilterContext, path: str) -> CorsAround:
    """Make the filter. Raises ConfigError."""
    return CorsAround(spec, context, path)
