"""The fuzz targets hold on their seeds, on what fuzzing has found before, and on what hypothesis thinks of."""

import asyncio
import logging
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import requests, responses
from tests.fuzz.targets import TARGETS

FOUND = {  # each broke a law once
    "requests": {
        "an empty line alone": b"\x01\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "two empty lines": b"\x01\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "a long request line before its end": b"\x06" + b"\x06" * 120 + b"\r\n",
        "a long head in one piece": b"\x05GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 9 + b"\r\n",
    },
    "responses": {
        "a reason phrase in pieces": b"\x01HTTP/1.1 200 Very Well\r\nContent-Length: 0\r\n\r\n",
        "control bytes in the reason phrase": b"\x02HTTP/1.1 100 a\x00b\r\n\r\nHTTP/1.1 200 \x1b[31m\r\n\r\n",
        "a status below 100": b"\x00HTTP/1.1 020 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n",
        "an interim response with a length": b"\x01HTTP/1.1 199 OK\r\nContent-Length: 2\r\n\r\nok" + responses.OK,
        "an interim response in chunks": b"\x00HTTP/1.1 103 \r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        + responses.OK,
        "TE in a response": b"\x00HTTP/1.1 200 OK\r\nTE: trailers\r\nContent-Length: 0\r\n\r\n",
        "framing in the trailers": b"\x03" + responses.CHUNKED + b"\r\n0\r\nTransfer-Encoding: x\r\n\r\n",
    },
}
KNOWN = [
    *((name, f"seed {at}", seed) for name, target in TARGETS.items() for at, seed in enumerate(target.SEEDS)),
    *((name, what, data) for name, found in FOUND.items() for what, data in found.items()),
]


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """One for all examples: a loop for each would be most of the work."""
    loop = asyncio.new_event_loop()
    logging.disable(logging.CRITICAL)
    yield loop
    logging.disable(logging.NOTSET)
    loop.close()


@pytest.mark.parametrize(("name", "what", "data"), KNOWN, ids=[f"{name}-{what}" for name, what, _ in KNOWN])
def test_target_holds_on_what_is_known_however_it_is_cut(
    name: str, what: str, data: bytes, loop: asyncio.AbstractEventLoop
) -> None:
    del what
    TARGETS[name].check(data, loop)
    if name != "traces":
        for cut in range(8):
            TARGETS[name].check(bytes([data[0] & ~7 | cut]) + data[1:], loop)


_PARTS = [
    b"\r\n", b"\r\n\r\n", b"\n", b"\r", b" ", b":", b"0", b"5", b"a", b"chunked", b"Content-Length: ", b"Host: a\r\n",
    b"Transfer-Encoding: ", b"Connection: ", b"Upgrade: b", b"close", b"GET / HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 103 \r\n", b"POST / HTTP/1.1\r\n", b"hello", b"\x00", b"\xff", b"TE: trailers\r\n", b"Trailer: b\r\n",
    b"traceparent:", b"tracestate:", b"b3:", b"\t", b",", b"=",
]  # fmt: skip
_inputs = st.builds(
    lambda how, parts: bytes([how]) + b"".join(parts),
    st.integers(0, 255),
    st.lists(st.sampled_from(_PARTS), max_size=24),
)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=150, deadline=None)
@given(data=_inputs)
def test_target_holds_on_what_may_come(name: str, data: bytes) -> None:
    loop = asyncio.new_event_loop()
    try:
        TARGETS[name].check(data, loop)
    finally:
        loop.close()


def test_oracle_would_see_a_request_that_two_parsers_read_differently() -> None:
    seen = asyncio.run(requests.run(b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n", 0)).seen[0]
    seen.head = seen.head.replace(b"X: 1\r\n", b"X: 1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n")
    with pytest.raises(AssertionError):
        requests._judge(seen)
