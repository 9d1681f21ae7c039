"""What a request of another origin is answered with (HTTPCORSFilter; Fetch, "CORS protocol"). Pure.

Wildcards are sent only where they mean what they say: with credentials a browser takes `*` for a name, so what was
asked for stands there instead. Safelisted methods and headers are the browser's own affair.
"""

import re
from collections.abc import Iterable

from sidecar.config.cors import Cors
from sidecar.filters.cors.origins import Origins
from sidecar.model import Headers, RawHeaders, Request

_ORIGIN = b"origin"
_METHOD = b"access-control-request-method"
_HEADERS = b"access-control-request-headers"
_PRIVATE = b"access-control-request-private-network"
_LENGTHS = frozenset(map(len, (_ORIGIN, _METHOD, _HEADERS, _PRIVATE)))  # spares most names a lower()

_NAMES = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z, \t]+")  # tokens in a list
_MAX_EXPOSED = 64  # names listed in place of a wildcard
_ALLOW_ORIGIN = b"Access-Control-Allow-Origin"
_EXPOSE = b"Access-Control-Expose-Headers"
_CREDENTIALS = (b"Access-Control-Allow-Credentials", b"true")
_PRIVATE_NETWORK = (b"Access-Control-Allow-Private-Network", b"true")
_VARY = (b"Vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
_NEEDLESS = frozenset(  # Fetch: CORS-safelisted response-header names, and those that scripts never see
    {
        b"cache-control", b"content-language", b"content-length", b"content-type", b"expires", b"last-modified",
        b"pragma", b"set-cookie", b"set-cookie2",
    }
)  # fmt: skip


class Asked:
    """What the fields of a request say, read in one pass."""

    __slots__ = ("headers", "method", "options", "origin", "private")

    def __init__(self, request: Request) -> None:
        self.origin: bytes | None = None  # b"": more than one, which is none that could be allowed
        self.method: bytes | None = None
        self.headers: bytes | None = None
        self.private = False
        for name, value in request.headers:
            if len(name) in _LENGTHS:
                self._read(name.lower(), value)
        self.options = request.method == "OPTIONS"

    @property
    def preflight(self) -> bool:
        """Fetch, "CORS-preflight request"; other OPTIONS requests are the app's."""
        return self.options and self.origin is not None and self.method is not None

    def _read(self, name: bytes, value: bytes) -> None:
        if name == _ORIGIN:
            self.origin = value if self.origin is None else b""
        elif name == _METHOD:
            self.method = value
        elif name == _HEADERS:
            self.headers = value if self.headers is None else b"%b, %b" % (self.headers, value)
        elif name == _PRIVATE:
            self.private = value == b"true"


class _Names:
    """A list of names of the configuration, and whether a wildcard in it cannot be sent."""

    __slots__ = ("mirrored", "value")

    def __init__(self, names: Iterable[str], *, credentials: bool) -> None:
        listed = [*names]
        self.mirrored = credentials and "*" in listed
        self.value = ", ".join(listed).encode("ascii")

    def offered(self, wanted: bytes | None) -> bytes:
        """The list, or what was asked for where a wildcard would be a name like any other."""
        if not self.mirrored:
            return self.value
        return wanted if wanted is not None and _NAMES.fullmatch(wanted) else b""


class Policy:
    """The answers of one filter."""

    __slots__ = ("_credentials", "_exposed", "_headers", "_max_age", "_methods", "_private", "origins", "varies")

    def __init__(self, spec: Cors, path: str) -> None:
        """Compile; raises ConfigError."""
        credentials = spec.allow_credentials
        self.origins = Origins(spec.allow_origins, f"{path}.allowOrigins")
        self.varies = credentials or not self.origins.any  # else every origin gets the same answer
        self._credentials = credentials
        self._methods = _Names(spec.allow_methods, credentials=credentials)
        self._headers = _Names(spec.allow_headers, credentials=credentials)
        self._exposed = _Names(spec.expose_headers, credentials=credentials)
        self._max_age = (b"Access-Control-Max-Age", b"%d" % spec.max_age)
        self._private = spec.allow_private_network

    def preflight(self, asked: Asked) -> RawHeaders:
        """The fields of the answer to a preflight of an origin that is allowed."""
        lines = self._for_origin(asked)
        for name, value in (
            (b"Access-Control-Allow-Methods", self._methods.offered(asked.method)),
            (b"Access-Control-Allow-Headers", self._headers.offered(asked.headers)),
            (_EXPOSE, self._exposed.offered(None)),  # no browser reads it here, Gateway API's conformance tests do
        ):
            if value:
                lines.append((name, value))
        lines.append(self._max_age)
        if self._private and asked.private:
            lines.append(_PRIVATE_NETWORK)
        if self.varies:
            lines.append(_VARY)
        return lines

    def actual(self, asked: Asked, answer: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
        """The fields to add to `answer`, made for an origin that is allowed."""
        lines = self._for_origin(asked)
        exposed = self._exposed.offered(_names_of(answer) if self._exposed.mirrored else None)
        if exposed:
            lines.append((_EXPOSE, exposed))
        return lines

    def _for_origin(self, asked: Asked) -> RawHeaders:
        lines = [(_ALLOW_ORIGIN, asked.origin if self.varies and asked.origin is not None else b"*")]
        if self._credentials:
            lines.append(_CREDENTIALS)
        return lines


def drop_cors(headers: Headers) -> None:
    """Take out what the app says of CORS: one party decides, and two answers are none to a browser."""
    if any(len(name) > 15 and name[:15].lower() == b"access-control-" for name, _ in headers):
        headers[:] = [line for line in headers if line[0][:15].lower() != b"access-control-"]


def _names_of(answer: Iterable[tuple[bytes, bytes]]) -> bytes:
    names = {name.lower(): name for name, _ in answer if name.lower() not in _NEEDLESS}
    return b", ".join([*names.values()][:_MAX_EXPOSED])
