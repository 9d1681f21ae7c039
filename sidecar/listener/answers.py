"""A `ProxyError` becomes a response, here and nowhere else: Proxy-Status (RFC 9209), short text or JSON."""

import json
from http import HTTPStatus

from sidecar.errors import ProxyError
from sidecar.model import Headers, Request, Response

MAX_DETAILS = 400  # characters of an error's sentence shown to a client


def error_response(error: ProxyError, request: Request | None) -> Response:
    """The answer that names the error's cause; `request` is None where none could be read."""
    details = _printable(str(error))
    headers = Headers()
    if request is not None and _prefers_json(request.headers):
        headers.add("Content-Type", "application/json")
        text = json.dumps(
            {"status": error.status, "error": error.error_type, "details": details, "attempts": _attempts(request)}
        )
    else:
        headers.add("Content-Type", "text/plain; charset=utf-8")
        text = f"{error.status} {reason_phrase(error.status)}: {details}\n"
    body = text.encode()
    headers.add("Proxy-Status", f'sidecar; error={error.proxy_error}; details="{_quoted(details)}"')
    for name, value in error.headers:
        headers.add(name, value)
    response = Response(error.status, headers, body, reason=reason_phrase(error.status).encode())
    response.error = error
    return response


def reason_phrase(status: int) -> str:
    """The registered phrase of a status, empty for an unknown one."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _attempts(request: Request) -> list[dict[str, str]]:
    return [
        {"endpoint": str(attempt.address), "outcome": attempt.details or str(attempt.status or attempt.error_type)}
        for attempt in request.attempts
    ]


def _prefers_json(headers: Headers) -> bool:
    accept = headers.get("accept")
    if accept is None or "json" not in accept:
        return False
    first = accept.partition(",")[0]
    return "json" in first or "text/" not in accept


def _printable(text: str) -> str:
    """No control bytes, no endless sentence."""
    return "".join(char if char.isprintable() else "?" for char in text[:MAX_DETAILS])


def _quoted(text: str) -> str:
    """A quoted string of RFC 8941 §3.3.3: ASCII, with backslash and quote escaped."""
    plain = text.encode("ascii", "replace").decode()
    return plain.replace("\\", "\\\\").replace('"', '\\"')
