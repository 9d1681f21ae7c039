"""RequestRedirect: answers with another place to go to (HTTPRequestRedirectFilter). Nothing is sent upstream.

The port that the specification calls the listener's is the one the client named: behind a Service the sidecar's own
port is not one that a client could use.
"""

from http import HTTPStatus

from sidecar.config.address import split_authority
from sidecar.config.model import RequestRedirect
from sidecar.errors import BadRequest
from sidecar.filters.path_modifier import NewPath, path_modifier
from sidecar.model import Filter, Handler, Request, Response

_WELL_KNOWN = {"http": "80", "https": "443"}


def request_redirect(spec: RequestRedirect, path: str) -> Filter:
    """Answer with `Location`. Raises ConfigError."""
    new_path = path_modifier(spec.path, f"{path}.path")
    reason = HTTPStatus(spec.status_code).phrase.encode()

    async def redirect_request(request: Request, forward: Handler) -> Response:  # noqa: ARG001 - the shape of a filter
        location = _location(spec, new_path, request)
        return Response(spec.status_code, [(b"Location", location), (b"Content-Length", b"0")], reason=reason)

    return redirect_request


def _location(spec: RequestRedirect, new_path: NewPath | None, request: Request) -> bytes:
    """Always absolute, lest a path such as `//elsewhere.example` be read as a host. BadRequest where none is named."""
    host, port = split_authority(request.authority)
    host = spec.hostname or host
    if not host:
        raise BadRequest("the request names no host, which the redirect needs")
    scheme = spec.scheme or request.scheme
    if spec.port is not None:
        port = str(spec.port)
    elif spec.scheme is not None:
        port = ""
    origin = f"{scheme}://{host}" if port in ("", _WELL_KNOWN.get(scheme)) else f"{scheme}://{host}:{port}"
    old, mark, query = request.target.partition(b"?") if request.target.startswith(b"/") else (b"/", b"", b"")
    return origin.encode("latin-1") + (new_path(old, request.prefix) if new_path else old) + mark + query
