"""Header lines as bytes in wire order; never a mapping."""

from typing import TypeAlias

RawHeaders: TypeAlias = list[tuple[bytes, bytes]]

FORBIDDEN_TRAILERS = frozenset(
    {
        b"authorization", b"connection", b"content-encoding", b"content-length", b"content-range", b"content-type",
        b"cookie", b"expect", b"forwarded", b"host", b"keep-alive", b"max-forwards", b"proxy-authorization",
        b"proxy-connection", b"range", b"set-cookie", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"via",
        b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto",
    }
)  # fmt: skip
"""Names, lower case: what frames, routes or authenticates a message may not come behind it (RFC 9110 §6.5.1)."""


class Headers(list[tuple[bytes, bytes]]):
    """Header lines in wire order with case and duplicates; the methods find names without regard to case."""

    __slots__ = ()

    def get(self, name: str) -> str | None:
        """The first value of `name` as Latin-1 text, or None."""
        wanted = name.lower().encode("latin-1")
        return next((value.decode("latin-1") for key, value in self if key.lower() == wanted), None)

    def get_all(self, name: str) -> list[str]:
        """All values of `name`, in order."""
        wanted = name.lower().encode("latin-1")
        return [value.decode("latin-1") for key, value in self if key.lower() == wanted]

    def add(self, name: str, value: str) -> None:
        """Append a line."""
        self.append((name.encode("latin-1"), value.encode("latin-1")))

    def set(self, name: str, value: str) -> None:
        """Replace all lines of `name` by one, which takes the place of the first."""
        wanted = name.lower().encode("latin-1")
        line = (name.encode("latin-1"), value.encode("latin-1"))
        position = next((at for at, (key, _) in enumerate(self) if key.lower() == wanted), len(self))
        self[:] = [pair for pair in self if pair[0].lower() != wanted]
        self.insert(position, line)

    def discard(self, *names: str) -> None:
        """Drop all lines of these names."""
        gone = {name.lower().encode("latin-1") for name in names}
        self[:] = [pair for pair in self if pair[0].lower() not in gone]


def set_length(headers: Headers, length: int | None, *, always: bool) -> None:
    """Declare a body of `length` bytes (None: unknown, so none is declared), an empty one only if `always`."""
    headers.discard("transfer-encoding")
    if length is None or (not length and not always):
        headers.discard("content-length")
    else:
        headers.set("Content-Length", str(length))
