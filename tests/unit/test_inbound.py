"""What the aiohttp front makes of a request: target, authority, upgrade, body; and whom it trusts."""

import asyncio
from ipaddress import ip_network
from unittest.mock import Mock

import pytest
from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request

from sidecar.errors import BadRequest, LoopDetected
from sidecar.listener.inbound import DownstreamBody, build
from sidecar.listener.peers import is_trusted, peer_address
from sidecar.model import Address, Origin, Request

ORIGIN = Origin(b"in.1", trusted=False, announce=True, peer=b"10.0.0.9", scheme=b"https")


def built(
    method: str, target: str, *, limit: int | None = None, content: StreamReader | None = None, **fields: str
) -> Request:
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    incoming = make_mocked_request(method, target, headers=headers, payload=content or Mock())
    return build(
        incoming,
        listener="in",
        origin=ORIGIN,
        peer=Address("10.0.0.9", 1),
        body_timeout=0.05,
        max_body=limit,
        started=1.0,
        received_ns=2,
        named_ports=False,
    )


def reader() -> StreamReader:
    loop = asyncio.get_running_loop()
    protocol = BaseProtocol(loop)
    protocol.connection_made(asyncio.Transport())
    return StreamReader(protocol, 65_536, loop=loop)


# --- targets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("GET", "/a%2Fb?x=%27", (b"/a%2Fb?x=%27", "shop", "https")),
        ("GET", "//x", (b"//x", "shop", "https")),
        ("OPTIONS", "*", (b"*", "shop", "https")),
        ("GET", "http://other:81/a?b", (b"/a?b", "other:81", "http")),
        ("GET", "HTTPS://other", (b"/", "other", "https")),
        ("GET", "http://other?q=/", (b"/?q=/", "other", "http")),
        ("OPTIONS", "http://other", (b"*", "other", "http")),
        ("OPTIONS", "http://other/", (b"/", "other", "http")),
        ("GET", "http://[::1]:80/x", (b"/x", "[::1]:80", "http")),
        ("CONNECT", "other:443", (b"other:443", "other:443", "https")),
    ],
)
def test_target_gives_path_authority_and_scheme(method: str, target: str, expected: tuple[bytes, str, str]) -> None:
    request = built(method, target, Host="shop")
    assert (request.target, request.authority, request.scheme) == expected


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "a/b"),
        ("GET", "ftp://other/"),
        ("GET", "http:/other"),
        ("GET", "http:///x"),
        ("GET", "http://a@b/"),
        ("CONNECT", "other"),
        ("CONNECT", "/x"),
        ("CONNECT", "a@b:80"),
    ],
)
def test_target_that_names_nothing_is_refused(method: str, target: str) -> None:
    with pytest.raises(BadRequest) as refused:
        built(method, target, Host="shop")
    assert refused.value.status == 400


@pytest.mark.parametrize("host", ["a b", "a/b", "a@b", "a,b", "[::1", "ä"])
def test_host_that_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(BadRequest):
        built("GET", "/", Host=host)


# --- fields ---------------------------------------------------------------------------------------------------------


def test_loop_is_seen_in_via() -> None:
    with pytest.raises(LoopDetected):
        built("GET", "/", Host="shop", Via="1.0 fred, 1.1 in.1")
    assert built("GET", "/", Host="shop", Via="1.0 fred").method == "GET"


@pytest.mark.parametrize(
    ("connection", "upgrade"),
    [("Upgrade", b"x"), ("keep-alive, UPGRADE", b"x"), ("x-upgrade", None), ("", None), ("up grade", None)],
)
def test_upgrade_counts_only_where_connection_names_it(connection: str, upgrade: bytes | None) -> None:
    assert built("GET", "/", Host="shop", Connection=connection, Upgrade="x").upgrade == upgrade


# --- bodies ---------------------------------------------------------------------------------------------------------


def test_no_framing_means_no_body() -> None:
    request = built("GET", "/", Host="shop")
    assert (request.body, request.length) == (None, 0)


async def test_body_that_is_here_whole_is_bytes() -> None:
    content = reader()
    content.feed_data(b"hello")
    content.feed_eof()
    request = built("POST", "/", content=content, Host="shop", Content_Length="5")
    assert (request.body, request.length) == (b"hello", 5)


async def test_empty_chunked_body_is_a_body() -> None:
    content = reader()
    content.feed_eof()
    request = built("POST", "/", content=content, Host="shop", Transfer_Encoding="chunked")
    assert (request.body, request.length) == (b"", None)


async def test_body_that_comes_later_is_streamed_and_counted() -> None:
    content = reader()
    request = built("POST", "/", content=content, Host="shop", Transfer_Encoding="Chunked")
    body = request.body
    assert isinstance(body, DownstreamBody)
    content.feed_data(b"hel")
    assert await anext(body) == b"hel"
    content.feed_data(b"lo")
    content.feed_eof()
    assert [data async for data in body] == [b"lo"]
    assert body.received == 5


@pytest.mark.parametrize("coding", ["gzip", "gzip, chunked", "chunked, chunked", "identity"])
def test_coding_other_than_chunked_is_refused(coding: str) -> None:
    with pytest.raises(BadRequest) as refused:
        built("POST", "/", Host="shop", Transfer_Encoding=coding)
    assert refused.value.status == 501


async def test_body_over_the_limit_is_refused_by_its_length_or_when_it_comes() -> None:
    with pytest.raises(BadRequest) as refused:
        built("POST", "/", limit=4, Host="shop", Content_Length="5")
    assert refused.value.status == 413
    here = reader()
    here.feed_data(b"hello")
    here.feed_eof()
    with pytest.raises(BadRequest):
        built("POST", "/", limit=4, content=here, Host="shop", Transfer_Encoding="chunked")
    later = DownstreamBody(content := reader(), 1.0, 4)
    content.feed_data(b"hello")
    with pytest.raises(BadRequest) as refused:
        await anext(later)
    assert refused.value.status == 413


async def test_body_that_does_not_come_is_a_408() -> None:
    with pytest.raises(BadRequest) as refused:
        await anext(DownstreamBody(reader(), 0.01, None))
    assert refused.value.status == 408


async def test_body_that_breaks_is_a_400() -> None:
    content = reader()
    content.set_exception(web.RequestPayloadError("bad chunk"))
    with pytest.raises(BadRequest) as refused:
        await anext(DownstreamBody(content, 1.0, None))
    assert refused.value.status == 400


async def test_end_without_data_ends_the_body() -> None:
    content = reader()
    body = DownstreamBody(content, 1.0, None)
    asyncio.get_running_loop().call_soon(content.feed_eof)
    assert [data async for data in body] == []


# --- peers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "trusted"),
    [("127.0.0.1", True), ("10.1.2.3", False), ("::1", True), ("fe80::1%eth0", False), ("unix:", True)],
)
def test_peer_is_trusted_by_network_and_a_unix_peer_always(host: str, trusted: bool) -> None:
    networks = [ip_network("127.0.0.0/8"), ip_network("::1/128")]
    assert is_trusted(Address(host, 0), networks) == trusted


def test_peer_without_a_name_is_a_unix_socket() -> None:
    assert peer_address(("10.0.0.1", 5)) == Address("10.0.0.1", 5)
    assert peer_address(("::1", 5, 0, 0)) == Address("::1", 5)
    assert peer_address("") == Address("unix:", 0)
