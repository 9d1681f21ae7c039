"""TLS to the upstream: names are verified, and a failure names its cause."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from sidecar.errors import ConfigError
from tests.support.certificates import self_signed
from tests.support.client import ask
from tests.support.otlp_receiver import OtlpReceiver
from tests.support.proxy import reverse, running_proxy

GET = b"GET /x HTTP/1.1\r\nHost: shop.example\r\n\r\n"


@asynccontextmanager
async def tls_upstream(folder: Path, names: str = "IP:127.0.0.1") -> AsyncIterator[tuple[str, str]]:
    """A TLS server; its address and its authority's file."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text=request.scheme)

    made = self_signed(folder, names)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made.certificate, made.key)
    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    yield f"127.0.0.1:{runner.addresses[0][1]}", made.certificate
    await runner.cleanup()


async def test_a_verified_upstream_answers_over_tls_and_its_span_says_https(tmp_path: Path) -> None:
    async with tls_upstream(tmp_path) as (address, authority), OtlpReceiver() as receiver:
        data = reverse(address, cluster={"tls": {"ca_file": authority}})
        async with running_proxy(data, {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}) as proxy:
            answer = await ask(proxy.address, GET)
            assert (answer.status, answer.body) == (200, b"https")
        spans = await receiver.wait_for(2)
        urls = [each.attributes["url.full"] for each in spans if "url.full" in each.attributes]
        assert urls == ["https://shop.example/x"]


async def test_an_authority_that_is_not_trusted_is_502_with_its_cause(tmp_path: Path) -> None:
    async with tls_upstream(tmp_path) as (address, _), running_proxy(reverse(address, cluster={"tls": {}})) as proxy:
        answer = await ask(proxy.address, GET)
        assert answer.status == 502
        assert b"self-signed certificate" in answer.body
        assert answer.value(b"Proxy-Status") is not None


async def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    async with tls_upstream(tmp_path, "DNS:other.example") as (address, authority):
        async with running_proxy(reverse(address, cluster={"tls": {"ca_file": authority}})) as proxy:
            assert (await ask(proxy.address, GET)).status == 502
        named = {"tls": {"ca_file": authority, "sni": "other.example"}}
        async with running_proxy(reverse(address, cluster=named)) as proxy:
            assert (await ask(proxy.address, GET)).status == 200


async def test_verification_can_be_switched_off_by_name(tmp_path: Path) -> None:
    async with tls_upstream(tmp_path, "DNS:other.example") as (address, _):
        data = reverse(address, cluster={"tls": {"insecure_skip_verify": True}})
        async with running_proxy(data) as proxy:
            assert (await ask(proxy.address, GET)).status == 200


async def test_plain_http_from_a_tls_upstream_is_a_named_failure() -> None:
    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response()

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = f"127.0.0.1:{runner.addresses[0][1]}"
    async with running_proxy(reverse(address, cluster={"tls": {}})) as proxy:
        answered = await ask(proxy.address, GET)
        assert answered.status == 502
        assert b"TLS with" in answered.body
    await runner.cleanup()


async def test_files_that_are_no_certificates_stop_the_start(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    data = reverse("127.0.0.1:9", cluster={"tls": {"ca_file": str(tmp_path / "ca.pem")}})
    with pytest.raises((ConfigError, BaseExceptionGroup)):
        async with running_proxy(data):
            pass
