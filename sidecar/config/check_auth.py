"""Judges the settings of an `Auth` filter (pure); the files that it names are judged where they are read."""

import re
from ipaddress import ip_network
from urllib.parse import urlsplit

from sidecar.config import fields
from sidecar.config.auth import (
    ApiKeyAuth,
    Auth,
    BasicAuth,
    ClaimHeader,
    ClaimRule,
    ForwardAuth,
    Jwks,
    JwtAuth,
    ServiceAccountAuth,
)
from sidecar.errors import ConfigError

_METHODS = ("jwt", "service_account", "basic", "api_key", "forward", "allow")
_REALM = re.compile(r"[ -~]{1,100}")
_MOST_LEEWAY = 300


def check_auth(auth: Auth, path: str) -> None:
    """Raise ConfigError for the first thing that cannot be meant."""
    given = [name for name in _METHODS if getattr(auth, name) is not None]
    if len(given) != 1:
        known = ", ".join(f"`{_camel(name)}`" for name in _METHODS)
        got = " and ".join(f"`{_camel(name)}`" for name in given) or "none"
        raise ConfigError(path, f"expected exactly one of {known}, got {got}")
    path = f"{path}.{_camel(given[0])}"
    if auth.jwt is not None:
        _jwt(auth.jwt, path)
    if auth.service_account is not None:
        _service_account(auth.service_account, path)
    if auth.basic is not None:
        _basic(auth.basic, path)
    if auth.api_key is not None:
        _api_key(auth.api_key, path)
    if auth.forward is not None:
        _forward(auth.forward, path)
    if auth.allow is not None:
        _addresses(auth.allow.addresses, f"{path}.addresses")


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def _jwt(spec: JwtAuth, path: str) -> None:
    if (spec.jwks is None) == (spec.secret_file is None):
        raise ConfigError(path, "expected exactly one of `jwks`, `secretFile`")
    for at, algorithm in enumerate(spec.algorithms):
        if algorithm.startswith("HS") != (spec.secret_file is not None):
            needs = "`secretFile`" if algorithm.startswith("HS") else "`jwks`"
            raise ConfigError(f"{path}.algorithms[{at}]", f"{algorithm} goes with {needs}")
    if not spec.issuer:
        raise ConfigError(f"{path}.issuer", "expected who issues the tokens, as their claim `iss` says it, got ''")
    if spec.jwks is not None:
        _jwks(spec.jwks, f"{path}.jwks")
    _file(spec.secret_file, f"{path}.secretFile")
    for at, rule in enumerate(spec.rules):
        _rule(rule, f"{path}.rules[{at}]")
    _token(spec, path)


def _service_account(spec: ServiceAccountAuth, path: str) -> None:
    if not spec.audiences:
        raise ConfigError(f"{path}.audiences", "expected at least one: a token for anybody is a token for others")
    for at, namespace in enumerate(spec.namespaces):
        fields.label(namespace, f"{path}.namespaces[{at}]")
    for at, account in enumerate(spec.accounts):
        namespace, slash, name = account.partition("/")
        if not slash or not name:
            raise ConfigError(f"{path}.accounts[{at}]", f"expected `namespace/name`, got {account!a}")
        fields.label(namespace, f"{path}.accounts[{at}]")
        fields.dns_name(name, f"{path}.accounts[{at}]")
    _jwks(spec.jwks, f"{path}.jwks")
    if spec.issuer is None and spec.jwks.token_file is None:
        raise ConfigError(f"{path}.issuer", "needed where `jwks` has no `tokenFile` to take it from")
    _token(spec, path)


def _token(spec: JwtAuth | ServiceAccountAuth, path: str) -> None:
    for at, audience in enumerate(spec.audiences):
        if not audience:
            raise ConfigError(f"{path}.audiences[{at}]", "expected an audience, got ''")
    fields.between(spec.leeway, f"{path}.leeway", 0, _MOST_LEEWAY)
    for at, each in enumerate(spec.claims_to_headers):
        _claim_header(each, f"{path}.claimsToHeaders[{at}]")
    fields.unique(
        (each.header.lower().replace("_", "-") for each in spec.claims_to_headers),
        f"{path}.claimsToHeaders",
        "header",
        field=".header",
    )
    _realm(spec.realm, f"{path}.realm")


