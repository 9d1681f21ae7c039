"""Bearer tokens through a running proxy: keys from a file and from a server that rotates and fails."""

import asyncio
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from sidecar.config.load import parse
from sidecar.errors import ConfigError
from sidecar.lifecycle.assemble import check
from sidecar.lifecycle.view import View
from tests.support.client import Answered, ask
from tests.support.issuer import (
    ISSUER,
    answer,
    auth,
    claims,
    get,
    jwk,
    jwks,
    jwt_rule,
    scripted,
    token,
)
from tests.support.origin import Origin, answers
from tests.support.otlp_receiver import OtlpReceiver
from tests.support.proxy import Running, eventually, reverse, running_proxy

NOW = time.time_ns() // 10**9
SLOW = {"refreshInterval": "1h", "minInterval": "1h"}
EAGER = {"refreshInterval": "1h", "minInterval": "1ms"}
ONE_CONNECTION = {"circuit_breakers": {"max_connections": 1}}


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "jwks.json"
    file.write_bytes(jwks(jwk("ES256")))
    return file


def bearer(*parts: object, **kind: Any) -> str:
    return f"Bearer {token(*parts, **kind)}"  # type: ignore[arg-type]  # as `token` takes them


def outcome(proxy: Running, name: str) -> float:
    """How often the filter decided so."""
    found = proxy.proxy.telemetry.metrics.registry.get_sample_value(
        "sidecar_filter_outcomes_total", {"filter": "Auth", "outcome": name}
    )
    return found or 0.0


def challenge(answered: Answered) -> str:
    return (answered.value(b"www-authenticate") or b"").decode()


# --- what passes and what is said to the rest ------------------------------------------------------------------------


async def test_a_token_of_the_issuer_passes_again_and_again(key_file: Path) -> None:
    rule = jwt_rule({"file": str(key_file)})
    async with Origin() as origin, running_proxy(reverse(origin.address, rule=rule)) as proxy:
        credentials = bearer()
        for _ in range(3):
            assert (await ask(proxy.address, get(credentials))).status == 200
        assert origin.requests[0].values(b"authorization") == [credentials.encode()]
        assert outcome(proxy, "allowed") == 3


@pytest.mark.parametrize(
    ("sent", "status", "said", "word"),
    [
        (get(), 401, 'Bearer realm="sidecar"', "missing"),
        (get("Basic YTpi"), 401, 'Bearer realm="sidecar"', "missing"),
        (get("Bearer x.y"), 401, 'error="invalid_token"', "malformed"),
        (get(bearer(name="2", headers={"kid": "ES256-1"})), 401, 'error="invalid_token"', "signature"),
        (get(bearer(claims(exp=NOW - 40))), 401, "the token has expired", "expired"),
        (get(bearer(claims(exp=None))), 401, "has no claim `exp`", "malformed"),
        (get(bearer(claims(nbf=NOW + 86_400))), 401, "not valid yet", "not_yet_valid"),
        (get(bearer(claims(iss="https://other.example"))), 401, "another issuer", "issuer"),
        (get(bearer(claims(aud="billing"))), 401, "another audience", "audience"),
        (get(bearer(kind="RS256", headers={"kid": "ES256-1"})), 401, "not its key's", "algorithm"),
        (get(bearer(name="9")), 401, "an unknown key", "unknown_key"),
        (get(bearer(), f"Authorization: {bearer()}"), 400, 'error="invalid_request"', "ambiguous"),
    ],
)
async def test_each_refusal_names_its_cause_to_the_client_and_to_the_metrics(
    key_file: Path, sent: bytes, status: int, said: str, word: str
) -> None:
    rule = jwt_rule({"file": str(key_file)})
    async with Origin() as origin, running_proxy(reverse(origin.address, rule=rule)) as proxy:
        answered = await ask(proxy.address, sent)
        assert (answered.status, origin.requests) == (status, [])
        assert said in challenge(answered)
        assert b"error=http_request_" in (answered.value(b"proxy-status") or b"")
        assert outcome(proxy, word) == 1


