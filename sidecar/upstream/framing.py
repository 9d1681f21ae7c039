"""What a response's head may say of its end, beyond what llhttp refuses (pure, RFC 9112 §6, CWE-444)."""

from sidecar.errors import UpstreamProtocol
from sidecar.model import RawHeaders

MAX_LENGTH_DIGITS = 18


class Framing:
    """Takes the lines of one head that frame its body, then judges them."""

    __slots__ = ("_chunked",)

    def __init__(self) -> None:
        self._chunked = False

    def note(self, name: bytes, value: bytes) -> None:
        """Take a line, its name in lower case; raises UpstreamProtocol for a coding that we cannot undo."""
        if name == b"transfer-encoding":
            if self._chunked or value.strip(b" \t").lower() != b"chunked":
                raise UpstreamProtocol("a Transfer-Encoding other than a single `chunked` (RFC 9112 §6.1)")
            self._chunked = True
        elif name == b"content-length" and len(value.strip(b" \t")) > MAX_LENGTH_DIGITS:
            raise UpstreamProtocol(f"a Content-Length of more than {MAX_LENGTH_DIGITS} digits (RFC 9110 §8.6)")

    def judge(self, version: str) -> None:
        """The head is whole: be ready for the next; raises UpstreamProtocol."""
        if self._chunked and version != "1.1":
            raise UpstreamProtocol("Transfer-Encoding in an HTTP/1.0 response (RFC 9112 §6.1)")
        self._chunked = False


def is_asked_for(asked: bytes | None, fields: RawHeaders) -> bool:
    """Whether a 101 switches to what the request's Upgrade field lists, and says so (RFC 9110 §7.8)."""
    if asked is None or b"upgrade" not in _tokens(fields, b"connection"):
        return False
    offered = {token.strip().lower() for token in asked.split(b",")}
    chosen = _tokens(fields, b"upgrade")
    return bool(chosen) and chosen <= offered


def _tokens(fields: RawHeaders, wanted: bytes) -> set[bytes]:
    listed = b",".join([value for name, value in fields if name.lower() == wanted])
    return {token.strip().lower() for token in listed.split(b",")} - {b""}
