"""A real OTLP/HTTP receiver that counts spans: run as a process, `python -m bench.receiver PORT`.

It walks the wire format of ExportTraceServiceRequest down to its spans (resource_spans = 1, scope_spans = 2,
spans = 2) and decodes no further. `GET /count` answers with the number so far.
"""

import asyncio
import gzip
import sys

import httptools

_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n"


def count_spans(message: bytes) -> int:
    """The spans in one export."""
    return sum(
        1
        for resource in _fields(message, 0, len(message), 1)
        for scope in _fields(message, *resource, 2)
        for _ in _fields(message, *scope, 2)
    )


def _fields(data: bytes, at: int, end: int, wanted: int) -> list[tuple[int, int]]:
    """Where the length-delimited fields of this number lie between `at` and `end`."""
    found = []
    while at < end:
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 2:
            size, at = _varint(data, at)
            if key >> 3 == wanted:
                found.append((at, at + size))
            at += size
        elif kind == 0:
            _, at = _varint(data, at)
        else:
            at += 8 if kind == 1 else 4
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = data[at]
    at += 1
    if value < 128:
        return value, at
    value &= 127
    shift = 7
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


class _Counter:
    """Spans of all connections."""

    spans = 0


class _Protocol(asyncio.Protocol):
    """One exporter's connection."""

    def __init__(self, counter: _Counter) -> None:
        self._counter = counter
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._gzip = False
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._url = url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-encoding":
            self._gzip = value == b"gzip"
        elif name.lower() == b"expect":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")  # type: ignore[attr-defined]  # asyncio's base class

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        body, self._body = b"".join(self._body), []
        answer = _OK
        if self._url == b"/count":
            text = str(self._counter.spans).encode()
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text)
        elif body:
            self._counter.spans += count_spans(gzip.decompress(body) if self._gzip else body)
        self._gzip = False
        self._transport.write(answer)  # type: ignore[attr-defined]  # asyncio's base class


async def main(port: int) -> None:
    """Serve until the process is ended."""
    counter = _Counter()
    server = await asyncio.get_running_loop().create_server(lambda: _Protocol(counter), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
