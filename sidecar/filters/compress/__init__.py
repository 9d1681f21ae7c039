"""Compress: encodes responses as the client accepts, decodes requests where the app is to see them plain.

What may be encoded is decided in `eligibility.py`, how in `negotiation.py`, how hard in `meter.py`; `codecs.py` and
`bodies.py` do it.
"""

import asyncio
from collections.abc import AsyncIterator

from sidecar.config.compress import Compress
from sidecar.errors import BadRequest, ConfigError, FilterOverflow, NotAcceptable
from sidecar.filters.compress.bodies import Decoded, Decoding, Encoded, Shared
from sidecar.filters.compress.codecs import INSTALLED, decoder
from sidecar.filters.compress.eligibility import (
    ADVICE,
    Asked,
    facts_of,
    mark,
    objection,
    rules,
    weaken,
    weakened_before,
)
from sidecar.filters.compress.meter import Level
from sidecar.filters.compress.negotiation import Choice, choose
from sidecar.filters.context import FilterContext
from sidecar.filters.vary import add_vary
from sidecar.model import Handler, Request, Response

_MEMO_LIMIT = 256  # values of Accept-Encoding whose choice is kept
_ACCEPT = b"Accept-Encoding"


class CompressAround:
    """The filter of one rule."""

    __slots__ = ("_budget", "_choices", "_codings", "_count", "_meter", "_rules", "_shared", "_spec")

    def __init__(self, spec: Compress, context: FilterContext, path: str) -> None:
        """Compile; raises ConfigError for a coding that is not installed."""
        for at, coding in enumerate(spec.encodings or ()):
            if coding not in INSTALLED:
                hint = "its package is not installed; `sidecar[compress]` brings it"
                raise ConfigError(f"{path}.encodings[{at}]", f"no `{coding}`: {hint}")
        self._spec = spec
        self._codings: tuple[str, ...] = spec.encodings or INSTALLED
        self._budget = spec.cpu_budget / 100
        self._rules = rules(spec.types, min_size=spec.min_size, with_set_cookie=spec.with_set_cookie)
        self._choices: dict[bytes | None, Choice] = {}
        self._count = context.count
        self._shared = context.keeper.keep("compress", Shared) if context.keeper is not None else Shared()
        self._meter = self._shared.meter

    async def __call__(self, request: Request, forward: Handler) -> Response:
        """Decode the request if that is asked for, let it through, encode the response if that may be."""
        if request.upgrade is not None or request.method == "CONNECT":
            return await forward(request)
        asked = Asked(request)
        decoded = self._decode(request, asked)
        try:
            response = await forward(request)
        except BaseException:
            if decoded is not None:
                decoded.release()
            raise
        if decoded is not None:
            response.on_close(decoded.release)
        try:
            outcome = await self._encode(response, asked)
        except BaseException:
            await response.aclose()
            raise
        self._count("Compress", outcome)
        if request.notes is None:
            request.notes = {}
        request.notes["sidecar.compress.outcome"] = outcome
        return response

    def explain(self) -> str:
        """What it would do, in a line."""
        load = self._meter.load(asyncio.get_running_loop().time())
        return (
            f"Compress: {', '.join(self._codings)} from {self._spec.min_size} bytes on; "
            f"{load:.0%} of a core spent of {self._budget:.0%}, "
            f"{self._meter.streams} streams of {self._spec.max_streams}"
        )

    async def _encode(self, response: Response, asked: Asked) -> str:
        """Encode the response where that may be and pays; returns what was done, or why not, in a word."""
        reason = self._objection(response, asked)
        choice = self._choose(asked.accept)
        if reason is not None and (reason not in ADVICE or choice.identity):
            return reason
        add_vary(response.headers, _ACCEPT)
        coding, level = choice.coding, self._level(choice)
        if coding is None:
            return self._plain(choice, asked)
        if level is None:
            return "cpu_budget"
        if asked.head:
            return _head(response, coding)
        if isinstance(response.body, bytes):
            return await self._whole(response, response.body, coding, level, choice)
        return self._stream(response, response.body, coding, level)

    def _objection(self, response: Response, asked: Asked) -> str | None:
        if response.tunnel is not None:
            return "tunnel"
        facts = facts_of(response.headers)
        if response.status == 304 and weakened_before(facts, asked):
            weaken(response.headers)
            add_vary(response.headers, _ACCEPT)
        elif response.status == 206 and self._rules.takes(facts.media_type):
            add_vary(response.headers, _ACCEPT)  # the whole would have been negotiated
        length = response.length if not asked.head else _declared(response)
        return objection(response.status, length, facts, asked, self._rules)

    def _level(self, choice: Choice) -> Level | None:
        level = self._meter.level(asyncio.get_running_loop().time(), self._budget)
        return Level.FAST if level is None and not choice.identity else level

    def _plain(self, choice: Choice, asked: Asked) -> str:
        """Nothing the client accepts is at hand (RFC 9110 §12.5.3, §15.5.7); what has been done is not denied."""
        if choice.identity or not asked.safe:
            return "identity"
        refusal = NotAcceptable("Accept-Encoding refuses `identity` and every coding there is")
        refusal.headers = (("Vary", "Accept-Encoding"),)
        self._count("Compress", "not_acceptable")
        raise refusal

    async def _whole(self, response: Response, body: bytes, coding: str, level: Level, choice: Choice) -> str:
        data = await self._shared.whole(coding, level, body)
        if len(data) >= len(body) and choice.identity:
            return "incompressible"
        mark(response.headers, coding)
        if response.trailers:
            response.body = data  # in chunks, as it came
        else:
            response.set_body(data)
        return coding

    def _stream(self, response: Response, body: AsyncIterator[bytes], coding: str, level: Level) -> str:
        if self._meter.streams >= self._spec.max_streams:
            return "streams"
        encoded = Encoded(body, coding, level, self._meter)
        response.on_close(encoded.release)
        mark(response.headers, coding)
        response.set_body(encoded)
        return coding

    def _choose(self, accept: bytes | None) -> Choice:
        choice = self._choices.get(accept)
        if choice is None:
            choice = choose(accept, self._codings)
            if len(self._choices) < _MEMO_LIMIT:
                self._choices[accept] = choice
        return choice

    def _decode(self, request: Request, asked: Asked) -> Decoded | None:
        """Put the decoded body in place of the encoded one; a streamed one is returned, for its end."""
        limits = self._spec.decompress_requests
        body = request.body
        if limits is None or asked.codings is None or asked.no_transform or not body:
            return None
        coding = _single(asked.codings)
        if coding is None:
            return None
        decoding = Decoding(coding, decoder(coding), limits)
        if isinstance(body, bytes):
            plain = b"".join(decoding.feed(body))
            decoding.end()
            request.set_body(plain)
            decoded = None
        elif self._meter.streams >= self._spec.max_streams:
            raise FilterOverflow("as many bodies as may be are being decoded")
        else:
            decoded = Decoded(body, decoding, self._meter)
            request.set_body(decoded)
        request.headers.discard("content-encoding", "content-md5", "digest", "content-digest", "repr-digest")
        self._count("Compress", "request_decoded")
        return decoded


def _single(codings: bytes) -> str | None:
    """The one coding of a request body, None for `identity`. Raises BadRequest for others (RFC 9110 §15.5.16)."""
    named = [each.strip().decode("latin-1") for each in codings.lower().split(b",")]
    named = ["gzip" if each == "x-gzip" else each for each in named if each not in ("", "identity")]
    if not named:
        return None
    if len(named) > 1 or named[0] not in INSTALLED:
        refusal = BadRequest("the request body has a content coding other than one of those known here", 415)
        refusal.headers = (("Accept-Encoding", ", ".join(INSTALLED)),)
        raise refusal
    return named[0]


def _head(response: Response, coding: str) -> str:
    """What a GET would be answered with, but for the length, which only encoding would tell (RFC 9110 §9.3.2)."""
    mark(response.headers, coding)
    response.headers.discard("content-length")
    response.length, response.declared = None, True
    return coding


def _declared(response: Response) -> int | None:
    """The length that a response to HEAD declares."""
    value = response.headers.get("content-length")
    return int(value) if value is not None and value.isdigit() else None


def compress(spec: Compress, context: FilterContext, path: str) -> CompressAround:
    """Make the filter. Raises ConfigError."""
    return CompressAround(spec, context, path)
