"""RequestMirror: a copy by percent, a streamed body copied while it passes, the main request untouched."""

import pytest

from sidecar.config.model import BackendRef, RequestMirror, RequestMirrorFilter
from sidecar.errors import BadBackend
from sidecar.filters import FilterContext, build
from sidecar.filters.request_mirror import MAX_BODY
from sidecar.model import Filter, Request, Response
from tests.support.filters import Upstream, request, stream

SHADOW = BackendRef(name="shadow")


class Mirror:
    """Takes copies and keeps them."""

    def __init__(self) -> None:
        self.copies: list[Request] = []

    def __call__(self, ref: BackendRef, copy: Request) -> None:
        assert ref is SHADOW
        self.copies.append(copy)

    def filter(self, percent: int = 100) -> Filter:
        spec = RequestMirrorFilter(request_mirror=RequestMirror(backend_ref=SHADOW, percent=percent))
        return build(spec, FilterContext(mirror=self), "$.f[0]")


@pytest.mark.parametrize("body", [None, b"", b"data"])
async def test_a_copy_is_the_request_at_that_point_and_shares_nothing_that_changes(body: bytes | None) -> None:
    mirror, upstream = Mirror(), Upstream()
    sent = request(b"/a?b", method="POST", headers=[(b"X", b"1")], body=body, length=len(body or b""))
    response = await mirror.filter()(sent, upstream)
    sent.headers.set("X", "2")
    (copy,) = mirror.copies
    assert upstream.requests == [sent]
    assert copy is not sent
    assert (copy.method, copy.target, copy.authority) == ("POST", b"/a?b", "shop.example")
    assert copy.headers == [(b"Host", b"shop.example"), (b"X", b"1")]
    assert (copy.body, copy.length) == (body, len(body or b""))
    assert copy.attempts is not sent.attempts
    assert response.body == b"hello"


@pytest.mark.parametrize("percent", [0, 1, 33, 50, 99, 100])
async def test_exactly_the_percentage_of_each_hundred_requests_is_mirrored(percent: int) -> None:
    mirror, upstream = Mirror(), Upstream()
    around = mirror.filter(percent)
    for hundred in (1, 2):
        for _ in range(100):
            await around(request(), upstream)
        assert len(mirror.copies) == percent * hundred


async def test_a_streamed_body_passes_first_and_its_copy_goes_when_it_has_ended() -> None:
    mirror = Mirror()
    sent = request(
        method="POST", headers=[(b"Transfer-Encoding", b"chunked"), (b"Expect", b"100-continue")],
        body=stream([b"one", b"two"]), length=None,
    )  # fmt: skip
    seen: list[int] = []

    async def forward(forwarded: Request) -> Response:
        forwarded.trailers.append((b"X-Sum", b"1"))
        assert forwarded.body is not None
        assert not isinstance(forwarded.body, bytes)
        seen.extend([len(mirror.copies) async for _ in forwarded.body])
        with pytest.raises(StopAsyncIteration):  # asked again after its end: no second copy
            await anext(forwarded.body)
        return Response(200)

    await mirror.filter()(sent, forward)
    assert seen == [0, 0]
    (copy,) = mirror.copies
    assert (copy.body, copy.length, copy.trailers) == (b"onetwo", 6, [(b"X-Sum", b"1")])
    assert copy.headers == [(b"Host", b"shop.example"), (b"Content-Length", b"6")]


@pytest.mark.parametrize("length", [None, MAX_BODY])
async def test_a_body_of_the_cap_is_mirrored(length: int | None) -> None:
    mirror, upstream = Mirror(), Upstream()
    chunks = [b"x" * (MAX_BODY - 1), b"y"]
    await mirror.filter()(request(method="PUT", body=stream(chunks), length=length), upstream)
    assert [copy.body for copy in mirror.copies] == [b"".join(chunks)] == upstream.bodies


@pytest.mark.parametrize("length", [None, MAX_BODY + 2])
async def test_a_longer_body_passes_whole_and_is_not_mirrored(length: int | None) -> None:
    mirror, upstream = Mirror(), Upstream()
    chunks = [b"x" * MAX_BODY, b"y", b"z"]
    await mirror.filter()(request(method="PUT", body=stream(chunks), length=length), upstream)
    assert upstream.bodies == [b"".join(chunks)]
    assert mirror.copies == []


async def test_a_body_that_the_upstream_did_not_read_is_not_mirrored() -> None:
    mirror = Mirror()

    async def refuse(_: Request) -> Response:
        return Response(413)

    body = stream([b"data"])
    assert (await mirror.filter()(request(method="PUT", body=body, length=4), refuse)).status == 413
    assert mirror.copies == []


@pytest.mark.parametrize(("method", "upgrade"), [("CONNECT", None), ("GET", b"websocket")])
async def test_tunnels_are_not_mirrored(method: str, upgrade: bytes | None) -> None:
    mirror = Mirror()
    sent = request(b"db:5432", method=method)
    sent.upgrade = upgrade
    await mirror.filter()(sent, Upstream())
    assert mirror.copies == []


async def test_a_copy_that_cannot_be_sent_is_no_failure_of_the_request() -> None:
    def refuse(_ref: BackendRef, _copy: Request) -> None:
        raise BadBackend("no such cluster")

    spec = RequestMirrorFilter(request_mirror=RequestMirror(backend_ref=SHADOW))
    around = build(spec, FilterContext(mirror=refuse), "$.f[0]")
    assert (await around(request(), Upstream())).status == 200
    assert (await around(request(body=stream([b"x"]), length=1), Upstream())).status == 200
