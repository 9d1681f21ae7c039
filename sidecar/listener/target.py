"""What a request asks for (pure): origin-form, authority and scheme from target and Host (RFC 9112 §3.2), on any front.

A port by name (`orders:http`) is no HTTP, yet a forward proxy of Kubernetes Services takes it: `named_ports`.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from sidecar.errors import BadRequest

_NAME = rb"(?:[A-Za-z0-9\-._~!$&'()*+;=%]+|\[[0-9A-Fa-f:.]+\])"
_HOST = re.compile(_NAME + rb"(?::[0-9]{0,5})?")
_HOST_OR_NAMED_PORT = re.compile(_NAME + rb"(?::[0-9A-Za-z\-]{0,15})?")


class Asked(NamedTuple):
    """Target in origin-form (`*`, or authority-form for CONNECT), authority, and the scheme of an absolute-form."""

    target: bytes
    authority: bytes
    scheme: str


def read(method: bytes, target: bytes, hosts: Sequence[bytes], *, minor: int, named_ports: bool) -> Asked:
    """Raises BadRequest; `hosts` are the values of all Host fields, `minor` that of HTTP/1.x."""
    pattern = _HOST_OR_NAMED_PORT if named_ports else _HOST
    host = _host(hosts, minor, pattern)
    if method == b"CONNECT":
        if pattern.fullmatch(target) is None or b":" not in target:
            raise BadRequest("the target of CONNECT is no host with a port (RFC 9112 §3.2.3)")
        return Asked(target, target, "")
    if target.startswith(b"/"):
        return Asked(target, host, "")
    if target == b"*":
        if method != b"OPTIONS":
            raise BadRequest("the target `*` is for OPTIONS (RFC 9112 §3.2.4)")
        return Asked(target, host, "")
    return _absolute(method, target, pattern)


def _host(hosts: Sequence[bytes], minor: int, pattern: re.Pattern[bytes]) -> bytes:
    if len(hosts) > 1:
        raise BadRequest("more than one Host field (RFC 9112 §3.2)")
    if not hosts:
        if minor:
            raise BadRequest("no Host field in an HTTP/1.1 request (RFC 9112 §3.2)")
        return b""
    if pattern.fullmatch(hosts[0]) is None:
        raise BadRequest("the Host field is no host with an optional port (RFC 9112 §3.2)")
    return hosts[0]


def _absolute(method: bytes, target: bytes, pattern: re.Pattern[bytes]) -> Asked:
    """The authority of an absolute-form wins over Host (RFC 9112 §3.2.2)."""
    scheme, found, rest = target.partition(b"://")
    scheme = scheme.lower()
    if not found or scheme not in {b"http", b"https"}:
        raise BadRequest("the request target is neither a path nor an http URL (RFC 9112 §3.2)")
    cut = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
    authority, path = rest[:cut], rest[cut:]
    if pattern.fullmatch(authority) is None:
        raise BadRequest("the authority of the request target is empty, malformed or holds userinfo (RFC 9110 §4.2)")
    if not path.startswith(b"/"):
        path = b"*" if method == b"OPTIONS" and not path else b"/" + path
    return Asked(path, authority, scheme.decode())
