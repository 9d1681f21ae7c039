"""Forward-auth: another service is asked about each request, as with Traefik's and Caddy's `forward_auth`.

The subrequest is a GET without body that names the request in `X-Forwarded-Method`, `-Proto`, `-Host`, `-Uri` and
`-For`. 2xx lets the request pass with the headers that are to come back; 3xx and 4xx are the client's answer; anything
else, and no answer in time, is a 503: it fails closed.
"""

import asyncio
from collections.abc import Iterable
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

import aiohttp
from yarl import URL

from sidecar.config.model import ForwardAuth
from sidecar.errors import AuthUnavailable, BadRequest
from sidecar.filters.auth.identity import Identity
from sidecar.filters.auth.ledger import Ledger
from sidecar.filters.auth.session import Unreachable, open_session, read_body
from sidecar.filters.context import FilterContext
from sidecar.forwarding.headers import HOP_BY_HOP, nominations
from sidecar.model import Filter, Handler, RawHeaders, Request, Response
from sidecar.telemetry.arrival import ARRIVAL_FIELDS, Arrival
from sidecar.telemetry.propagation import fields_of

_VISIBLE = "".join(map(chr, range(0x21, 0x7F)))  # what stays as it is in a target
_MAX_ANSWER = 65_536  # bytes of an answer that goes to the client
_REASONS = {each.value: each.phrase.encode() for each in HTTPStatus}
_ABOUT = frozenset(
    {"x-forwarded-method", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-uri", "x-forwarded-for", "host"}
)  # the sidecar writes these itself


def forward_auth(spec: ForwardAuth, context: FilterContext, path: str) -> Filter:
    """Ask the service at `spec.url`; the session opens with the first request."""
    del path  # nothing is read before
    service = None
    if context.keeper is not None:
        ca_file = spec.ca_file and str(Path(context.config_folder) / spec.ca_file)
        key = ("auth forward", spec.url, spec.timeout, ca_file)
        service = context.keeper.keep(key, lambda: AuthService(spec.url, spec.timeout, ca_file or None))
    return _ForwardAuth(spec, service, Ledger("forward", context.count))


class AuthService:
    """The service and the session with it; kept over reloads."""

    def __init__(self, url: str, timeout: float, ca_file: str | None) -> None:
        self._url = URL(url, encoded=True)
        self._timeout = timeout
        self._ca_file = ca_file
        self._session: aiohttp.ClientSession | None = None
        self._opening = asyncio.Lock()
        self._asking = 0
        self._idle = asyncio.Event()
        self._closed = False

    async def ask(self, headers: Iterable[tuple[str, str]]) -> "Verdict":
        """One subrequest; raises Unreachable."""
        if self._closed:
            raise Unreachable("the configuration has changed")
        self._asking += 1
        try:
            async with asyncio.timeout(self._timeout):
                return await self._ask(list(headers))
        except TimeoutError:
            raise Unreachable(f"no answer within {self._timeout:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unreachable(type(error).__name__) from None
        finally:
            self._asking -= 1
            if not self._asking:
                self._idle.set()

    async def aclose(self) -> None:
        """Close the session, once those that ask have their answer."""
        self._closed = True
        if self._asking:
            self._idle.clear()
            await self._idle.wait()
        if self._session is not None:
            await self._session.close()

    async def _ask(self, headers: list[tuple[str, str]]) -> "Verdict":
        async with self._opening:
            if self._session is None:
                self._session = await open_session(
                    str(self._url), self._ca_file, aiohttp.ClientTimeout(total=self._timeout)
                )
        async with self._session.get(self._url, headers=headers, allow_redirects=False) as response:
            passed = 200 <= response.status <= 299
            if not passed and not 300 <= response.status <= 499:
                raise Unreachable(f"it answered {response.status}")
            body = b"" if passed else await read_body(response, _MAX_ANSWER)
            return Verdict(response.status, list(response.raw_headers), body, passed=passed)


class Verdict:
    """What the service said."""

    __slots__ = ("_body", "_headers", "_status", "passed")

    def __init__(self, status: int, headers: RawHeaders, body: bytes, *, passed: bool) -> None:
        self.passed = passed
        self._status = status
        self._headers = headers
        self._body = body

    def fields(self, names: frozenset[bytes]) -> RawHeaders:
        """Its fields with these names, in lower case."""
        return [(name, value) for name, value in self._headers if name.lower() in names]

    def answer(self) -> Response:
        """Its answer as the client's, without what belongs to the connection with the service."""
        gone = set(HOP_BY_HOP) | {b"content-length", b"trailer"}
        for name, value in self._headers:
            if name.lower() == b"connection":
                gone |= nominations(value)
        reason = _REASONS.get(self._status, b"")
        kept = [each for each in self._headers if each[0].lower() not in gone]
        response = Response(self._status, kept, reason=reason)
        if self._status != HTTPStatus.NOT_MODIFIED:
            response.set_body(self._body)
        return response


class _ForwardAuth:
    """The filter."""

    __slots__ = ("_back", "_client", "_identity", "_ledger", "_sent", "_service", "_url")

    def __init__(self, spec: ForwardAuth, service: AuthService | None, ledger: Ledger) -> None:
        self._service = service
        self._ledger = ledger
        self._url = spec.url
        self._sent = frozenset(name.lower() for name in spec.request_headers) - _ABOUT
        self._back = frozenset(name.lower().encode() for name in spec.response_headers)
        self._client = frozenset(name.lower().encode() for name in spec.client_headers)
        self._identity = Identity(spec.response_headers)

    async def __call__(self, request: Request, forward: Handler) -> Response:
        verdict = await self._ask(request)
        if not verdict.passed:
            self._ledger.tell(request, "denied")
            return verdict.answer()
        self._identity.write(request.headers, verdict.fields(self._back))
        self._ledger.passed(request)
        response = await forward(request)
        if self._client:
            response.headers += verdict.fields(self._client)
        return response

    def explain(self) -> str:
        """What it would do."""
        return f"Auth forward: asks {self._url.partition('?')[0]}"

    async def _ask(self, request: Request) -> Verdict:
        assert self._service is not None  # noqa: S101 - a configuration that is only checked serves nobody
        try:
            return await self._service.ask(self._about(request))
        except Unreachable as error:
            self._ledger.tell(request, "unavailable")
            raise AuthUnavailable(f"the service that decides on requests gave no answer: {error}") from None

    def _about(self, request: Request) -> Iterable[tuple[str, str]]:
        """The fields of the subrequest: what tells of the request, and those of its own that are to go."""
        arrival = Arrival(request, fields_of(request.headers, ARRIVAL_FIELDS))
        client = arrival.client_ip(request.peer)
        yield "X-Forwarded-Method", request.method
        yield "X-Forwarded-Proto", arrival.scheme
        yield "X-Forwarded-Host", arrival.authority
        yield "X-Forwarded-Uri", quote(request.target, safe=_VISIBLE)
        yield "X-Forwarded-For", "unknown" if client is None else str(client)
        for name, value in request.headers:
            text = name.decode("latin-1")
            if text.lower() in self._sent:
                yield text, _utf_8(value)


def _utf_8(value: bytes) -> str:
    """What aiohttp writes as the same bytes; nothing goes to the service changed."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise BadRequest("a header that decides on the request is no UTF-8") from None
