"""What a response's head may say of its end, and which switch of protocols was asked for."""

import pytest

from sidecar.errors import UpstreamProtocol
from sidecar.upstream.framing import Framing, is_asked_for

SWITCH = [(b"Connection", b"keep-alive, Upgrade"), (b"Upgrade", b"WebSocket")]


@pytest.mark.parametrize(
    "value", [b"gzip", b"gzip, chunked", b"chunked, chunked", b"identity", b"xchunked", b"", b"chunked;a"]
)
def test_coding_that_we_cannot_undo_is_refused(value: bytes) -> None:
    with pytest.raises(UpstreamProtocol, match="single `chunked`"):
        Framing().note(b"transfer-encoding", value)


def test_chunked_may_stand_once_in_each_head() -> None:
    framing = Framing()
    for _ in range(2):
        framing.note(b"transfer-encoding", b" Chunked\t")
        with pytest.raises(UpstreamProtocol):
            framing.note(b"transfer-encoding", b"chunked")
        framing.judge("1.1")


def test_chunks_in_http_1_0_are_refused() -> None:
    framing = Framing()
    framing.note(b"transfer-encoding", b"chunked")
    with pytest.raises(UpstreamProtocol, match=r"HTTP/1\.0"):
        framing.judge("1.0")


def test_length_has_18_digits_at_most_and_other_fields_are_nothing_to_it() -> None:
    framing = Framing()
    framing.note(b"content-length", b"1" * 18 + b" ")
    framing.note(b"cache-status-x", b"1" * 99)
    framing.judge("1.0")
    with pytest.raises(UpstreamProtocol, match="18 digits"):
        framing.note(b"content-length", b"1" * 19)


@pytest.mark.parametrize(
    ("asked", "fields", "granted"),
    [
        (b"websocket", SWITCH, True),
        (b"a, websocket/x, WEBSOCKET", SWITCH, True),
        (None, SWITCH, False),
        (b"other", SWITCH, False),
        (b"websocket", SWITCH[1:], False),
        (b"websocket", SWITCH[:1], False),
        (b"websocket", [*SWITCH, (b"upgrade", b"other")], False),
        (b"websocket", [*SWITCH[:1], (b"Upgrade", b" ,")], False),
    ],
)
def test_switch_must_name_what_was_asked_for(
    asked: bytes | None, fields: list[tuple[bytes, bytes]], granted: bool
) -> None:
    assert is_asked_for(asked, fields) is granted
