"""Settings of the `Auth` filter, spelled as Gateway API spells: camelCase.

What they may hold is judged in `check_auth.py`; the files that they name are read where the filter is made.
"""

from typing import Literal, TypeAlias

from sidecar.config.sections import Duration, GatewaySection

Algorithm: TypeAlias = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512"
]  # fmt: skip

_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


class Jwks(GatewaySection, frozen=True, kw_only=True):
    """Where a JSON Web Key Set (RFC 7517) comes from: a file, which is followed, or a URL."""

    file: str | None = None
    url: str | None = None
    ca_file: str | None = None
    token_file: str | None = None  # a bearer token for the URL, read anew for each fetch
    refresh_interval: Duration = Duration(300)
    min_interval: Duration = Duration(10)  # between two fetches for the sake of unknown keys
    timeout: Duration = Duration(5)


class ClaimRule(GatewaySection, frozen=True, kw_only=True):
    """What a claim must be; a name that begins with `/` is a JSON Pointer (RFC 6901) into nested claims."""

    claim: str
    equals: str | None = None
    one_of: tuple[str, ...] = ()
    contains: str | None = None  # an element of a list, or a word of a text such as `scope`


class ClaimHeader(GatewaySection, frozen=True, kw_only=True):
    """A claim that the upstream is told in a header, which nobody else may write."""

    claim: str
    header: str


class JwtAuth(GatewaySection, frozen=True, kw_only=True):
    """JSON Web Tokens (RFC 7519) as bearer tokens (RFC 6750), signed by a key of `jwks` or with the secret."""

    issuer: str
    audiences: tuple[str, ...]  # one of them must be in `aud`; none: any token of the issuer, whoever it is for
    jwks: Jwks | None = None
    secret_file: str | None = None
    algorithms: tuple[Algorithm, ...] = ()  # none: RS256, PS256, ES256 and EdDSA with `jwks`, HS256 with a secret
    leeway: Duration = Duration(30)
    rules: tuple[ClaimRule, ...] = ()
    claims_to_headers: tuple[ClaimHeader, ...] = ()
    strip_credentials: bool = False
    realm: str = "sidecar"


class ServiceAccountAuth(GatewaySection, frozen=True, kw_only=True):
    """Tokens of Kubernetes service accounts, checked with the cluster's keys; bound to an audience."""

    audiences: tuple[str, ...]
    namespaces: tuple[str, ...] = ()  # these, and `accounts`; both empty: every account of the cluster
    accounts: tuple[str, ...] = ()  # `namespace/name`
    issuer: str | None = None  # null: the one of the sidecar's own token
    jwks: Jwks = Jwks(
        url="https://kubernetes.default.svc/openid/v1/jwks",
        ca_file=f"{_ACCOUNT}/ca.crt",
        token_file=f"{_ACCOUNT}/token",
    )
    leeway: Duration = Duration(30)
    claims_to_headers: tuple[ClaimHeader, ...] = ()
    strip_credentials: bool = False
    realm: str = "sidecar"


class BasicAuth(GatewaySection, frozen=True, kw_only=True):
    """HTTP Basic (RFC 7617); the file has lines `user:hash`, bcrypt or argon2, and is read again when it changes."""

    users_file: str
    user_header: str | None = None
    strip_credentials: bool = False
    realm: str = "sidecar"


class ApiKeyAuth(GatewaySection, frozen=True, kw_only=True):
    """API keys; the file has lines `name:sha256 of the key in hex` and is read again when it changes."""

    keys_file: str
    header: str | None = "X-API-Key"
    query: str | None = None
    name_header: str | None = None
    strip_credentials: bool = False
    realm: str = "sidecar"


class ForwardAuth(GatewaySection, frozen=True, kw_only=True):
    """Another service decides: 2xx lets the request pass, its 3xx and 4xx are the answer, all else is a 503."""

    url: str
    timeout: Duration = Duration(2)
    ca_file: str | None = None
    request_headers: tuple[str, ...] = ("Authorization", "Cookie")  # which of the request's it is sent
    response_headers: tuple[str, ...] = ()  # which of its answer the upstream is sent, in place of the request's
    client_headers: tuple[str, ...] = ()  # which of its answer the client is sent


class AllowList(GatewaySection, frozen=True, kw_only=True):
    """Clients by address, as the listener's `trusted_proxies` name them."""

    addresses: tuple[str, ...]


class Auth(GatewaySection, frozen=True, kw_only=True):
    """Who may pass; exactly one of the fields. Several filters must all agree."""

    jwt: JwtAuth | None = None
    service_account: ServiceAccountAuth | None = None
    basic: BasicAuth | None = None
    api_key: ApiKeyAuth | None = None
    forward: ForwardAuth | None = None
    allow: AllowList | None = None


class AuthFilter(GatewaySection, frozen=True, kw_only=True, tag_field="type", tag="Auth"):
    """Lets pass who may, and says no to all others."""

    auth: Auth
