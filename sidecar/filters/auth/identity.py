"""Headers by which the upstream knows who calls (pure): only the sidecar may write them.

Copies that the client sent are dropped, also those spelled with `_`, which CGI and WSGI take for the same name; a
`Connection` field that would have the next hop drop them is refused (RFC 9110 §7.6.1 lets a client ask for it).
"""

from collections.abc import Iterable

from sidecar.errors import BadRequest
from sidecar.forwarding.headers import nominations
from sidecar.model import Headers, RawHeaders


class Identity:
    """Writes these headers and drops those, in one pass."""

    __slots__ = ("_gone", "_written")

    def __init__(self, written: Iterable[str], dropped: Iterable[str] = ()) -> None:
        self._written = frozenset(_canonical(name.encode()) for name in written)
        self._gone = self._written | {_canonical(name.encode()) for name in dropped}

    def write(self, headers: Headers, lines: RawHeaders) -> None:
        """Put `lines` in place of whatever the client sent; raises BadRequest."""
        if not self._gone:
            return
        kept: RawHeaders = []
        for line in headers:
            name = _canonical(line[0])
            if name in self._gone:
                continue
            if name == b"connection" and not self._written.isdisjoint(map(_canonical, nominations(line[1]))):
                raise BadRequest("the Connection field names a header that only the sidecar writes")
            kept.append(line)
        kept += lines
        headers[:] = kept


def _canonical(name: bytes) -> bytes:
    name = name.lower()
    return name.replace(b"_", b"-") if b"_" in name else name
