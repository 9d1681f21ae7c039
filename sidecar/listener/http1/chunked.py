"""The chunked coding of a request body (pure), strictly (RFC 9112 §7.1). Extensions are dropped."""

import re

from sidecar.errors import BadRequest
from sidecar.listener.http1.head import parse_fields
from sidecar.model.headers import FORBIDDEN_TRAILERS

MAX_SIZE_LINE = 4_096  # bytes of a size with its extensions
MAX_EXCESS = 16_384  # bytes of size lines beyond what the data is worth: extensions, sizes of tiny chunks
MAX_TRAILERS = 16_384  # bytes of all trailer lines
MAX_TRAILER_COUNT = 64
_STRAY = re.compile(rb"(?<!\r)\n|\r(?=[^\n])")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")


class ChunkedDecoder:
    """Feed it bytes, take data; when `done`, `trailers` and `rest` (bytes behind the body) are there."""

    __slots__ = ("_excess", "_held", "_left", "_state", "done", "rest", "trailers")

    def __init__(self) -> None:
        self.done = False
        self.trailers: list[tuple[bytes, bytes]] = []
        self.rest = b""
        self._held = b""  # an unfinished line
        self._excess = 0
        self._left = 0  # bytes of the chunk still to come
        self._state = "size"

    def feed(self, data: bytes) -> list[bytes]:
        """The body bytes in `data`; raises BadRequest for what breaks the coding."""
        out: list[bytes] = []
        if self._held:
            data, self._held = self._held + data, b""
        at = 0
        while at < len(data) and not self.done:
            if self._state == "data":
                taken = data[at : at + self._left]
                out.append(taken)
                at += len(taken)
                self._left -= len(taken)
                if not self._left:
                    self._state = "end"
            elif self._state == "end":
                at = self._end_of_chunk(data, at)
            elif self._state == "size":
                at = self._size(data, at)
            else:
                at = self._trailers(data, at)
        return out

    def _end_of_chunk(self, data: bytes, at: int) -> int:
        end = data[at : at + 2]
        if not b"\r\n".startswith(end):
            raise BadRequest("a chunk does not end with CRLF (RFC 9112 §7.1)")
        if len(end) < 2:
            self._held = end
            return len(data)
        self._state = "size"
        return at + 2

    def _size(self, data: bytes, at: int) -> int:
        end = data.find(b"\n", at)
        line = data[at : end + 1] if end >= 0 else data[at:]
        if len(line) > MAX_SIZE_LINE:
            raise BadRequest(f"a chunk size line over {MAX_SIZE_LINE} bytes")
        if end < 0:
            if b"\r" in line[:-1]:
                raise BadRequest("a bare CR in a chunk size line (RFC 9112 §2.2)")
            self._held = line
            return len(data)
        match = _SIZE.fullmatch(line[:-2])
        if match is None or line[-2:] != b"\r\n":
            raise BadRequest("a malformed chunk size (RFC 9112 §7.1)")
        self._left = int(match[1], 16)
        self._excess = max(0, self._excess + len(line) - 16 - 2 * self._left)
        if self._excess > MAX_EXCESS:
            raise BadRequest("more chunk extensions than data (RFC 9112 §7.1.1)")
        self._state = "data" if self._left else "trailers"
        return end + 1

    def _trailers(self, data: bytes, at: int) -> int:
        block = data[at:]
        if block[:2] == b"\r\n":
            self._finish(b"", block[2:])
            return len(data)
        end = block.find(b"\r\n\r\n")
        if end < 0 or end > MAX_TRAILERS:
            if len(block) > MAX_TRAILERS:
                raise BadRequest(f"trailers over {MAX_TRAILERS} bytes", 431)
            if _STRAY.search(block) is not None:
                raise BadRequest("a bare CR or LF in a trailer line (RFC 9112 §2.2)")
            self._held = block
            return len(data)
        self._finish(block[: end + 2], block[end + 4 :])
        return len(data)

    def _finish(self, block: bytes, rest: bytes) -> None:
        self.trailers = parse_fields(block)
        if len(self.trailers) > MAX_TRAILER_COUNT:
            raise BadRequest(f"more than {MAX_TRAILER_COUNT} trailer lines", 431)
        for name, _ in self.trailers:
            if name.lower() in FORBIDDEN_TRAILERS:
                raise BadRequest(f"the trailer field {name.decode()!r} may not come behind a body (RFC 9110 §6.5.1)")
        self.rest = rest
        self.done = True
