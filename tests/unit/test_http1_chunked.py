"""The chunked coding: what was encoded comes back, and what breaks a rule is refused, however the network cuts it."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import BadRequest
from sidecar.listener.http1.chunked import MAX_EXCESS, MAX_SIZE_LINE, MAX_TRAILER_COUNT, MAX_TRAILERS, ChunkedDecoder
from sidecar.model.headers import FORBIDDEN_TRAILERS

chunks = st.lists(st.binary(min_size=1, max_size=40), max_size=8)
extensions = st.sampled_from([b"", b";", b";a", b' ;\ta="b;c"', b";\xff"])
trailers = st.lists(st.sampled_from([(b"X-Sum", b"1"), (b"x-b", b""), (b"X-C", b"a, \xe4")]), max_size=3)


def encode(data: list[bytes], extension: bytes = b"", fields: list[tuple[bytes, bytes]] | None = None) -> bytes:
    body = b"".join(b"%x%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk in data)
    return body + b"0%b\r\n" % extension + b"".join(b"%b: %b\r\n" % pair for pair in fields or ()) + b"\r\n"


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(at % (len(data) + 1) for at in cuts)})
    return [data[a:b] for a, b in pairwise(edges)]


def decode(pieces: list[bytes]) -> tuple[bytes, ChunkedDecoder]:
    """Feed until it is done; what comes behind is not fed."""
    decoder, body = ChunkedDecoder(), b""
    rest = b""
    for piece in pieces:
        if decoder.done:
            rest += piece
        else:
            body += b"".join(decoder.feed(piece))
    decoder.rest += rest
    return body, decoder


def outcome(pieces: list[bytes]) -> object:
    try:
        body, decoder = decode(pieces)
    except BadRequest as error:
        return error.status
    return body, decoder.done, decoder.trailers, decoder.rest if decoder.done else b""


@given(
    data=chunks, extension=extensions, fields=trailers, rest=st.binary(max_size=9), cuts=st.lists(st.integers(0, 999))
)
def test_what_was_encoded_comes_back_however_it_is_cut(
    data: list[bytes], extension: bytes, fields: list[tuple[bytes, bytes]], rest: bytes, cuts: list[int]
) -> None:
    wire = encode(data, extension, fields) + rest
    assert outcome(cut(wire, cuts)) == (b"".join(data), True, fields, rest)


@given(data=chunks, damage=st.tuples(st.integers(0, 999), st.binary(max_size=2)), cuts=st.lists(st.integers(0, 999)))
def test_the_network_may_cut_a_damaged_body_anywhere(
    data: list[bytes], damage: tuple[int, bytes], cuts: list[int]
) -> None:
    wire = encode(data, b";a", [(b"X-Sum", b"1")])
    at = damage[0] % len(wire)
    wire = wire[:at] + damage[1] + wire[at + 1 :]
    assert outcome(cut(wire, cuts)) == outcome([wire]) == outcome([wire[at : at + 1] for at in range(len(wire))])


@pytest.mark.parametrize(
    "wire",
    [
        b"x\r\n",
        b"\r\n",
        b"0x1\r\n",
        b"+1\r\n",
        b" 1\r\n",
        b"1 \r\n",
        b"1\n",
        b"1\rx",
        b"1;\x00\r\n",
        b"1;a\n",
        b"f" * 16 + b"\r\n",
        b"1\r\nab",
        b"1\r\na\n",
        b"1\r\na\rb",
        b"0\r\n\n",
        b"0\r\nX\r\n\r\n",
        b"0\r\nX: 1\n\r\n",
        b"0\r\nX: 1\r\n Y\r\n\r\n",
        b"0\r\nX: a\rb\r\n\r\n",
        b"1;" + b"a" * MAX_SIZE_LINE + b"\r\n",
        b"1;" + b"a" * MAX_SIZE_LINE,
    ],
)
@pytest.mark.parametrize("step", [1, 3, 100_000])
def test_what_breaks_the_coding_is_refused(wire: bytes, step: int) -> None:
    assert outcome([wire[at : at + step] for at in range(0, len(wire), step)]) == 400


@pytest.mark.parametrize("name", sorted(FORBIDDEN_TRAILERS))
def test_trailers_that_frame_route_or_authenticate_are_refused(name: bytes) -> None:
    assert outcome([b"0\r\nX: 1\r\n%b: 1\r\n\r\n" % name.title()]) == 400


@pytest.mark.parametrize(
    "wire", [b"0\r\n" + b"X: 1\r\n" * (MAX_TRAILER_COUNT + 1) + b"\r\n", b"0\r\nX: " + b"a" * MAX_TRAILERS]
)
def test_trailers_have_a_limit(wire: bytes) -> None:
    assert outcome([wire]) == 431


def test_whole_trailers_over_the_limit_are_refused_too() -> None:
    assert outcome([b"0\r\n" + (b"X: " + b"a" * 400 + b"\r\n") * 60 + b"\r\n"]) == 431


def test_extensions_may_not_outweigh_the_data() -> None:
    heavy = b"1;" + b"a" * 1000 + b"\r\nx\r\n"
    assert outcome([heavy * (MAX_EXCESS // 1000 - 1)]) == (b"x" * (MAX_EXCESS // 1000 - 1), False, [], b"")
    assert outcome([heavy * (MAX_EXCESS // 1000 + 2)]) == 400
    large = b"1000;" + b"a" * 1000 + b"\r\n" + bytes(4096) + b"\r\n"
    assert outcome([large * 100]) == (bytes(409_600), False, [], b"")


def test_tiny_chunks_alone_are_no_excess() -> None:
    assert outcome([b"1\r\nx\r\n" * 50_000]) == (b"x" * 50_000, False, [], b"")
