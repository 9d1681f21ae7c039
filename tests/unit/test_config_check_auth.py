"""What the settings of an Auth filter may hold, with the path of the field that may not."""

from typing import Any

import msgspec
import pytest

from sidecar.config.auth import Auth
from sidecar.config.check_auth import check_auth
from sidecar.config.sections import Duration
from sidecar.errors import ConfigError

JWKS = {"file": "keys"}
JWT: dict[str, Any] = {"issuer": "me", "audiences": ["a"], "jwks": JWKS}
SECRET: dict[str, Any] = {"issuer": "me", "audiences": [], "secretFile": "s"}
ACCOUNT: dict[str, Any] = {"audiences": ["a"]}
HEADER = {"claim": "sub", "header": "X-User"}


def check(**method: object) -> None:
    check_auth(msgspec.convert(method, Auth, dec_hook=lambda _, value: Duration.parse(value)), "$")


def wrong(**method: object) -> ConfigError:
    with pytest.raises(ConfigError) as error:
        check(**method)
    return error.value


@pytest.mark.parametrize(
    "method",
    [
        {"jwt": JWT},
        {"jwt": {**JWT, "algorithms": ["PS512", "EdDSA"], "leeway": "0s", "claimsToHeaders": [HEADER]}},
        {"jwt": {**JWT, "jwks": {"url": "https://id.example:8443/keys?x=1"}}},
        {"jwt": {**JWT, "rules": [{"claim": "/a/b", "equals": ""}, {"claim": "a", "oneOf": ["b"]}]}},
        {"jwt": SECRET},
        {"jwt": {**SECRET, "algorithms": ["HS512"]}},
        {"serviceAccount": ACCOUNT},
        {
            "serviceAccount": {
                **ACCOUNT,
                "namespaces": ["shop"],
                "accounts": ["shop/web.v1"],
                "issuer": "i",
                "jwks": JWKS,
            }
        },
        {"basic": {"usersFile": "u", "userHeader": "X-User"}},
        {"apiKey": {"keysFile": "k"}},
        {"apiKey": {"keysFile": "k", "header": None, "query": "key", "nameHeader": "X-Name"}},
        {"forward": {"url": "http://auth:9000/verify", "responseHeaders": ["X-User"]}},
        {"allow": {"addresses": ["10.0.0.0/8", "2001:db8::1"]}},
    ],
)
def test_these_are_right(method: dict[str, object]) -> None:
    check(**method)


