"""Codings piece by piece: nothing is held back, nothing is lost, and no body grows beyond its limits."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.model import Compress, CompressFilter, DecompressRequests
from sidecar.errors import BadRequest, ConfigError, FilterOverflow, NotAcceptable, ProxyError
from sidecar.filters import FilterContext
from sidecar.filters.compress import codecs, compress
from sidecar.filters.compress.bodies import Decoded, Decoding, Encoded, Shared
from sidecar.filters.compress.codecs import CorruptBody, decoder, encoder
from sidecar.filters.compress.meter import Level, Meter
from sidecar.model import Request, Response
from tests.support.codings import CODINGS, decode, encode, reader
from tests.support.filters import Lines, Upstream, make, no_mirror, read, request, stream

HTML = (b"Content-Type", b"text/html")
TEXT = b"<p>hello world, hello filters</p>" * 100
each_coding = pytest.mark.parametrize("coding", CODINGS)
chunks = st.lists(st.binary(max_size=300) | st.sampled_from([b"data: tick\n\n", b"a" * 5000]), max_size=8)

# --- codecs -----------------------------------------------------------------------------------------------------------


@each_coding
@given(chunks, st.sampled_from(Level))
def test_each_chunk_can_be_read_once_it_is_fed(coding: str, parts: Sequence[bytes], level: Level) -> None:
    stream_, read_ = encoder(coding, level), reader(coding)
    for part in parts:
        assert read_(stream_.feed(part)) == part
    assert read_(stream_.finish()) == b""
    assert decode(coding, encoder(coding, level).whole(b"".join(parts))) == b"".join(parts)


def decoded(coding: str, parts: Sequence[bytes], limit: int = 1000) -> tuple[bytes, bool]:
    one = decoder(coding)
    found = []
    for part in parts:
        piece = one.feed(part, limit)
        while piece:
            found.append(piece)
            piece = one.feed(b"", limit)
    return b"".join(found), one.ended


@each_coding
@given(st.binary(max_size=3000) | st.sampled_from([b"a" * 100_000, TEXT]), st.integers(1, 2000))
def test_wherever_it_is_cut_an_encoded_body_decodes(coding: str, body: bytes, size: int) -> None:
    encoded = encode(coding, body)
    parts = [encoded[at : at + size] for at in range(0, len(encoded), size)]
    assert decoded(coding, parts) == (body, True)
    assert decoded(coding, [*parts, b""]) == (body, True)
    assert not decoded(coding, [encoded[:-1]])[1]


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_members_follow_each_other(coding: str) -> None:
    two = encode(coding, b"one") + encode(coding, b"two")
    assert decoded(coding, [two]) == (b"onetwo", True)
    assert decoded(coding, [two[:5], two[5:]]) == (b"onetwo", True)
    half = len(two) // 2
    assert decoded(coding, [two[:half], two[half:]]) == (b"onetwo", True)
    assert not decoded(coding, [two[:-1]])[1]


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_endless_members_without_content_are_refused(coding: str) -> None:
    assert decoded(coding, [encode(coding, b"") * 10 + encode(coding, b"x")]) == (b"x", True)
    with pytest.raises(CorruptBody):
        decoded(coding, [encode(coding, b"") * 1000])


@each_coding
def test_garbage_is_corrupt_from_its_first_byte_and_after_the_end(coding: str) -> None:
    for garbage in (b"\xff\xfegarbage that is long enough", encode(coding, TEXT) + b"\xff\xfegarbage"):
        with pytest.raises(CorruptBody):
            decoded(coding, [garbage])


@each_coding
def test_a_decoder_gives_out_no_more_than_it_is_asked_for(coding: str) -> None:
    one = decoder(coding)
    assert 0 < len(one.feed(encode(coding, b"\0" * 10_000_000), 65_536)) <= 2 * 65_536


def test_a_window_beyond_that_of_rfc_9659_is_refused() -> None:
    options = {zstd.CompressionParameter.window_log: 27}
    wide = zstd.ZstdCompressor(options=options)
    encoded = wide.compress(b"a" * 100) + wide.flush()
    with pytest.raises(CorruptBody):
        decoder("zstd").feed(encoded, 1000)


def test_without_its_package_a_coding_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert codecs.INSTALLED == CODINGS
    assert codecs._module("no_such_package", "zlib") is not None
    assert codecs._module("no_such_package") is None
    monkeypatch.setattr("sidecar.filters.compress.INSTALLED", ("gzip",))
    with pytest.raises(ConfigError) as caught:
        make(CompressFilter(compress=Compress(encodings=("gzip", "br"))))
    assert caught.value.path == "$.f[0].compress.encodings[1]"
    assert "`sidecar[compress]` brings it" in caught.value.reason


# --- bodies -----------------------------------------------------------------------------------------------------------


async def broken(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    raise ProxyError("it broke")


@each_coding
@given(parts=chunks)
async def test_a_streamed_body_comes_out_whole_and_no_chunk_is_empty(coding: str, parts: Sequence[bytes]) -> None:
    meter = Meter()
    body = Encoded(stream(parts), coding, Level.FAST, meter)
    assert meter.streams == 1
    out = [chunk async for chunk in body]
    assert all(out)  # an empty chunk would end the message
    assert decode(coding, b"".join(out)) == b"".join(parts)
    assert [chunk async for chunk in body] == []
    assert meter.streams == 0


@each_coding
async def test_whole_bodies_are_encoded_one_after_the_other_and_beside_each_other(coding: str) -> None:
    shared = Shared()
    bodies = [TEXT, b"", TEXT * 100, b"x", TEXT]  # the third in a thread, whatever the coding
    for body in bodies:
        assert decode(coding, await shared.whole(coding, Level.FAST, body)) == body
    encoded = await asyncio.gather(*(shared.whole(coding, Level.THOROUGH, body) for body in bodies))
    assert [decode(coding, each) for each in encoded] == bodies
    assert shared.meter.load(asyncio.get_running_loop().time()) > 0
    assert len(shared._kept) == (2 if coding == "zstd" else 0)
    await shared.aclose()
    assert not shared._kept


async def test_what_breaks_the_body_breaks_the_encoded_one() -> None:
    meter = Meter()
    body = Encoded(broken(b"hello"), "gzip", Level.FAST, meter)
    assert reader("gzip")(await anext(body)) == b"hello"
    with pytest.raises(ProxyError, match="it broke"):
        await anext(body)
    body.release()
    body.release()
    assert meter.streams == 0


def decoding(coding: str, **limits: int) -> Decoding:
    return Decoding(coding, decoder(coding), DecompressRequests(**limits))


@each_coding
@pytest.mark.parametrize("size", [1, 7, 100_000])
async def test_a_request_body_is_decoded_as_it_arrives(coding: str, size: int) -> None:
    encoded, meter = encode(coding, TEXT), Meter()
    parts = [encoded[at : at + size] for at in range(0, len(encoded), size)]
    body = Decoded(stream(parts), decoding(coding), meter)
    assert meter.streams == 1
    assert b"".join([chunk async for chunk in body]) == TEXT
    assert (body.received, meter.streams) == (len(encoded), 0)


@each_coding
async def test_a_request_body_that_ends_early_is_no_body(coding: str) -> None:
    with pytest.raises(BadRequest, match=f"ends within its {coding} coding"):
        await read(Decoded(stream([encode(coding, TEXT)[:-3]]), decoding(coding), Meter()))
    assert await read(Decoded(stream([]), decoding(coding), Meter())) == b""


@each_coding
async def test_a_request_body_that_is_not_what_it_says_is_400(coding: str) -> None:
    with pytest.raises(BadRequest, match=f"is not {coding}, as its Content-Encoding says") as caught:
        await read(Decoded(stream([b"\xff\xfegarbage that is long enough"]), decoding(coding), Meter()))
    assert caught.value.status == 400


@each_coding
@pytest.mark.parametrize(
    ("limits", "text"),
    [({"max_size": 1_000_000, "max_ratio": 10**9}, "more than 1000000 bytes"), ({}, "more than 100 times its size")],
)
async def test_a_bomb_goes_no_further_than_its_limit(coding: str, limits: dict[str, int], text: str) -> None:
    bomb, passed = encode(coding, b"\0" * 20_000_000), 0
    with pytest.raises(BadRequest, match=text) as caught:
        async for chunk in Decoded(stream([bomb]), decoding(coding, **limits), Meter()):
            passed += len(chunk)
    assert caught.value.status == 413
    assert passed <= 5_100_000


@each_coding
async def test_a_short_body_of_zeros_is_no_bomb(coding: str) -> None:
    assert len(await read(Decoded(stream([encode(coding, b"\0" * 65_536)]), decoding(coding), Meter()))) == 65_536


# --- the filter -------------------------------------------------------------------------------------------------------


def asking(accept: bytes | None = b"gzip", *lines: tuple[bytes, bytes], method: str = "GET") -> Request:
    wanted = [(b"Accept-Encoding", accept)] if accept is not None else []
    return request(method=method, headers=[*wanted, *lines])


async def answered(
    response: Response, sent: Request, spec: Compress | None = None, *, upstream: Upstream | None = None
) -> Response:
    around = make(CompressFilter(compress=spec or Compress(min_size=100)))
    return await around(sent, upstream or Upstream(response))


def page(body: bytes | AsyncIterator[bytes] = TEXT, *lines: tuple[bytes, bytes], status: int = 200) -> Response:
    length = [(b"Content-Length", b"%d" % len(body))] if isinstance(body, bytes) else []
    return Response(status, [HTML, *length, *lines], body)


async def test_a_whole_body_is_encoded_with_its_length() -> None:
    response = await answered(page(TEXT, (b"ETag", b'"1"')), asking())
    assert isinstance(response.body, bytes)
    assert decode("gzip", response.body) == TEXT
    assert response.headers == [
        HTML,
        (b"Content-Length", b"%d" % len(response.body)),
        (b"ETag", b'W/"1"'),
        (b"Vary", b"Accept-Encoding"),
        (b"Content-Encoding", b"gzip"),
    ]


@pytest.mark.parametrize("accept", [None, b"", b"identity", b"deflate"])
async def test_a_client_that_takes_nothing_gets_it_as_it_is_and_caches_are_told(accept: bytes | None) -> None:
    response = await answered(page(), asking(accept))
    assert (response.body, response.headers.get("vary")) == (TEXT, "Accept-Encoding")
    assert response.headers.get("content-encoding") is None


async def test_what_would_not_shrink_stays_as_it_is() -> None:
    noise = bytes(range(256))
    assert (await answered(page(noise), asking())).body == noise
    forced = await answered(page(noise), asking(b"gzip, identity;q=0"))
    assert decode("gzip", await read(forced.body)) == noise


@pytest.mark.parametrize("response", [page(b"short"), Response(200, [(b"Content-Type", b"image/png")], TEXT)])
async def test_a_client_that_refuses_identity_gets_even_small_and_unfit_content_encoded(response: Response) -> None:
    body = response.body
    untouched = await answered(Response(200, response.headers, body), asking())
    assert (untouched.body, untouched.headers.get("vary")) == (body, None)
    forced = await answered(response, asking(b"identity;q=0, br"))
    assert decode("br", await read(forced.body)) == body


async def test_nothing_acceptable_is_406_for_a_request_that_can_be_repeated_and_the_response_is_given_back() -> None:
    upstream = Upstream(page())
    with pytest.raises(NotAcceptable) as caught:
        await answered(page(), asking(b"*;q=0"), upstream=upstream)
    assert (caught.value.headers, upstream.closed) == ((("Vary", "Accept-Encoding"),), 1)
    done = await answered(page(), asking(b"*;q=0", method="POST"))
    assert (done.status, done.body) == (200, TEXT)


async def test_a_response_to_head_has_the_head_of_the_one_to_get_but_for_the_length() -> None:
    lines = [HTML, (b"Content-Length", b"3300"), (b"ETag", b'"1"'), (b"Accept-Ranges", b"bytes")]
    response = await answered(Response(200, lines), asking(method="HEAD"))
    assert (response.body, response.length, response.declared) == (b"", None, True)
    got = await answered(Response(200, lines, TEXT), asking())
    got.headers.discard("content-length")
    assert response.headers == got.headers
    small = await answered(Response(200, [HTML, (b"Content-Length", b"5")]), asking(method="HEAD"))
    assert small.headers == [HTML, (b"Content-Length", b"5")]
    odd = await answered(Response(200, [HTML]), asking(method="HEAD"))
    assert odd.headers.get("content-encoding") == "gzip"


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ([(b"If-None-Match", b'W/"1"')], [(b"ETag", b'W/"1"'), (b"Vary", b"Accept-Encoding")]),
        ([(b"If-None-Match", b'"1"')], [(b"ETag", b'"1"')]),
    ],
)
async def test_a_304_names_the_etag_that_the_client_has_from_here(asked: Lines, expected: Lines) -> None:
    response = await answered(Response(304, [(b"ETag", b'"1"')]), asking(b"gzip", *asked))
    assert response.headers == expected


async def test_trailers_stay_behind_a_body_that_came_in_chunks() -> None:
    response = page(TEXT)
    response.headers.discard("content-length")
    response.length, response.trailers = None, [(b"X-Sum", b"1")]
    encoded = await answered(response, asking())
    assert (encoded.length, encoded.trailers) == (None, [(b"X-Sum", b"1")])
    assert encoded.headers.get("content-length") is None
    assert decode("gzip", await read(encoded.body)) == TEXT


async def test_what_was_asked_counts_not_what_a_filter_behind_makes_of_it() -> None:
    async def forward(sent: Request) -> Response:
        sent.headers.set("Accept-Encoding", "identity")
        return page()

    response = await make(CompressFilter(compress=Compress(min_size=100)))(asking(b"br"), forward)
    assert response.headers.get("content-encoding") == "br"


async def test_upgrades_and_tunnels_pass() -> None:
    for sent in (request(method="CONNECT"), asking()):
        sent.upgrade = b"websocket" if sent.method == "GET" else None
        assert (await answered(page(), sent)).body == TEXT


class Spliced:
    """A tunnel that nobody joins."""

    async def join(self, downstream: object, early: bytes) -> tuple[int, int]:
        raise AssertionError((downstream, early))

    def abort(self) -> None:
        raise AssertionError("nobody aborts it")


async def test_a_tunnel_that_nobody_asked_for_passes() -> None:
    assert (await answered(Response(101, [HTML], tunnel=Spliced()), asking())).headers == [HTML]


async def test_beyond_the_budget_nothing_is_encoded_unless_the_client_insists() -> None:
    around = compress(Compress(min_size=100, cpu_budget=1), FilterContext(mirror=no_mirror), "$")
    around._meter.spend(asyncio.get_running_loop().time(), 1e6)
    response = await around(asking(), Upstream(page()))
    assert (response.body, response.headers.get("vary")) == (TEXT, "Accept-Encoding")
    forced = await around(asking(b"gzip, identity;q=0"), Upstream(page()))
    assert decode("gzip", await read(forced.body)) == TEXT


async def test_beyond_so_many_streams_bodies_pass_as_they_are_and_whole_ones_are_encoded() -> None:
    around = compress(Compress(min_size=100, max_streams=1), FilterContext(mirror=no_mirror), "$")
    first = await around(asking(), Upstream(page(stream([TEXT]))))
    second = await around(asking(), Upstream(page(stream([TEXT]))))
    assert [each.headers.get("content-encoding") for each in (first, second)] == ["gzip", None]
    assert await read(second.body) == TEXT
    assert (await around(asking(), Upstream(page()))).headers.get("content-encoding") == "gzip"
    assert around.explain().endswith("1 streams of 1")
    await first.aclose()  # dropped, not read
    third = await around(asking(), Upstream(page(stream([TEXT]))))
    assert third.headers.get("content-encoding") == "gzip"
    await third.aclose()


async def test_a_failure_behind_the_filter_passes_as_it_is() -> None:
    async def failing(_: Request) -> Response:
        raise ProxyError("it failed")

    with pytest.raises(ProxyError, match="it failed"):
        await make(CompressFilter())(asking(), failing)


async def test_what_clients_accept_is_remembered_up_to_a_limit() -> None:
    around = compress(Compress(min_size=100), FilterContext(mirror=no_mirror), "$")
    for at in range(300):
        response = await around(asking(b"br, x-%d" % at), Upstream(page()))
        assert response.headers.get("content-encoding") == "br"
    assert len(around._choices) == 256


async def test_outcomes_are_counted_and_noted() -> None:
    counted: list[tuple[str, str]] = []
    context = FilterContext(mirror=no_mirror, count=lambda kind, outcome: counted.append((kind, outcome)))
    around = compress(Compress(), context, "$")
    sent = [asking(b"br"), asking(None), asking()]
    sent[2].notes = {"x": 1}
    for each, response in zip(sent, (page(), page(), page(b"short")), strict=True):
        await around(each, Upstream(response))
    with pytest.raises(NotAcceptable):
        await around(asking(b"*;q=0"), Upstream(page()))
    assert [outcome for _, outcome in counted] == ["br", "identity", "small", "not_acceptable"]
    assert [each.notes for each in sent] == [
        {"sidecar.compress.outcome": "br"},
        {"sidecar.compress.outcome": "identity"},
        {"x": 1, "sidecar.compress.outcome": "small"},
    ]


async def test_the_filter_says_in_a_line_what_it_does() -> None:
    around = compress(Compress(encodings=("br", "gzip")), FilterContext(mirror=no_mirror), "$")
    assert around.explain() == "Compress: br, gzip from 1024 bytes on; 0% of a core spent of 30%, 0 streams of 64"


# --- requests ---------------------------------------------------------------------------------------------------------

DECODING = Compress(decompress_requests=DecompressRequests())


def posting(body: bytes | AsyncIterator[bytes] | None, *lines: tuple[bytes, bytes]) -> Request:
    length = None if body is None or not isinstance(body, bytes) else len(body)
    return request(method="POST", headers=lines, body=body, length=length)


async def received(sent: Request, spec: Compress = DECODING) -> tuple[Request, bytes]:
    """What the app gets."""
    upstream = Upstream()
    await answered(Response(200), sent, spec, upstream=upstream)
    return upstream.requests[0], upstream.bodies[0]


@each_coding
@pytest.mark.parametrize("streamed", [True, False])
async def test_the_app_gets_a_plain_body_that_does_not_look_encoded(coding: str, streamed: bool) -> None:
    encoded = encode(coding, TEXT)
    lines = [
        (b"Content-Encoding", coding.encode()),
        (b"Content-Length", b"%d" % len(encoded)),
        (b"Content-Digest", b"sha-256=:AA==:"),
    ]
    sent, body = await received(posting(stream([encoded]) if streamed else encoded, *lines))
    assert body == TEXT
    host = (b"Host", b"shop.example")
    length = None if streamed else len(TEXT)
    assert (sent.headers, sent.length) == (
        [host] if streamed else [host, (b"Content-Length", b"3300")],
        length,
    )


@pytest.mark.parametrize(
    ("lines", "spec"),
    [
        ([], DECODING),
        ([(b"Content-Encoding", b"identity")], DECODING),
        ([(b"Content-Encoding", b"")], DECODING),
        ([(b"Content-Encoding", b"gzip"), (b"Cache-Control", b"no-transform")], DECODING),
        ([(b"Content-Encoding", b"gzip")], Compress()),
        ([(b"Content-Encoding", b"compress")], Compress()),
    ],
)
async def test_a_request_that_is_not_to_be_decoded_is_not(lines: Lines, spec: Compress) -> None:
    sent, body = await received(posting(b"anything", *lines), spec)
    assert (sent.headers, body) == ([(b"Host", b"shop.example"), *lines], b"anything")


async def test_a_coding_without_a_body_is_no_mistake() -> None:
    assert (await received(posting(None, (b"Content-Encoding", b"gzip"))))[1] == b""


@pytest.mark.parametrize("coding", [b"deflate", b"gzip, br", b"x-gzip, gzip", b"\xff"])
async def test_a_coding_that_is_not_known_is_415_with_those_that_are(coding: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        await received(posting(b"x", (b"Content-Encoding", coding)))
    assert (caught.value.status, caught.value.headers) == (415, (("Accept-Encoding", "zstd, br, gzip"),))


async def test_an_old_name_of_gzip_is_gzip() -> None:
    assert (await received(posting(encode("gzip", TEXT), (b"Content-Encoding", b"X-Gzip"))))[1] == TEXT


async def test_a_whole_bomb_is_refused_before_the_app_is_asked() -> None:
    upstream = Upstream()
    with pytest.raises(BadRequest) as caught:
        sent = posting(encode("gzip", b"\0" * 20_000_000), (b"Content-Encoding", b"gzip"))
        await answered(Response(200), sent, DECODING, upstream=upstream)
    assert (caught.value.status, upstream.requests) == (413, [])


async def test_beyond_so_many_streams_requests_are_refused_and_a_failure_gives_its_place_back() -> None:
    spec = Compress(max_streams=1, decompress_requests=DecompressRequests())
    around = compress(spec, FilterContext(mirror=no_mirror), "$")

    def sent() -> Request:
        return posting(stream([encode("gzip", TEXT)]), (b"Content-Encoding", b"gzip"))

    async def failing(_: Request) -> Response:
        assert around._meter.streams == 1
        with pytest.raises(FilterOverflow):
            await around(sent(), failing)
        raise ProxyError("it failed")

    with pytest.raises(ProxyError, match="it failed"):
        await around(sent(), failing)
    assert around._meter.streams == 0

    async def early(_: Request) -> Response:
        return Response(200)

    response = await around(sent(), early)  # answered before the body was read
    assert around._meter.streams == 1
    await response.aclose()
    assert around._meter.streams == 0