def _claim_header(spec: ClaimHeader, path: str) -> None:
    _claim(spec.claim, f"{path}.claim")
    _own_header(spec.header, f"{path}.header")


def _own_header(name: str, path: str) -> None:
    """A header by which the upstream knows who calls."""
    fields.header_name(name, path)
    if name.lower() == "host":
        raise ConfigError(path, "`Host` is the sidecar's own; it is changed by a URLRewrite filter")


def _rule(rule: ClaimRule, path: str) -> None:
    _claim(rule.claim, f"{path}.claim")
    if (rule.equals is not None) + bool(rule.one_of) + (rule.contains is not None) != 1:
        raise ConfigError(path, "expected exactly one of `equals`, `oneOf`, `contains`")


def _claim(name: str, path: str) -> None:
    if name in {"", "/"}:
        raise ConfigError(path, f"expected the name of a claim, got {name!a}")


def _jwks(spec: Jwks, path: str) -> None:
    if (spec.file is None) == (spec.url is None):
        raise ConfigError(path, "expected exactly one of `file`, `url`")
    for field, value in (("file", spec.file), ("caFile", spec.ca_file), ("tokenFile", spec.token_file)):
        _file(value, f"{path}.{field}")
    if spec.url is not None:
        _url(spec.url, f"{path}.url")
    for field, seconds in (("refreshInterval", spec.refresh_interval), ("timeout", spec.timeout)):
        _positive(seconds, f"{path}.{field}")
    _positive(spec.min_interval, f"{path}.minInterval")


def _basic(spec: BasicAuth, path: str) -> None:
    _file(spec.users_file, f"{path}.usersFile")
    if spec.user_header is not None:
        _own_header(spec.user_header, f"{path}.userHeader")
    _realm(spec.realm, f"{path}.realm")


def _api_key(spec: ApiKeyAuth, path: str) -> None:
    _file(spec.keys_file, f"{path}.keysFile")
    if not spec.header and not spec.query:
        raise ConfigError(path, "expected `header` or `query`: where the key stands")
    for field, name in (("header", spec.header), ("nameHeader", spec.name_header)):
        if name is not None:
            _own_header(name, f"{path}.{field}")
    _realm(spec.realm, f"{path}.realm")


def _forward(spec: ForwardAuth, path: str) -> None:
    _url(spec.url, f"{path}.url")
    _positive(spec.timeout, f"{path}.timeout")
    _file(spec.ca_file, f"{path}.caFile")
    lists = {
        "requestHeaders": spec.request_headers,
        "responseHeaders": spec.response_headers,
        "clientHeaders": spec.client_headers,
    }
    for field, names in lists.items():
        for at, name in enumerate(names):
            _own_header(name, f"{path}.{field}[{at}]")


def _addresses(addresses: tuple[str, ...], path: str) -> None:
    if not addresses:
        raise ConfigError(path, "expected at least one address range such as `10.0.0.0/8`")
    for at, text in enumerate(addresses):
        try:
            ip_network(text)
        except ValueError as error:
            raise ConfigError(f"{path}[{at}]", f"expected an address range such as `10.0.0.0/8`: {error}") from None


def _url(text: str, path: str) -> None:
    try:
        parts = urlsplit(text)
        good = parts.scheme in {"http", "https"} and parts.hostname and parts.username is None and parts.port != 0
    except ValueError:
        good = False
    if not good or not text.isascii() or not text.isprintable() or " " in text or "#" in text:
        raise ConfigError(path, "expected an http:// or https:// URL without user and password")  # it may hold a secret


def _file(name: str | None, path: str) -> None:
    if name == "":
        raise ConfigError(path, "expected a file, got ''")


def _realm(text: str, path: str) -> None:
    if not _REALM.fullmatch(text):
        raise ConfigError(path, f"expected 1 to 100 printable ASCII characters, got {text!a}")


def _positive(seconds: float, path: str) -> None:
    if seconds <= 0:
        raise ConfigError(path, f"expected a duration above zero, got {seconds}")
