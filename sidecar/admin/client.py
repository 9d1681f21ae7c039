"""Asks the admin page of a running sidecar, for `sidecar explain` and `sidecar leave`.

Plain `http.client`: it starts in milliseconds and takes no proxy from the environment, where the sidecar itself may
stand.
"""

import http.client
import socket
from collections.abc import Sequence
from urllib.parse import urlencode

from sidecar.config.address import parse_address
from sidecar.errors import ConfigError
from sidecar.model import Address

_TIMEOUT = 10  # seconds
_MAX_ANSWER = 4 * 1024 * 1024  # bytes


class AdminError(Exception):
    """No answer, or one that says no; the text says what to do."""


def explain(admin: str, url: str, method: str, headers: Sequence[tuple[str, str]], listener: str | None) -> str:
    """What the sidecar whose admin page is at `admin` would do with a request, as text.

    Raises AdminError where it does not answer, ConfigError where `admin` is no address.
    """
    question = [
        ("url", url),
        ("method", method),
        ("format", "text"),
        *(("header", f"{name}:{value}") for name, value in headers),
    ]
    if listener is not None:
        question.append(("listener", listener))
    return _ask(admin, "GET", f"/explain?{urlencode(question)}")


def leave(admin: str) -> None:
    """Tell the sidecar whose admin page is at `admin` that its pod is going away. Raises as `explain` does."""
    _ask(admin, "POST", "/leave")


def _ask(admin: str, method: str, target: str) -> str:
    try:
        address = parse_address(admin)
    except ValueError as error:
        raise ConfigError("--admin", str(error)) from None
    try:
        status, body = _send(address, method, target)
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "strerror", None) or ascii(str(error))
        raise AdminError(
            f"no sidecar answers at {admin} ({why}): is it running, with its admin page there? (--admin)"
        ) from None
    if status not in (200, 202):
        raise AdminError(f"the admin page at {admin} answered {status}: {' '.join(body.split())[:300]}")
    return body


def _send(address: Address, method: str, target: str) -> tuple[int, str]:
    connection = _UnixConnection(address.unix_path) if address.unix_path else _connection(address)
    try:
        connection.request(method, target)
        response = connection.getresponse()
        return response.status, response.read(_MAX_ANSWER).decode(errors="replace")
    finally:
        connection.close()


def _connection(address: Address) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(address.host or "127.0.0.1", address.port, timeout=_TIMEOUT)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_TIMEOUT)
        self.sock.connect(self._path)
