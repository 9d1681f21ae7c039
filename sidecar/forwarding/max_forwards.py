"""Max-Forwards of TRACE and OPTIONS (pure, RFC 9110 §7.6.2): counted down, and at zero we are the last to answer."""

import re

from sidecar.errors import BadRequest
from sidecar.model import Request, Response

LIMITED = frozenset({"TRACE", "OPTIONS"})
_COUNT = re.compile(rb"[0-9]{1,9}")
_SECRET = frozenset({b"authorization", b"cookie", b"proxy-authorization"})  # RFC 9110 §9.3.8: not told back


def last_hop(request: Request) -> Response | None:
    """The answer where the request ends here; else None, and the field is one less.

    Raises BadRequest for a field that is no number, and for a TRACE with content.
    """
    if request.method == "TRACE" and request.length != 0:
        raise BadRequest("a TRACE request with content (RFC 9110 §9.3.8)")
    places = [at for at, (name, _) in enumerate(request.headers) if name.lower() == b"max-forwards"]
    if not places:
        return None
    name, value = request.headers[places[0]]
    if len(places) > 1 or _COUNT.fullmatch(value) is None:
        raise BadRequest("Max-Forwards is no plain number (RFC 9110 §7.6.2)")
    left = int(value)
    if left:
        request.headers[places[0]] = (name, b"%d" % (left - 1))
        return None
    if request.method == "OPTIONS":
        return Response(200, reason=b"OK")
    return Response(200, [(b"Content-Type", b"message/http")], _told_back(request), reason=b"OK")


def _told_back(request: Request) -> bytes:
    lines = [b"%b: %b\r\n" % pair for pair in request.headers if pair[0].lower() not in _SECRET]
    start = b"%b %b HTTP/%b\r\n" % (request.method.encode(), request.target, request.version.encode())
    return start + b"".join(lines) + b"\r\n"
