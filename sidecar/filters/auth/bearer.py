"""JSON Web Tokens as bearer tokens, of an identity provider or of Kubernetes service accounts.

A token seen before costs a hash and a look into a dict; a new one is verified here, in the loop (some 50 to 200 µs).
What a token must be is decided in `tokens`, `keys` and `claims`.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeAlias

from sidecar.config.model import ClaimHeader, ClaimRule, Jwks, JwtAuth, ServiceAccountAuth
from sidecar.errors import AuthUnavailable, BadRequest, Forbidden, Unauthorized
from sidecar.filters.auth import challenge
from sidecar.filters.auth.claims import Expected, account_of, broken, header_lines, judge
from sidecar.filters.auth.identity import Identity
from sidecar.filters.auth.keys import Key, Keys, Verifier, parse_key_set, parse_secret
from sidecar.filters.auth.ledger import Ledger
from sidecar.filters.auth.source import Source, follow_file, follow_url
from sidecar.filters.auth.tokens import (
    MAX_TOKEN,
    RefusedToken,
    TokenHeader,
    bearer_token,
    decoded,
    parse_object,
    read_header,
)
from sidecar.filters.auth.verified import Grant, Verified
from sidecar.filters.context import FilterContext
from sidecar.model import Filter, Handler, Request, Response

MAX_VERIFIED = 10_000  # tokens whose grants are kept
_ASYMMETRIC = ("RS256", "PS256", "ES256", "EdDSA")

Claims: TypeAlias = Mapping[str, Any]


class _Policy(NamedTuple):
    """What a token must say, and what follows from it."""

    issuer: Callable[[], str | None]
    audiences: Sequence[str]
    leeway: float
    lacking: Callable[[Claims], str]  # the scope or claim that is missing, empty where nothing is
    headers: Sequence[ClaimHeader]
    realm: str


def jwt_auth(spec: JwtAuth, context: FilterContext, path: str) -> Filter:
    """Tokens of an issuer. Raises ConfigError for files that cannot be used."""
    ledger = Ledger("jwt", context.count)
    source: Source[Any] | None
    if spec.jwks is not None:
        algorithms: tuple[str, ...] = spec.algorithms or _ASYMMETRIC
        source = _key_set(spec.jwks, context, ledger, f"{path}.jwks")
    else:
        secret_algorithms = algorithms = spec.algorithms or ("HS256",)
        source = follow_file(
            spec.secret_file or "",
            lambda data: parse_secret(data, secret_algorithms),
            context,
            kind=("secret", secret_algorithms),
            told=ledger.source,
            path=f"{path}.secretFile",
        )

    def lacking(claims: Claims) -> str:
        rule = broken(spec.rules, claims)
        return "" if rule is None else _lack(rule)

    policy = _Policy(
        lambda: spec.issuer, spec.audiences, spec.leeway, lacking, spec.claims_to_headers, spec.realm
    )  # fmt: skip
    return _BearerAuth("jwt", policy, algorithms, source, ledger, strip=spec.strip_credentials)


def service_account_auth(spec: ServiceAccountAuth, context: FilterContext, path: str) -> Filter:
    """Tokens of service accounts of this cluster. Raises ConfigError for files that cannot be used."""
    ledger = Ledger("service_account", context.count)
    source = _key_set(spec.jwks, context, ledger, f"{path}.jwks")
    issuer = _OwnIssuer(Path(context.config_folder) / (spec.jwks.token_file or ""))
    everybody = not spec.namespaces and not spec.accounts

    def lacking(claims: Claims) -> str:
        namespace, name = account_of(claims)
        allowed = everybody or namespace in spec.namespaces or f"{namespace}/{name}" in spec.accounts
        return "" if allowed else "service account"

    policy = _Policy(
        lambda: spec.issuer or issuer(), spec.audiences, spec.leeway, lacking, spec.claims_to_headers, spec.realm
    )
    return _BearerAuth("serviceAccount", policy, _ASYMMETRIC, source, ledger, strip=spec.strip_credentials)


class _OwnIssuer:
    """Who issued the sidecar's own service-account token, which the kubelet has mounted; read when first needed."""

    __slots__ = ("_file", "_found")

    def __init__(self, file: Path) -> None:
        self._file = file
        self._found: str | None = None

    def __call__(self) -> str | None:
        if self._found is None:
            with contextlib.suppress(OSError, ValueError, RefusedToken):
                payload = self._file.read_bytes()[:MAX_TOKEN].split(b".")[1:2]
                issuer = parse_object(decoded(b"".join(payload)), "payload").get("iss")
                self._found = issuer if isinstance(issuer, str) else None
        return self._found


