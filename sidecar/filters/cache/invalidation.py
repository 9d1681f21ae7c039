"""What an unsafe request invalidates (RFC 9111 §4.4), and which URIs an operator purges. Pure."""

from collections.abc import Callable
from urllib.parse import urljoin, urlsplit

from sidecar.filters.cache.entry import Uri, uri_of
from sidecar.filters.cache.fields import Fields


def invalidated(uri: Uri, answer: Fields) -> list[Uri]:
    """The target, and what Location and Content-Location name of the same origin (others would be an attack)."""
    found = [uri]
    base = f"{uri[0]}://{uri[1]}{uri[2].decode('latin-1')}"
    for name in (b"location", b"content-location"):
        value = answer.get(name)
        if value is None:
            continue
        try:
            parts = urlsplit(urljoin(base, value.decode("latin-1")))
        except ValueError:  # no URL
            continue
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        other = uri_of(parts.scheme, parts.netloc, target.encode("latin-1", "replace"))
        if other[:2] == uri[:2] and other not in found:
            found.append(other)
    return found


def purged(url: str) -> Callable[[Uri], bool]:
    """Which URIs a purge means: one URL with any scheme; `http://host/path*`: all that begin so; `*`: everything.

    Raises ValueError where it is neither.
    """
    if url == "*":
        return lambda _uri: True
    scheme, found, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    if not found or scheme not in {"http", "https"} or not authority:
        raise ValueError(f"expected http://host/path, http://host/path* or *, got {url!a}")
    target = (slash + path or "/").encode("latin-1", "replace")
    wanted = [uri_of(each, authority, target) for each in ("http", "https")]
    if not url.endswith("*"):
        return lambda uri: uri in wanted
    start = target[:-1]
    return lambda uri: any(uri[:2] == each[:2] for each in wanted) and uri[2].startswith(start)
