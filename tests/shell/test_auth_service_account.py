"""Tokens of Kubernetes service accounts: the cluster's keys by a bearer token and a CA of the mounted volume."""

import ssl
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import self_signed
from tests.support.client import ask
from tests.support.issuer import answer, auth, claims, get, jwk, jwks, scripted, token
from tests.support.origin import Origin
from tests.support.proxy import reverse, running_proxy

CLUSTER = "https://kubernetes.default.svc"


def account(namespace: str = "shop", name: str = "web", **changes: object) -> dict[str, Any]:
    """The claims of a bound token (KEP-1205)."""
    return claims(
        iss=CLUSTER,
        aud=["orders"],
        sub=f"system:serviceaccount:{namespace}:{name}",
        **{"kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": name, "uid": "u"}}},
    ) | dict(changes)


def bearer(*parts: Any, **changes: object) -> str:
    return f"Bearer {token(account(*parts, **changes), kind='RS256')}"


def mounted(folder: Path) -> Path:
    """The sidecar's own token, as the kubelet mounts it."""
    file = folder / "token"
    file.write_text(token(account(name="sidecar"), kind="RS256") + "\n")
    return file


async def test_accounts_pass_by_namespace_or_by_name_and_their_issuer_is_the_own_tokens(tmp_path: Path) -> None:
    own = mounted(tmp_path)
    async with scripted(answer(jwks(jwk("RS256")))) as cluster, Origin() as origin:
        rule = auth(
            serviceAccount={
                "audiences": ["orders"],
                "namespaces": ["shop"],
                "accounts": ["billing/cron"],
                "jwks": {"url": cluster.url, "tokenFile": "token"},
                "claimsToHeaders": [{"claim": "sub", "header": "X-Caller"}],
            }
        )
        async with running_proxy(reverse(origin.address, rule=rule), folder=tmp_path) as proxy:

            async def status(credentials: str) -> int:
                return (await ask(proxy.address, get(credentials))).status

            assert await status(bearer()) == 200
            assert await status(bearer("billing", "cron")) == 200
            assert await status(bearer("billing", "web")) == 403
            assert await status(bearer(aud=["https://kubernetes.default.svc"])) == 401, "not bound to this audience"
            assert await status(bearer(sub="system:serviceaccount:shop:admin")) == 401, "two accounts in one token"
            assert await status(bearer(**{"kubernetes.io": {}})) == 401
            assert await status(bearer(iss="https://other-cluster.example")) == 401
        assert origin.requests[0].values(b"x-caller") == [b"system:serviceaccount:shop:web"]
        assert cluster.requests[0].values(b"authorization") == [f"Bearer {own.read_text().strip()}".encode()]


@pytest.mark.parametrize("content", ["", "no token", "a.e30.b", "a.!.b"])
async def test_without_an_issuer_nobody_passes(tmp_path: Path, content: str) -> None:
    (tmp_path / "token").write_text(content)
    async with scripted(answer(jwks(jwk("RS256")))) as cluster, Origin() as origin:
        rule = auth(serviceAccount={"audiences": ["orders"], "jwks": {"url": cluster.url, "tokenFile": "token"}})
        async with running_proxy(reverse(origin.address, rule=rule), folder=tmp_path) as proxy:
            assert (await ask(proxy.address, get(bearer()))).status == 503
            mounted(tmp_path)
            assert (await ask(proxy.address, get(bearer()))).status == 200, "the kubelet was late"


async def test_the_cluster_is_trusted_by_its_own_authority_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = self_signed(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(made.certificate, made.key)
    mounted(tmp_path)
    async with scripted(answer(jwks(jwk("RS256"))), tls=tls) as cluster, Origin() as origin:
        for authority, status in ({"caFile": "cert.pem"}, 200), ({}, 503):
            source = {"url": cluster.url, "tokenFile": "token", **authority}
            rule = auth(serviceAccount={"audiences": ["orders"], "jwks": source})
            async with running_proxy(reverse(origin.address, rule=rule), folder=tmp_path) as proxy:
                assert (await ask(proxy.address, get(bearer()))).status == status
    assert "CERTIFICATE_VERIFY_FAILED" in caplog.text
    assert len(cluster.requests) == 1, "the token is not sent to whom nobody trusts"


async def test_a_cluster_that_cannot_be_trusted_gives_no_keys(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("no certificate")
    mounted(tmp_path)
    with pytest.raises(ssl.SSLError):
        ssl.create_default_context(cafile=tmp_path / "ca.crt")
    rule = auth(
        serviceAccount={
            "audiences": ["orders"],
            "issuer": CLUSTER,
            "jwks": {"url": "https://127.0.0.1:1/", "caFile": "ca.crt", "tokenFile": "gone"},
        }
    )
    async with Origin() as origin:
        async with running_proxy(reverse(origin.address, rule=rule), folder=tmp_path) as proxy:
            assert (await ask(proxy.address, get(bearer()))).status == 503
