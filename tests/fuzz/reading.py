"""A second opinion on the bytes that the sidecar wrote: h11, which shares no code with either of its parsers."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import h11

MOST = 1 << 22  # bytes of a head that h11 may read: its own limit is not what is judged
OURS = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade"})
Fields = list[tuple[bytes, bytes]]


@dataclass
class Message:
    """What a peer understood."""

    start: tuple[bytes, ...]  # method and target, or status and reason
    fields: Fields
    body: bytes = b""
    trailers: Fields = field(default_factory=list)
    whole: bool = False
    left: bytes = b""  # bytes behind it


def pieces(data: bytes, cut: int) -> Iterator[bytes]:
    """`data` in pieces of `cut` bytes, whole where that is 0."""
    step = cut or max(len(data), 1)
    yield from (data[at : at + step] for at in range(0, len(data), step))


def read_request(wire: bytes) -> Message:
    """What an upstream understands; raises h11.RemoteProtocolError where it would refuse."""
    return _read(h11.Connection(h11.SERVER, max_incomplete_event_size=MOST), wire, ended=False)


def read_response(wire: bytes, method: bytes, *, ended: bool) -> Message:
    """What a client that asked by `method` understands; `ended`: the connection was closed behind it."""
    peer = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST)
    target = "a:1" if method == b"CONNECT" else "/"
    peer.send(h11.Request(method=method, target=target, headers=[("Host", "a:1")]))
    peer.send(h11.EndOfMessage())
    return _read(peer, wire, ended=ended)


def _read(peer: h11.Connection, wire: bytes, *, ended: bool) -> Message:
    peer.receive_data(wire)
    if ended:
        peer.receive_data(b"")
    message: Message | None = None
    while True:
        event = peer.next_event()
        match event:
            case h11.Request():
                message = Message((event.method, event.target), list(event.headers.raw_items()))
            case h11.Response():
                message = Message((b"%d" % event.status_code, event.reason), list(event.headers.raw_items()))
            case h11.Data() if message is not None:
                message.body += bytes(event.data)
            case h11.EndOfMessage() if message is not None:
                message.trailers, message.whole = list(event.headers.raw_items()), True
                message.left = peer.trailing_data[0]
                return message
            case h11.InformationalResponse():
                continue
            case _:
                assert message is not None, "no whole head"
                message.left = peer.trailing_data[0]
                return message