async def test_a_valid_token_without_the_scope_is_forbidden_and_told_which(key_file: Path) -> None:
    rules = [{"claim": "scope", "contains": "orders.write"}, {"claim": "tier", "oneOf": ["gold", "1"]}]
    rule = jwt_rule({"file": str(key_file)}, rules=rules)
    async with Origin() as origin, running_proxy(reverse(origin.address, rule=rule)) as proxy:
        answered = await ask(proxy.address, get(bearer(claims(scope="orders.read"))))
        assert answered.status == 403
        assert challenge(answered) == 'Bearer realm="sidecar", error="insufficient_scope", scope="orders.write"'
        again = get(bearer(claims(scope="orders.read orders.write")))
        for _ in range(2):
            assert challenge(await ask(proxy.address, again)).endswith(
                'error_description="the token lacks: claim tier"'
            )
        assert (await ask(proxy.address, get(bearer(claims(scope="orders.write", tier=1))))).status == 200
        assert outcome(proxy, "forbidden") == 3


async def test_claims_become_headers_that_no_client_can_write(key_file: Path) -> None:
    wanted = [{"claim": "sub", "header": "X-User"}, {"claim": "/realm/roles", "header": "X-Roles"}]
    rule = jwt_rule({"file": str(key_file)}, claimsToHeaders=wanted, stripCredentials=True)
    async with Origin() as origin, running_proxy(reverse(origin.address, rule=rule)) as proxy:
        spoofed = ("X-User: root", "x_user: root", "X-ROLES: admin", "X-Other: kept")
        for payload in (claims(realm={"roles": ["a", "b"]}), claims()):
            await ask(proxy.address, get(bearer(payload), *spoofed))
        first, second = origin.requests
        assert (first.values(b"x-user"), first.values(b"x-roles")) == ([b"ann"], [b"a,b"])
        assert (second.values(b"x-user"), second.values(b"x-roles")) == ([b"ann"], [])
        for each in (first, second):
            assert each.values(b"x_user") == each.values(b"authorization") == []
            assert each.values(b"x-other") == [b"kept"]


async def test_a_client_cannot_have_the_next_hop_drop_what_the_sidecar_says(key_file: Path) -> None:
    wanted = [{"claim": "sub", "header": "X-User"}]
    rule = jwt_rule({"file": str(key_file)}, claimsToHeaders=wanted)
    async with Origin() as origin, running_proxy(reverse(origin.address, rule=rule)) as proxy:
        answered = await ask(proxy.address, get(bearer(), "Connection: close, X-User"))
        assert (answered.status, origin.requests) == (400, [])


async def test_a_shared_secret_signs_and_its_file_is_followed(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("s" * 32 + "\n")
    rule = auth(jwt={"issuer": ISSUER, "audiences": [], "secretFile": "secret"})
    async with Origin() as origin, running_proxy(reverse(origin.address, rule=rule), folder=tmp_path) as proxy:
        old, new = (get(f"Bearer {jwt.encode(claims(), letter * 32, 'HS256')}") for letter in "sn")
        assert (await ask(proxy.address, old)).status == 200
        assert (await ask(proxy.address, new)).status == 401
        file.write_text("n" * 32)
        await eventually(lambda: outcome(proxy, "source_changed") == 2, "the secret was not read again")
        assert (await ask(proxy.address, new)).status == 200
        assert (await ask(proxy.address, old)).status == 401, "verified with a secret that is gone"


async def test_the_span_says_what_was_decided_and_neither_who_nor_with_what(key_file: Path) -> None:
    rule = jwt_rule({"file": str(key_file)})
    async with Origin() as origin, OtlpReceiver() as collector:
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint}
        credentials = bearer(claims(sub="mallory"))
        async with running_proxy(reverse(origin.address, rule=rule), environ) as proxy:
            await ask(proxy.address, get(credentials))
            await ask(proxy.address, get(credentials[:-4] + "AAAA"))
    servers = [span.attributes for span in collector.spans if "sidecar.auth.method" in span.attributes]
    assert [each["sidecar.auth.outcome"] for each in servers] == ["allowed", "signature"]
    assert "mallory" not in str(collector.spans)
    assert credentials.split(".")[2][:-4] not in str(collector.spans)


# --- keys from a server ----------------------------------------------------------------------------------------------


