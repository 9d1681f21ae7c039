r"""The wire corpus as data: cases from YAML, their texts as bytes, their expectations as patterns.

A text is written line by line. Each line ends with CRLF, a line that ends with a backslash does not. A text without an
empty line is a head and gets one; `{bare}` anywhere keeps it as it is. Escapes: `\r \n \t \0 \xHH \\`; `{a*500}` is
500 times `a`; `{origin}`, `{out}` are addresses. In expectations `{own}` stands for the lines that a reverse proxy
adds (X-Forwarded-*, Via), `{via}` for Via alone, `{date}` for a Date line, `{any}` for anything within a line.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

CASES = Path(__file__).parents[1] / "wire" / "cases"
RUNS = ("whole", "split", "behind")
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|([rnt0\\]))")
_SIMPLE = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}
_REPEAT = re.compile(rb"\{(\\x[0-9a-f]{2}|\\r\\n|[^{}*]+)\*(\d+)\}")
_HOLE = re.compile(rb"\{(own|via|date|any)\}")
_VIA = rb"Via: 1\.[01] [a-z]+\.[0-9a-f]{8}"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One case; texts are still texts, for the origin's address is not known yet."""

    name: str
    why: str  # the rule's source
    topic: str
    send: str = ""
    origin: str = "HTTP/1.1 200 OK\nContent-Length: 2\n\nok\\\n"
    origin_at: str = "request"  # or `head`: when the origin answers
    origin_end: str = ""  # `close`, `reset`: what it does behind its answer
    upstream: str = ""  # `nothing`, `unfinished`: no whole request; empty: not looked at
    client: str | int | None = None  # a status of our own, or the bytes
    error: str = ""  # of Proxy-Status, for a status of our own
    says: str = ""  # a part of the cause
    connection: str = "keep"  # `keep`, `close`, `cut`, `reset`, `pipelined 2` (two more are answered)
    pool: str = ""  # `keep`, `drop`: what becomes of the upstream's
    listener: str = "in"
    runs: tuple[str, ...] = RUNS
    steps: tuple[Mapping[str, str], ...] = ()
    rows: Mapping[str, Any] = field(default_factory=dict)
    family: str = ""  # the name without that of the row

    @property
    def method(self) -> str:
        return self.send.split(" ", 1)[0]


def load() -> list[Case]:
    """All cases, one for each row."""
    return [case for path in sorted(CASES.glob("*.yaml")) for case in _file(path)]


def _file(path: Path) -> Iterator[Case]:
    data = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    defaults = data.get("defaults", {})
    for entry in data["cases"]:
        merged = {**defaults, **entry, "topic": path.stem, "family": entry["name"]}
        for name in ("runs", "steps"):
            if name in merged:
                merged[name] = tuple(merged[name])
        case = Case(**merged)
        if not case.rows:
            yield case
        for row, value in case.rows.items():
            yield _filled(case, str(row), value if isinstance(value, Mapping) else {"row": value})


def _filled(case: Case, row: str, values: Mapping[str, Any]) -> Case:
    """A row fills `<row>`, or the holes that it names; what is no hole is a field of the case."""
    fields = {key: value for key, value in values.items() if key in Case.__dataclass_fields__}
    holes = {f"<{key}>": str(value) for key, value in values.items() if key not in fields}
    new: dict[str, Any] = {"name": f"{case.name}: {row}", "rows": {}, **fields}
    for key in ("send", "origin", "upstream", "client", "says"):
        text = new.get(key, getattr(case, key))
        if isinstance(text, str):
            for hole, value in holes.items():
                text = text.replace(hole, value)
            new[key] = text
    return replace(case, **new)


def wire(text: str, names: Mapping[str, str]) -> bytes:
    """The bytes of a text; `names` are addresses to put for `{origin}` and its like."""
    for name, address in names.items():
        text = text.replace(f"{{{name}}}", address)
    data = text.encode()
    whole = b"{bare}" in data
    data = data.replace(b"{bare}", b"").replace(b"\\\n", b"\\c").replace(b"\n", b"\r\n").replace(b"\\c", b"")
    data = _REPEAT.sub(lambda found: found[1] * int(found[2]), data)
    data = _ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode()) if found[1] else _SIMPLE[found[2]], data)
    return data if whole or not data or b"\r\n\r\n" in data else data + b"\r\n"


def pattern(expected: bytes) -> re.Pattern[bytes]:
    """Expected bytes with holes."""
    host = re.search(rb"^Host: ([^\r]*)\r$", expected, re.MULTILINE)
    own = (
        rb"X-Forwarded-For: 127\.0\.0\.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: "
        + (re.escape(host[1]) if host else rb"[^\r\n]*")
        + rb"\r\n"
        + _VIA
    )
    holes = {b"own": own, b"via": _VIA, b"date": rb"Date: [^\r\n]+ GMT", b"any": rb"[^\r\n]*"}
    parts = _HOLE.split(expected)
    return re.compile(b"".join(re.escape(part) if at % 2 == 0 else holes[part] for at, part in enumerate(parts)))


def plain(data: bytes) -> bytes:
    """Messages with each chunked body in one piece: how a body is cut into chunks is no part of a message."""
    out = b""
    while data:
        head, mark, rest = data.partition(b"\r\n\r\n")
        out += head + mark
        data = rest
        if re.search(rb"\r\ntransfer-encoding: *chunked\r?$", head, re.IGNORECASE | re.MULTILINE):
            body, end, data = _chunks(rest)
            out += b"[chunks]" + body + end
        else:
            size = re.search(rb"\r\ncontent-length: *(\d+)\r?$", head, re.IGNORECASE | re.MULTILINE)
            cut = int(size[1]) if size else 0
            if not size and not head.startswith((b"HTTP/1.1 1",)):
                return out + data
            out, data = out + rest[:cut], rest[cut:]
    return out


def _chunks(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Body, end mark with trailers, and the rest; the end mark is empty where the end is missing."""
    body = b""
    while found := re.match(rb"([0-9A-Fa-f]+)[^\r\n]*\r\n", data):
        size = int(found[1], 16)
        data = data[found.end() :]
        if size == 0:
            trailers, mark, rest = (b"", b"\r\n", data[2:]) if data[:2] == b"\r\n" else data.partition(b"\r\n\r\n")
            return body, b"[end]" + trailers + mark, rest
        body += data[:size]
        data = data[size + 2 :]
    return body, b"", data


def request_length(data: bytes) -> int | None:
    """Bytes of the first whole request, None where its end is not here; for requests that we have checked."""
    end = data.find(b"\r\n\r\n") + 4
    if end < 4:
        return None
    head = data[:end]
    if re.search(rb"\r\ntransfer-encoding: chunked\r\n", head, re.IGNORECASE):
        _, mark, rest = _chunks(data[end:])
        return len(data) - len(rest) if mark else None
    size = re.search(rb"\r\ncontent-length: (\d+)\r\n", head, re.IGNORECASE)
    end += int(size[1]) if size else 0
    return end if len(data) >= end else None
