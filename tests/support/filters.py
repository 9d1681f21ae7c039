"""Requests, responses and the rest of the path, for tests of filters."""

from collections.abc import AsyncIterator, Iterable, Sequence

from sidecar.config.model import FilterSpec
from sidecar.filters import FilterContext, build
from sidecar.model import Filter, Headers, Request, Response

Lines = Sequence[tuple[bytes, bytes]]


def request(
    target: bytes = b"/",
    *,
    method: str = "GET",
    host: str = "shop.example",
    headers: Lines = (),
    body: bytes | AsyncIterator[bytes] | None = None,
    length: int | None = 0,
    scheme: str = "http",
) -> Request:
    lines = Headers([(b"Host", host.encode()), *headers])
    return Request(
        method=method, target=target, authority=host, headers=lines, body=body, length=length, scheme=scheme
    )  # fmt: skip


async def stream(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def read(body: bytes | AsyncIterator[bytes] | None) -> bytes:
    if body is None or isinstance(body, bytes):
        return body or b""
    return b"".join([chunk async for chunk in body])


class Upstream:
    """What stands behind the filters: reads and keeps requests, answers in order, counts what is given back."""

    def __init__(self, *responses: Response) -> None:
        self.requests: list[Request] = []
        self.bodies: list[bytes] = []
        self.closed = 0
        self._responses = list(responses)

    async def __call__(self, request_: Request) -> Response:
        self.requests.append(request_)
        self.bodies.append(await read(request_.body))
        response = self._responses.pop(0) if self._responses else Response(200, [(b"Server", b"app")], b"hello")
        response.on_close(self._close)
        return response

    def _close(self) -> None:
        self.closed += 1


def no_mirror(*_: object) -> None:
    raise AssertionError("nothing is mirrored here")


def make(spec: FilterSpec, config_folder: str = ".") -> Filter:
    return build(spec, FilterContext(mirror=no_mirror, config_folder=config_folder), "$.f[0]")