async def test_a_token_of_a_key_that_was_just_published_passes_at_once(caplog: pytest.LogCaptureFixture) -> None:
    async with scripted(answer(jwks(jwk("ES256")))) as issuer, Origin() as origin:
        rule = jwt_rule({"url": issuer.url, **EAGER})
        async with running_proxy(reverse(origin.address, rule=rule)) as proxy:
            assert (await ask(proxy.address, get(bearer()))).status == 200
            issuer.reply = answer(jwks(jwk("ES256", "2"), jwk("ES256", "2"), {"kty": "EC"}, "nonsense"))
            assert (await ask(proxy.address, get(bearer(name="2")))).status == 200
            assert (await ask(proxy.address, get(bearer()))).status == 401, "its key is gone from the set"
    assert "its `kid` 'ES256-2' is taken" in caplog.text
    assert "key 3: it is no object" in caplog.text


async def test_unknown_keys_make_no_more_fetches_than_the_minimum_interval_allows() -> None:
    async with scripted(answer(jwks(jwk("ES256")))) as issuer, Origin() as origin:
        rule = jwt_rule({"url": issuer.url, **SLOW})
        async with running_proxy(reverse(origin.address, rule=rule)) as proxy:
            assert (await ask(proxy.address, get(bearer()))).status == 200
            for number in range(10):
                assert (await ask(proxy.address, get(bearer(headers={"kid": f"x{number}"})))).status == 401
        assert len(issuer.requests) == 1


async def test_many_requests_with_unknown_keys_wait_for_one_fetch() -> None:
    async with scripted(answer(jwks(jwk("ES256")))) as issuer, Origin() as origin:
        rule = jwt_rule({"url": issuer.url, **EAGER})
        async with running_proxy(reverse(origin.address, rule=rule)) as proxy:
            assert (await ask(proxy.address, get(bearer()))).status == 200
            issuer.reply = answer(jwks(jwk("ES256"), jwk("ES256", "2")))
            issuer.go.clear()
            async with asyncio.TaskGroup() as asking:
                asked = [asking.create_task(ask(proxy.address, get(bearer(name="2"))), name="test") for _ in range(10)]
                await eventually(lambda: proxy.proxy.listeners[0].connections == 10, "not all have connected")
                await eventually(lambda: len(issuer.requests) == 2, "the keys were not fetched again")
                issuer.go.set()
            assert {each.result().status for each in asked} == {200}
        assert len(issuer.requests) == 2