@pytest.mark.parametrize(
    ("method", "path", "reason"),
    [
        ({}, "$", "expected exactly one of `jwt`, `serviceAccount`, `basic`, `apiKey`, `forward`, `allow`, got none"),
        ({"allow": {"addresses": []}, "apiKey": {"keysFile": "k"}}, "$", "got `apiKey` and `allow`"),
        ({"jwt": {"issuer": "me", "audiences": []}}, "$.jwt", "exactly one of `jwks`, `secretFile`"),
        ({"jwt": {**JWT, "secretFile": "s"}}, "$.jwt", "exactly one of `jwks`, `secretFile`"),
        ({"jwt": {**JWT, "algorithms": ["RS256", "HS256"]}}, "$.jwt.algorithms[1]", "HS256 goes with `secretFile`"),
        ({"jwt": {**SECRET, "algorithms": ["ES256"]}}, "$.jwt.algorithms[0]", "ES256 goes with `jwks`"),
        ({"jwt": {**JWT, "issuer": ""}}, "$.jwt.issuer", "who issues the tokens"),
        ({"jwt": {**JWT, "audiences": ["a", ""]}}, "$.jwt.audiences[1]", "expected an audience"),
        ({"jwt": {**JWT, "leeway": "6m"}}, "$.jwt.leeway", "0 to 300"),
        ({"jwt": {**JWT, "realm": ""}}, "$.jwt.realm", "printable"),
        ({"jwt": {**JWT, "realm": "\u00e9"}}, "$.jwt.realm", "printable"),
        ({"jwt": {**SECRET, "secretFile": ""}}, "$.jwt.secretFile", "expected a file"),
        ({"jwt": {**JWT, "jwks": {}}}, "$.jwt.jwks", "exactly one of `file`, `url`"),
        ({"jwt": {**JWT, "jwks": {"file": "f", "url": "https://x"}}}, "$.jwt.jwks", "exactly one of `file`, `url`"),
        ({"jwt": {**JWT, "jwks": {"file": ""}}}, "$.jwt.jwks.file", "expected a file"),
        ({"jwt": {**JWT, "jwks": {"url": "ftp://x"}}}, "$.jwt.jwks.url", "expected an http"),
        ({"jwt": {**JWT, "jwks": {"url": "https://u:p@x"}}}, "$.jwt.jwks.url", "expected an http"),
        ({"jwt": {**JWT, "jwks": {"url": "https://x:y"}}}, "$.jwt.jwks.url", "expected an http"),
        ({"jwt": {**JWT, "jwks": {"url": "https://x/ y"}}}, "$.jwt.jwks.url", "expected an http"),
        ({"jwt": {**JWT, "jwks": {"url": "https:///y"}}}, "$.jwt.jwks.url", "expected an http"),
        ({"jwt": {**JWT, "jwks": {"url": "https://x", "timeout": "0s"}}}, "$.jwt.jwks.timeout", "above zero"),
        ({"jwt": {**JWT, "jwks": {**JWKS, "minInterval": "0s"}}}, "$.jwt.jwks.minInterval", "above zero"),
        ({"jwt": {**JWT, "jwks": {**JWKS, "refreshInterval": "0s"}}}, "$.jwt.jwks.refreshInterval", "above zero"),
        ({"jwt": {**JWT, "rules": [{"claim": ""}]}}, "$.jwt.rules[0].claim", "the name of a claim"),
        ({"jwt": {**JWT, "rules": [{"claim": "a"}]}}, "$.jwt.rules[0]", "exactly one of `equals`"),
        (
            {"jwt": {**JWT, "rules": [{"claim": "a", "equals": "b", "contains": "c"}]}},
            "$.jwt.rules[0]",
            "exactly one of `equals`",
        ),
        ({"jwt": {**JWT, "claimsToHeaders": [{**HEADER, "claim": "/"}]}}, "$.jwt.claimsToHeaders[0].claim", "a claim"),
        (
            {"jwt": {**JWT, "claimsToHeaders": [{**HEADER, "header": "a b"}]}},
            "$.jwt.claimsToHeaders[0].header",
            "a header name",
        ),
        (
            {"jwt": {**JWT, "claimsToHeaders": [{**HEADER, "header": "Host"}]}},
            "$.jwt.claimsToHeaders[0].header",
            "is the sidecar's own",
        ),
        (
            {"jwt": {**JWT, "claimsToHeaders": [HEADER, {**HEADER, "header": "x_user"}]}},
            "$.jwt.claimsToHeaders[1].header",
            "is taken by",
        ),
        ({"serviceAccount": {"audiences": []}}, "$.serviceAccount.audiences", "at least one"),
        ({"serviceAccount": {**ACCOUNT, "namespaces": ["A"]}}, "$.serviceAccount.namespaces[0]", "lower-case"),
        ({"serviceAccount": {**ACCOUNT, "accounts": ["web"]}}, "$.serviceAccount.accounts[0]", "`namespace/name`"),
        ({"serviceAccount": {**ACCOUNT, "accounts": ["shop/"]}}, "$.serviceAccount.accounts[0]", "`namespace/name`"),
        ({"serviceAccount": {**ACCOUNT, "accounts": ["shop/a b"]}}, "$.serviceAccount.accounts[0]", "DNS name"),
        ({"serviceAccount": {**ACCOUNT, "jwks": JWKS}}, "$.serviceAccount.issuer", "no `tokenFile`"),
        ({"basic": {"usersFile": ""}}, "$.basic.usersFile", "expected a file"),
        ({"basic": {"usersFile": "u", "userHeader": "Connection"}}, "$.basic.userHeader", "frames the message"),
        ({"apiKey": {"keysFile": "k", "header": None}}, "$.apiKey", "`header` or `query`"),
        ({"apiKey": {"keysFile": "k", "header": "a:"}}, "$.apiKey.header", "a header name"),
        ({"forward": {"url": "auth:9000"}}, "$.forward.url", "expected an http"),
        ({"forward": {"url": "http://a", "timeout": "0s"}}, "$.forward.timeout", "above zero"),
        ({"forward": {"url": "http://a", "clientHeaders": ["TE"]}}, "$.forward.clientHeaders[0]", "frames the message"),
        ({"allow": {"addresses": []}}, "$.allow.addresses", "at least one"),
        ({"allow": {"addresses": ["::1", "10.0.0.1/8"]}}, "$.allow.addresses[1]", "host bits set"),
    ],
)
def test_what_cannot_be_meant_is_named_with_its_field(method: dict[str, object], path: str, reason: str) -> None:
    error = wrong(**method)
    assert (error.path, reason in error.reason) == (path, True), error


def test_a_url_is_not_shown_for_it_may_hold_a_password() -> None:
    assert "hunter2" not in str(wrong(forward={"url": "http://ann:hunter2@auth"}))
