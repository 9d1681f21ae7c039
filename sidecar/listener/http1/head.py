"""A request head from bytes (pure), strictly: what two parsers could read differently is refused (RFC 9112, CWE-444).

Regular expressions judge the whole head at once; only a refused head is looked at line by line, to say what is wrong.
"""

import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import IntEnum

from sidecar.errors import BadRequest
from sidecar.forwarding.headers import offered_upgrade
from sidecar.listener.target import read
from sidecar.model import Headers

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_LINE = re.compile(rb"(" + _TOKEN + rb") ([^\x00-\x20\x7f#]+) HTTP/([0-9])\.([0-9])")
_FIELDS = re.compile(rb"(?:" + _TOKEN + rb":[\t\x20-\x7e\x80-\xff]*\r\n)*")
_FIELD = re.compile(rb"([^:\r\n]+):[ \t]*([^\r\n]*)\r\n")
_NAME = re.compile(_TOKEN)
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_KNOWN_CODINGS = frozenset({b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress", b"identity"})
MAX_HEAD = 65_536  # bytes of a whole head
_STRAY = re.compile(rb"(?<!\r)\n|\r(?=[^\n])")  # a CR or an LF that is no part of a CRLF
MAX_METHOD = 64  # bytes


class _Note(IntEnum):
    NONE = 0
    HOST = 1
    LENGTH = 2
    CODING = 3
    CONNECTION = 4
    UPGRADE = 5
    EXPECT = 6
    VIA = 7


_NOTED = {
    b"host": _Note.HOST,
    b"content-length": _Note.LENGTH,
    b"transfer-encoding": _Note.CODING,
    b"connection": _Note.CONNECTION,
    b"upgrade": _Note.UPGRADE,
    b"expect": _Note.EXPECT,
    b"via": _Note.VIA,
}
_MEMO_LIMIT = 1024  # names
_MEMO_NAME = 64  # bytes of a name that is remembered


@dataclass(slots=True)
class Head:
    """What a request head says; framing is decided."""

    method: str
    target: bytes  # origin-form, `*`, or authority-form for CONNECT
    authority: bytes
    scheme: str  # of an absolute-form, else empty
    minor: int  # of HTTP/1.x
    headers: Headers
    length: int | None  # of the body; None: chunked
    close: bool  # the connection ends with the answer
    listed: AbstractSet[bytes]  # tokens of Connection, lower case
    upgrade: bytes | None
    expects: bool  # 100-continue
    via: list[bytes]


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """In bytes, and in lines."""

    target: int
    line: int
    count: int


class HeadParser:
    """Parses heads with a bounded memo of field names; one instance serves a listener."""

    def __init__(self, limits: HeadLimits, *, named_ports: bool = False) -> None:
        """`named_ports`: a Host may name its port, as forward proxies of Services take it."""
        self.limits = limits
        self.named_ports = named_ports
        self._memo: dict[bytes, _Note] = {}

    def parse(self, head: bytes) -> Head:
        """Parse a head that ends with the CRLF of its last line; raises BadRequest with the status that fits."""
        line, _, rest = head.partition(b"\r\n")
        match = self._line(line)
        if _FIELDS.fullmatch(rest) is None:
            raise _bad_fields(rest)
        pairs = _FIELD.findall(rest)
        if len(pairs) > self.limits.count or len(rest) > self.limits.line:
            self._check_sizes(rest)
        if b" \r\n" in rest or b"\t\r\n" in rest:
            pairs = [(name, value.rstrip(b" \t")) for name, value in pairs]
        return self._judge(match[1], match[2], int(match[4]), Headers(pairs))

    def check_partial(self, buffer: bytes, seen: int) -> None:
        """Refuse at once what can no longer become a head; `seen` bytes were looked at before. Raises BadRequest."""
        if buffer[0] == 0x16:
            raise BadRequest("TLS on a port that speaks plain HTTP")
        first = buffer.find(b"\r\n")
        stray = _STRAY.search(buffer, max(0, seen - 1))
        if stray is not None:
            where = "the request line" if first < 0 or stray.start() < first else "a header line"
            raise BadRequest(f"a bare CR or LF in {where} (RFC 9112 §2.2)")
        if first < 0 and len(buffer) > self.limits.target + 1:  # its CR may be here already
            raise _long_line(self.limits.target)
        if first >= 0 and first + 2 > seen:
            self._line(buffer[:first])
        if len(buffer) > MAX_HEAD + 3:  # its end may be here in part
            raise BadRequest(f"a request head over {MAX_HEAD} bytes", 431)

    def _line(self, line: bytes) -> re.Match[bytes]:
        match = _LINE.fullmatch(line)
        if match is None or len(line) > self.limits.target:
            raise _bad_line(line, self.limits.target)
        if match[3] != b"1" or match[4] not in b"01":
            raise _bad_version(match[1], match[3] + b"." + match[4])
        if match.end(1) > MAX_METHOD:
            raise BadRequest(f"a method over {MAX_METHOD} bytes (RFC 9110 §9.1)", 501)
        return match

    def _judge(self, method: bytes, target: bytes, minor: int, headers: Headers) -> Head:
        hosts: list[bytes] = []
        lengths: list[bytes] = []
        codings: list[bytes] = []
        tokens = b""
        upgrade: bytes | None = None
        expects = False
        via: list[bytes] = []
        memo = self._memo
        for name, value in headers:
            note = memo.get(name)
            if note is None:
                note = self._note(name)
            if note is _Note.NONE:
                continue
            if note is _Note.HOST:
                hosts.append(value)
            elif note is _Note.CONNECTION:
                tokens += b"," + value.lower()
            elif note is _Note.LENGTH:
                lengths.append(value)
            elif note is _Note.CODING:
                codings.append(value)
            elif note is _Note.UPGRADE:
                upgrade = value if upgrade is None else upgrade + b", " + value
            elif note is _Note.EXPECT:
                expects = _expectation(value)
            else:
                via.append(value)
        asked = read(method, target, hosts, minor=minor, named_ports=self.named_ports)
        listed = {token.strip() for token in tokens.split(b",")} if tokens else frozenset()
        return Head(
            method=method.decode("ascii"), target=asked.target, authority=asked.authority, scheme=asked.scheme,
            minor=minor, headers=headers, length=_framing(lengths, codings, minor), listed=listed, via=via,
            expects=expects and minor == 1,
            close=b"close" in listed or (minor == 0 and b"keep-alive" not in listed),
            upgrade=offered_upgrade(upgrade) if upgrade is not None and minor and b"upgrade" in listed else None,
        )  # fmt: skip

    def _note(self, name: bytes) -> _Note:
        note = _NOTED.get(name.lower(), _Note.NONE)
        if len(name) <= _MEMO_NAME:  # one client's odd names must not keep the memo from everybody else's
            if len(self._memo) >= _MEMO_LIMIT:
                self._memo.clear()
            self._memo[name] = note
        return note

    def _check_sizes(self, block: bytes) -> None:
        lines = block.split(b"\r\n")
        if len(lines) - 1 > self.limits.count:
            raise BadRequest(f"more than {self.limits.count} header lines", 431)
        if any(len(line) > self.limits.line for line in lines):
            raise BadRequest(f"a header line over {self.limits.line} bytes", 431)


def parse_fields(block: bytes) -> list[tuple[bytes, bytes]]:
    """Field lines, each with its CRLF, as trailers have them; raises BadRequest."""
    if _FIELDS.fullmatch(block) is None:
        raise _bad_fields(block)
    return [(name, value.rstrip(b" \t")) for name, value in _FIELD.findall(block)]


def _framing(lengths: list[bytes], codings: list[bytes], minor: int) -> int | None:
    """The body's length, None for chunked (RFC 9112 §6.3); anything ambiguous is refused."""
    if codings:
        if lengths:
            raise BadRequest("Content-Length and Transfer-Encoding together (RFC 9112 §6.1)")
        if minor == 0:
            raise BadRequest("Transfer-Encoding in an HTTP/1.0 request (RFC 9112 §6.1)")
        if len(codings) == 1 and codings[0].lower() == b"chunked":
            return None
        names = [name.strip().lower() for name in b",".join(codings).split(b",")]
        known = names[-1] == b"chunked" and names.count(b"chunked") == 1 and set(names[:-1]) <= _KNOWN_CODINGS
        raise BadRequest("a Transfer-Encoding other than a single `chunked` (RFC 9112 §6.1)", 501 if known else 400)
    if not lengths:
        return 0
    if len(lengths) > 1:
        raise BadRequest("more than one Content-Length (RFC 9112 §6.3)")
    if _LENGTH.fullmatch(lengths[0]) is None:
        raise BadRequest("Content-Length is not a plain decimal number (RFC 9110 §8.6)")
    return int(lengths[0])


def _expectation(value: bytes) -> bool:
    if value.lower() != b"100-continue":
        raise BadRequest("an expectation other than 100-continue (RFC 9110 §10.1.1)", 417)
    return True


def _long_line(limit: int) -> BadRequest:
    return BadRequest(f"a request line over {limit} bytes", 414)


def _bad_version(method: bytes, version: bytes) -> BadRequest:
    if (method, version) == (b"PRI", b"2.0"):
        return BadRequest("HTTP/2 on a port that speaks HTTP/1.1 (RFC 9113 §3.4)", 505)
    return BadRequest(f"HTTP version {version.decode()} is not spoken here", 505)


def _bad_line(line: bytes, limit: int) -> BadRequest:
    """Say what is wrong with a request line."""
    if line[:1] == b"\x16":
        return BadRequest("TLS on a port that speaks plain HTTP")
    if len(line) > limit:
        return _long_line(limit)
    parts = line.split(b" ")
    version = parts[-1]
    faults = (
        (b"\r" in line or b"\n" in line, "a bare CR or LF in the request line (RFC 9112 §2.2)"),
        (len(parts) != 3, "a request line is a method, a target and a version with one space between (RFC 9112 §3)"),
        (_NAME.fullmatch(parts[0]) is None, "the method is no token (RFC 9110 §9.1)"),
        (not version.startswith(b"HTTP/"), "the request line ends with no HTTP version (RFC 9112 §2.3)"),
        (_VERSION.fullmatch(version) is None, "malformed HTTP version (RFC 9112 §2.3)"),
        (True, "the request target holds a fragment or control bytes (RFC 9112 §3.2)"),
    )
    return BadRequest(next(text for wrong, text in faults if wrong))


def _bad_fields(block: bytes) -> BadRequest:
    """Say what is wrong with the header lines."""
    for line in block.removesuffix(b"\r\n").split(b"\r\n"):
        name, colon, value = line.partition(b":")
        faults = (
            (not line, "an empty line within the header lines (RFC 9112 §2.1)"),
            (b"\r" in line or b"\n" in line, "a bare CR or LF in a header line (RFC 9112 §2.2)"),
            (line[:1] in {b" ", b"\t"}, "a folded header line (obs-fold, RFC 9112 §5.2)"),
            (not colon, "a header line without a colon (RFC 9112 §5)"),
            (name.endswith((b" ", b"\t")), "white space between a field name and its colon (RFC 9112 §5.1)"),
            (_NAME.fullmatch(name) is None, "a field name that is no token (RFC 9110 §5.1)"),
            (_VALUE.fullmatch(value) is None, "control bytes in a field value (RFC 9110 §5.5)"),
        )
        found = next((text for wrong, text in faults if wrong), None)
        if found is not None:
            return BadRequest(found)
    return BadRequest("the header lines do not end with CRLF (RFC 9112 §2.1)")