@pytest.mark.parametrize(
    "failure",
    [
        answer(b"oops", "500 Internal Server Error"),
        answer(b"", "302 Found", "Location: http://127.0.0.1:1/"),
        answer(b"<html>"),
        answer(jwks()),
        answer(b"[]"),
        answer(b"x" * 2_000_000),
        b"nonsense\r\n\r\n",
    ],
)
async def test_while_the_source_fails_the_old_keys_stay(failure: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with scripted(answer(jwks(jwk("ES256")))) as issuer, Origin() as origin:
        rule = jwt_rule({"url": issuer.url, "refreshInterval": "20ms", "minInterval": "1ms"})
        async with running_proxy(reverse(origin.address, rule=rule)) as proxy:
            assert (await ask(proxy.address, get(bearer()))).status == 200
            issuer.reply = failure
            await eventually(lambda: outcome(proxy, "source_failed") >= 3, "the failure was not seen")
            assert (await ask(proxy.address, get(bearer(claims(sub="bob"))))).status == 200
            assert "since then" in str(View(proxy.proxy).explain("GET", "/", [], None)["filters"])
            issuer.reply = answer(jwks(jwk("ES256", "2")))
            await eventually(lambda: outcome(proxy, "source_changed") >= 2, "the recovery was not seen")
            assert (await ask(proxy.address, get(bearer(name="2")))).status == 200
    assert sum("stays in force" in record.message for record in caplog.records) == 1, "said once for a cause"


async def test_without_any_keys_nobody_passes_and_it_is_no_fault_of_the_token() -> None:
    async with scripted(answer(b"", "503 Service Unavailable")) as issuer, Origin() as origin:
        rule = jwt_rule({"url": issuer.url, **SLOW})
        async with running_proxy(reverse(origin.address, rule=rule)) as proxy:
            answered = await ask(proxy.address, get(bearer()))
            assert (answered.status, origin.requests) == (503, [])
            assert outcome(proxy, "unavailable") == 1
            assert (await ask(proxy.address, get())).status == 401


async def test_keys_are_shared_by_rules_and_outlive_a_reload(tmp_path: Path) -> None:
    async with scripted(answer(jwks(jwk("ES256")))) as issuer, Origin() as origin:
        rule = jwt_rule({"url": issuer.url, **SLOW})
        other = {**rule, "matches": [{"path": {"value": "/other"}}], "backendRefs": [{"name": "app"}]}
        data = reverse(origin.address, rule=rule)
        data["listeners"][0]["routes"][0]["rules"].append(other)
        async with running_proxy(data, folder=tmp_path) as proxy:
            assert (await ask(proxy.address, get(bearer()))).status == 200
            await proxy.reload({**data, "warm_timeout": "1s"})
            assert (await ask(proxy.address, get(bearer(), path="/other"))).status == 200
            await proxy.reload(reverse(origin.address))
            assert (await ask(proxy.address, get())).status == 200
        assert len(issuer.requests) == 1


async def test_explain_names_issuer_keys_and_their_age(key_file: Path) -> None:
    rule = jwt_rule({"file": str(key_file)})
    async with Origin() as origin, running_proxy(reverse(origin.address, rule=rule)) as proxy:
        await ask(proxy.address, get(bearer()))
        (line,) = View(proxy.proxy).explain("GET", "/", [], None)["filters"]  # type: ignore[misc]  # a list of one
        assert line.startswith(f"Auth jwt: issuer {ISSUER}, audience orders; keys: {key_file} holds 1, read ")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file"), (b"{", "no JSON"), (b'{"keys": []}', "no key"), (b"x" * 1_100_000, "longer than")],
)
def test_a_key_file_that_cannot_be_used_is_an_error_of_the_configuration(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    if content is not None:
        (tmp_path / "keys").write_bytes(content)
    data = reverse("127.0.0.1:1", rule=jwt_rule({"file": "keys"}))
    with pytest.raises(ConfigError) as error:
        check(parse(data), str(tmp_path))
    assert error.value.path == "$.listeners[0].routes[0].rules[0].filters[0].auth.jwt.jwks.file"
    assert reason in error.value.reason


# --- with other filters ----------------------------------------------------------------------------------------------


async def test_a_request_that_passed_is_marked_for_caches(key_file: Path) -> None:
    """RFC 9111 §3.5 holds where the credentials are stripped, too: what came for one caller is no other's."""
    rule = jwt_rule({"file": str(key_file)}, stripCredentials=True)
    rule["filters"].append({"type": "Cache", "cache": {}})
    replies = [answer(name, "200 OK", "Cache-Control: max-age=60") for name in (b"for ann", b"for bob")]
    public = answer(b"for all", "200 OK", "Cache-Control: max-age=60, public")
    async with Origin(answers(*replies, public)) as origin:
        async with running_proxy(reverse(origin.address, rule=rule, cluster=ONE_CONNECTION)) as proxy:
            ann, bob = (bearer(claims(sub=name)) for name in ("ann", "bob"))
            bodies = [(await ask(proxy.address, get(who))).body for who in (ann, bob, ann, bob)]
    assert bodies == [b"for ann", b"for bob", b"for all", b"for all"]
    assert len(origin.requests) == 3


async def test_a_preflight_needs_no_credentials_where_cors_stands_first(key_file: Path) -> None:
    rule = jwt_rule({"file": str(key_file)})
    rule["filters"].insert(0, {"type": "CORS", "cors": {"allowOrigins": ["https://shop.example"]}})
    lines = ("Origin: https://shop.example", "Access-Control-Request-Method: GET")
    async with Origin() as origin, running_proxy(reverse(origin.address, rule=rule)) as proxy:
        preflight = await ask(proxy.address, get(None, *lines).replace(b"GET /", b"OPTIONS /", 1))
        assert (preflight.status // 100, origin.requests) == (2, [])
        refused = await ask(proxy.address, get(None, lines[0]))
        assert refused.status == 401


async def test_who_brings_no_token_does_not_wait_for_keys() -> None:
    async with scripted(answer(jwks(jwk("ES256")))) as issuer, Origin() as origin:
        issuer.go.clear()
        async with running_proxy(reverse(origin.address, rule=jwt_rule({"url": issuer.url, **SLOW}))) as proxy:
            assert (await ask(proxy.address, get())).status == 401
            async with asyncio.TaskGroup() as tasks:
                waiting = tasks.create_task(ask(proxy.address, get(bearer())), name="test")
                await eventually(lambda: issuer.requests, "the keys were not fetched")
                issuer.go.set()
            assert waiting.result().status == 200, "the first keys are waited for"
