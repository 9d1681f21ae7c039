"""API keys in a header or in the query, against a file of hashes."""

import secrets

from sidecar.config.model import ApiKeyAuth
from sidecar.errors import AuthUnavailable, BadRequest, Unauthorized
from sidecar.filters.auth import challenge
from sidecar.filters.auth.api_keys import MAX_KEY, ApiKeys, parse_api_keys, query_values, without_query
from sidecar.filters.auth.identity import Identity
from sidecar.filters.auth.ledger import Ledger
from sidecar.filters.auth.source import Source, follow_file
from sidecar.filters.context import FilterContext
from sidecar.model import Filter, Handler, Request, Response


def api_key_auth(spec: ApiKeyAuth, context: FilterContext, path: str) -> Filter:
    """Raises ConfigError where the file cannot be used."""
    ledger = Ledger("api_key", context.count)
    secret = secrets.token_bytes(32)
    source = follow_file(
        spec.keys_file,
        lambda data: parse_api_keys(data, secret),
        context,
        kind="api keys",
        told=ledger.source,
        path=f"{path}.keysFile",
    )
    return _ApiKeyAuth(spec, source, ledger)


class _ApiKeyAuth:
    """The filter."""

    __slots__ = ("_header", "_identity", "_ledger", "_source", "_spec")

    def __init__(self, spec: ApiKeyAuth, source: Source[ApiKeys] | None, ledger: Ledger) -> None:
        self._spec = spec
        self._source = source
        self._ledger = ledger
        self._header = spec.header.lower().encode() if spec.header else None
        written = () if spec.name_header is None else (spec.name_header,)
        self._identity = Identity(written, (spec.header,) if spec.strip_credentials and spec.header else ())

    async def __call__(self, request: Request, forward: Handler) -> Response:
        key = self._key(request)
        keys = await self._source.first() if self._source is not None else None
        if keys is None:
            self._ledger.tell(request, "unavailable")
            raise AuthUnavailable("the API keys are not known yet")
        name = keys.name_of(key)
        if name is None:
            raise self._refusal(request, "wrong_credentials", "the API key is unknown")
        spec = self._spec
        self._identity.write(request.headers, [(spec.name_header.encode(), name.encode())] if spec.name_header else [])
        if spec.strip_credentials and spec.query:
            request.target = without_query(request.target, spec.query)
        self._ledger.passed(request)
        return await forward(request)

    def explain(self) -> str:
        """What it would do, and with which keys."""
        keys = self._source.explain() if self._source is not None else self._spec.keys_file
        places = " or ".join(
            f"{what} {name}" for what, name in (("header", self._spec.header), ("query", self._spec.query)) if name
        )
        return f"Auth apiKey: in {places}; keys: {keys}"

    def _key(self, request: Request) -> bytes:
        found: list[bytes] = []
        if self._header is not None:
            found += [value for name, value in request.headers if name.lower() == self._header]
        if self._spec.query:
            found += query_values(request.target, self._spec.query)
        if not found:
            raise self._refusal(request, "missing", "an API key is needed")
        if len(found) > 1 or len(found[0]) > MAX_KEY:
            self._ledger.tell(request, "malformed")
            raise BadRequest("expected one API key")
        return found[0]

    def _refusal(self, request: Request, outcome: str, text: str) -> Unauthorized:
        self._ledger.tell(request, outcome)
        return Unauthorized(text, challenge.api_key(self._spec.realm))
