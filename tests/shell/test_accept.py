"""Accepting: what happens when the process has no file descriptor left, and when it has again."""

import asyncio
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sidecar.errors import UpstreamOverflow
from sidecar.listener.accept import Acceptor, descriptors
from sidecar.model import Address
from sidecar.upstream.connect import Dialer
from tests.support.proxy import eventually


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Until the block ends, nothing can be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Made(asyncio.Protocol):
    """Counts itself."""

    count = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        Made.count += 1
        transport.close()


async def test_clients_wait_without_a_log_line_each_while_there_is_no_descriptor(
    caplog: pytest.LogCaptureFixture,
) -> None:
    Made.count = 0
    acceptor = Acceptor(Made)
    address = await acceptor.listen("127.0.0.1", 0)
    clients = [socket.socket() for _ in range(3)]
    with no_descriptor_left():
        for each in clients:
            each.connect(address)
        await eventually(lambda: acceptor._timer is not None, "accepting did not pause")
        paused = acceptor._timer
        await eventually(lambda: acceptor._timer is not paused, "it did not look again")
        assert Made.count == 0
    await eventually(lambda: Made.count == len(clients), "clients that waited were not served")
    await acceptor.aclose()
    for each in clients:
        each.close()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "file descriptors run out" in caplog.text


async def test_stopping_while_accepting_pauses_leaves_nothing() -> None:
    acceptor = Acceptor(Made)
    address = await acceptor.listen("127.0.0.1", 0)
    with socket.socket() as one:
        with no_descriptor_left():
            one.connect(address)
            await eventually(lambda: acceptor._timer is not None, "accepting did not pause")
            await acceptor.aclose()
    with pytest.raises(ConnectionError), socket.socket() as late:
        late.connect(address)


async def test_our_lack_of_descriptors_is_no_failure_of_an_endpoint() -> None:
    with no_descriptor_left(), pytest.raises(UpstreamOverflow, match="no file descriptor"):
        await Dialer(timeout=1).dial(Address("127.0.0.1", 9), asyncio.Protocol)


def test_a_quarter_of_the_descriptors_and_1024_at_most_are_kept_free(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, most in ((80, 60), (1024, 768), (20_000, 18_976), (resource.RLIM_INFINITY, (1 << 20) - 1024)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, limit=limit: (limit, limit))
        assert descriptors().most == most
