"""Addresses as people write them: `host:port`, `:port`, `[::1]:80`, `unix:/path`, and URLs of the command line.

Decides the form only: whether a host is an IP address or a name, and whether anything listens there, is for others.
"""

import re

from sidecar.model import Address

_PORT = re.compile(r"[0-9]{1,5}")
_HOST = re.compile(r"[^\s\[\]:/@?#\\]*")
_SCHEMES = {"http": 80, "https": 443}
_FORMS = "'host:port', ':port', '[v6-address]:port' or 'unix:/path'"


def parse_address(text: str, default_port: int | None = None) -> Address:
    """Parse an address; the host of `:port` is empty, which listeners read as all interfaces.

    `default_port` stands in where the text names no port. Raises ValueError saying what was expected.
    """
    if text.startswith("unix:"):
        if not text.startswith("unix:/") or len(text) < len("unix:/x") or "\0" in text:
            raise ValueError(f"expected an absolute path as in 'unix:/run/app.sock', got {text!r}")
        return Address(text, 0)
    host, port_text = _split(text)
    if port_text is None:
        if default_port is None or not host:
            raise ValueError(f"expected {_FORMS}, got {text!r}")
        return Address(host, default_port)
    if not _PORT.fullmatch(port_text) or int(port_text) > 65535:
        raise ValueError(f"expected a port from 0 to 65535 after the last ':', got {text!r}")
    return Address(host, int(port_text))


def parse_upstream_url(text: str) -> tuple[Address, bool]:
    """Parse what `--to` takes: an address, `http://host[:port]` or `https://host[:port]`; the flag tells TLS.

    A path other than `/` is refused, since the target of a request is passed on as it is. Raises ValueError.
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        return _named(text, parse_address(text)), False
    scheme = scheme.lower()
    if scheme not in _SCHEMES:
        raise ValueError(f"expected http:// or https://, got {text!r}")
    authority = rest.removesuffix("/")
    if "@" in authority:
        raise ValueError("expected a URL without user name and password")
    if "/" in authority or "?" in authority or "#" in authority:
        raise ValueError(f"expected a URL without path, query and fragment, got {text!r}")
    return _named(text, parse_address(authority, _SCHEMES[scheme])), scheme == "https"


def split_authority(authority: str) -> tuple[str, str]:
    """Host and port of `host[:port]`, the port empty where none is named; an IPv6 address keeps its brackets."""
    host, colon, port = authority.rpartition(":")
    return (host, port) if colon and not port.endswith("]") else (authority, "")


def _named(text: str, address: Address) -> Address:
    if not address.host:
        raise ValueError(f"expected a host before the port, got {text!r}")
    if address.unix_path is None and address.port == 0:
        raise ValueError(f"expected a port from 1 to 65535, got {text!r}")
    return address


def _split(text: str) -> tuple[str, str | None]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in host or not _V6.fullmatch(host) or (rest and not rest.startswith(":")):
            raise ValueError(f"expected an IPv6 address in brackets as in '[::1]:80', got {text!r}")
        return host, rest[1:] if rest else None
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = text, ""
    if not _HOST.fullmatch(host):
        raise ValueError(f"expected {_FORMS}, got {text!r}")
    return host, port if colon else None


_V6 = re.compile(r"[0-9A-Fa-f:.]{2,45}(%[0-9A-Za-z_.-]{1,15})?")
