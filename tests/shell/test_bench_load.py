"""The load generator against servers that answer in every way it must understand, and one that stalls."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bench.load import Address, Load, request
from bench.machine import Failed

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"


@contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[Address]:
    """Calls `answer` for each request of one connection, in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_serve, args=(listening, answer), daemon=True)
        thread.start()
        yield listening.getsockname()
    thread.join(5)


def _serve(listening: socket.socket, answer: Callable[[socket.socket], None]) -> None:
    connection, _ = listening.accept()
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while connection.recv(4096):
            answer(connection)


@pytest.mark.parametrize("answer", [PLAIN, CHUNKED])
@pytest.mark.parametrize("size", [1, 7, 100])
def test_an_answer_ends_where_it_ends_however_it_comes(answer: bytes, size: int) -> None:
    def send(sock: socket.socket) -> None:
        for at in range(0, len(answer), size):
            sock.sendall(answer[at : at + size])

    with server(send) as address, Load(address, [request()], 1) as load:
        result = load.open(1000, 0.02)
    assert (result.requests, result.errors, len(result.latencies)) == (20, 0, 20)


def test_other_answers_than_200_are_counted() -> None:
    bad = PLAIN.replace(b"200 OK", b"503 No")
    with server(lambda sock: sock.sendall(bad)) as address, Load(address, [request()], 1) as load:
        assert load.closed(0.0).errors == 1


def test_a_connection_closed_within_the_load_fails_it() -> None:
    with server(lambda sock: sock.shutdown(socket.SHUT_RDWR)) as address, Load(address, [request()], 1) as load:
        with pytest.raises(Failed):
            load.closed(1.0)


def test_a_stall_is_seen_by_every_request_that_was_due_in_it() -> None:
    stall = 0.2
    left = [stall]  # the first answer waits

    def send(sock: socket.socket) -> None:
        time.sleep(left.pop() if left else 0)
        sock.sendall(PLAIN)

    with server(send) as address, Load(address, [request()], 1) as load:
        result = load.open(100, 0.4)
    assert result.requests == 40
    slow = [latency for latency in result.latencies if latency > stall / 4]
    assert len(slow) >= 14  # one connection that waited for its answer would have seen a single one
