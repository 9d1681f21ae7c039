"""Which messages may be encoded, and what encoding changes in a head (RFC 9110 §7.7, §8.4, §8.8.3, §14.3). Pure.

A reason that forbids is told from one that only advises: content that is small or compresses badly is encoded all the
same for a client that does not take it as it is.
"""

from collections.abc import Iterable
from typing import NamedTuple

from sidecar.model import Headers, Request

_DIGESTS = frozenset({b"content-md5", b"digest", b"content-digest", b"repr-digest"})  # they speak of the bytes encoded
_SEEN = _DIGESTS | {
    b"content-type", b"content-encoding", b"content-range", b"cache-control", b"set-cookie", b"etag",
}  # fmt: skip
_ASKED = frozenset(
    {b"accept-encoding", b"cache-control", b"content-encoding", b"if-none-match", b"x-forwarded-proto", b"forwarded"}
)
_NO_CONTENT = frozenset({204, 205, 304})
ADVICE = frozenset({"type", "small"})  # reasons that give way to a client that refuses `identity`


class Asked:
    """What matters of a request's head, read in one pass before other filters change it."""

    __slots__ = ("accept", "codings", "head", "no_transform", "none_match", "safe", "tls")

    def __init__(self, request: Request) -> None:
        self.head = request.method == "HEAD"
        self.safe = self.head or request.method == "GET"
        self.accept: bytes | None = None
        self.codings: bytes | None = None
        self.none_match = b""
        self.no_transform = False
        self.tls = request.scheme == "https"
        for name, value in request.headers:
            lower = name.lower()
            if lower in _ASKED:
                self._read(lower, value)

    def _read(self, name: bytes, value: bytes) -> None:
        if name == b"accept-encoding":
            self.accept = value if self.accept is None else b"%b,%b" % (self.accept, value)
        elif name == b"content-encoding":
            self.codings = value if self.codings is None else b"%b,%b" % (self.codings, value)
        elif name == b"if-none-match":
            self.none_match += value
        elif name == b"cache-control":
            self.no_transform = self.no_transform or forbids(value)
        elif b"https" in value.lower():  # whoever says so: believing it makes careful, not careless
            self.tls = True


class Facts(NamedTuple):
    """What matters of a response's head."""

    media_type: bytes  # lower case, without parameters
    encoded: bool
    partial: bool
    no_transform: bool
    digest: bool
    cookie: bool
    etag: bytes | None


def facts_of(headers: Iterable[tuple[bytes, bytes]]) -> Facts:
    """Read the head in one pass."""
    media_type = b""
    encoded = partial = no_transform = digest = cookie = False
    etag: bytes | None = None
    for name, value in headers:
        lower = name.lower()
        if lower not in _SEEN:
            continue
        if lower == b"content-type":
            media_type = value.partition(b";")[0].strip().lower()
        elif lower == b"content-encoding":
            encoded = encoded or any(each.strip() not in (b"", b"identity") for each in value.lower().split(b","))
        elif lower == b"content-range":
            partial = True
        elif lower == b"cache-control":
            no_transform = no_transform or forbids(value)
        elif lower == b"set-cookie":
            cookie = True
        elif lower == b"etag":
            etag = value
        else:
            digest = True
    return Facts(media_type, encoded, partial, no_transform, digest, cookie, etag)


class Rules(NamedTuple):
    """What the configuration says."""

    exact: frozenset[bytes]
    starts: tuple[bytes, ...]  # of `text/*` and `application/*+json`
    ends: tuple[tuple[bytes, bytes], ...]
    min_size: int
    with_set_cookie: bool

    def takes(self, media_type: bytes) -> bool:
        """Whether content of this type is worth it."""
        if media_type in self.exact or media_type.startswith(self.starts):
            return True
        return any(media_type.startswith(start) and media_type.endswith(end) for start, end in self.ends)


def rules(types: Iterable[str], *, min_size: int, with_set_cookie: bool) -> Rules:
    """Compile the types, which have been checked."""
    raw = [each.encode("ascii") for each in types]
    split = [each.partition(b"*")[::2] for each in raw if b"*" in each]
    return Rules(
        exact=frozenset(each for each in raw if b"*" not in each),
        starts=tuple(start for start, end in split if not end),
        ends=tuple((start, end) for start, end in split if end),
        min_size=min_size,
        with_set_cookie=with_set_cookie,
    )


def objection(status: int, length: int | None, facts: Facts, asked: Asked, given: Rules) -> str | None:
    """Why the response stays as it is, in a word; None: nothing speaks against encoding it. `length` None: unknown."""
    reason: str | None = None
    if status < 200 or status in _NO_CONTENT or (length == 0 and not asked.head):
        reason = "no_content"
    elif facts.encoded:
        reason = "encoded"  # never twice
    elif facts.partial or status == 206:
        reason = "partial"  # a range of the content as it is
    elif facts.no_transform or asked.no_transform:
        reason = "no_transform"
    elif facts.digest:
        reason = "digest"
    elif facts.cookie and asked.tls and not given.with_set_cookie:
        reason = "set_cookie"
    elif not given.takes(facts.media_type):
        reason = "type"
    elif length is not None and length < given.min_size:
        reason = "small"
    return reason


def mark(headers: Headers, coding: str) -> None:
    """Change the head for content that is now encoded."""
    headers.discard("accept-ranges", "content-encoding")  # no ranges of this; an `identity` says nothing
    headers.append((b"Content-Encoding", coding.encode("ascii")))
    weaken(headers)


def weaken(headers: Headers) -> None:
    """Make the ETag weak: the content is the same, its bytes are not (RFC 9110 §8.8.1)."""
    for at, (name, value) in enumerate(headers):
        if name.lower() == b"etag" and not value.startswith(b"W/"):
            headers[at] = (name, b"W/" + value)


def weakened_before(facts: Facts, asked: Asked) -> bool:
    """Whether the client asks by the weak form of this strong ETag, so has the content from us, encoded."""
    return facts.etag is not None and facts.etag.startswith(b'"') and b"W/" + facts.etag in asked.none_match


def forbids(cache_control: bytes) -> bool:
    """Whether `no-transform` is among the directives (RFC 9111 §5.2.1.6, §5.2.2.6)."""
    return b"no-transform" in [each.strip() for each in cache_control.lower().split(b",")]