class _BearerAuth:
    """The filter."""

    __slots__ = ("_algorithms", "_identity", "_ledger", "_method", "_policy", "_source", "_verified", "_verifier")

    def __init__(
        self,
        method: str,
        policy: _Policy,
        algorithms: Sequence[str],
        source: Source[Any] | None,
        ledger: Ledger,
        *,
        strip: bool,
    ) -> None:
        self._method = method
        self._policy = policy
        self._algorithms = frozenset(algorithms)
        self._source = source
        self._ledger = ledger
        self._verifier = Verifier(algorithms)
        self._verified = Verified(MAX_VERIFIED)
        self._identity = Identity((each.header for each in policy.headers), ("Authorization",) if strip else ())

    async def __call__(self, request: Request, forward: Handler) -> Response:
        values = [value for name, value in request.headers if name.lower() == b"authorization"]
        source = self._source
        grant = None
        if len(values) == 1 and source is not None:
            now = request.received_ns / 1e9
            grant = self._verified.get(sha256(values[0]).digest(), source.version, now)
        if grant is None:
            grant = await self._verify(request, values)
        if grant.forbidden:
            self._refuse_caller(request, grant.forbidden)
        self._identity.write(request.headers, grant.lines)
        self._ledger.passed(request)
        return await forward(request)

    def explain(self) -> str:
        """What it would do, and with which keys."""
        policy = self._policy
        audiences = ", ".join(policy.audiences) or "any"
        keys = self._source.explain() if self._source is not None else "no keys"
        issuer = policy.issuer() or "not known yet"
        return f"Auth {self._method}: issuer {issuer}, audience {audiences}; keys: {keys}"

    async def _verify(self, request: Request, values: Sequence[bytes]) -> Grant:
        """Verify a token that was not seen before; raises the answer where it does not hold."""
        source = self._source
        try:
            token = bearer_token(values)
            keys: Keys | None = await source.first() if source is not None else None
            issuer = self._policy.issuer()
            if source is None or keys is None or issuer is None:
                self._ledger.tell(request, "unavailable")
                raise AuthUnavailable("the keys that verify tokens are not known yet")
            grant, version = await self._grant(token, source, issuer, request.received_ns / 1e9)
        except RefusedToken as refused:
            self._refuse_token(request, refused)
        self._verified.put(sha256(values[0]).digest(), version, grant)
        return grant

    async def _grant(self, token: bytes, source: Source[Keys], issuer: str, now: float) -> tuple[Grant, int]:
        header = read_header(token, self._algorithms)
        candidates = _candidates(source, header)
        if not candidates:
            await source.sought()
            candidates = _candidates(source, header)
        if not candidates:
            raise RefusedToken("unknown_key", "the token is signed with an unknown key")
        version = source.version
        claims = parse_object(self._verifier.payload(token, header, candidates), "payload")
        policy = self._policy
        ends = judge(claims, Expected(issuer, frozenset(policy.audiences), policy.leeway), now)
        return Grant(ends, header_lines(policy.headers, claims), policy.lacking(claims)), version

    def _refuse_token(self, request: Request, refused: RefusedToken) -> NoReturn:
        self._ledger.tell(request, refused.outcome)
        realm, text = self._policy.realm, str(refused)
        if refused.outcome == "missing":
            raise Unauthorized(text, challenge.bearer(realm)) from None
        if refused.outcome == "ambiguous":
            error = BadRequest(text)
            error.headers = (("WWW-Authenticate", challenge.bearer(realm, "invalid_request", text)),)
            raise error from None
        raise Unauthorized(text, challenge.bearer(realm, "invalid_token", text)) from None

    def _refuse_caller(self, request: Request, lack: str) -> NoReturn:
        self._ledger.tell(request, "forbidden")
        scope = lack.removeprefix("scope ") if lack.startswith("scope ") else ""
        description = "" if scope else f"the token lacks: {lack}"
        raise Forbidden(
            f"the token is valid but lacks: {lack}",
            challenge.bearer(self._policy.realm, "insufficient_scope", description, scope),
        )


def _candidates(source: Source[Keys], header: TokenHeader) -> Sequence[Key]:
    return source.value.find(header) if source.value is not None else ()


def _key_set(spec: Jwks, context: FilterContext, ledger: Ledger, path: str) -> Source[Any] | None:
    if spec.file is None:
        return follow_url(spec, parse_key_set, context, ledger.source)
    return follow_file(spec.file, parse_key_set, context, kind="jwks", told=ledger.source, path=f"{path}.file")


def _lack(rule: ClaimRule) -> str:
    """A scope is named, for the client may ask for it (RFC 6750 §3); of other claims the name alone."""
    named = rule.contains if rule.claim == "scope" else None
    return f"scope {named}" if named else f"claim {rule.claim}"
