"""What the admin pages say of a proxy that runs."""

import asyncio
import json
import socket
from pathlib import Path

import pytest

from sidecar.errors import ConfigError
from sidecar.lifecycle.view import View
from tests.support.client import ask
from tests.support.origin import Origin, answers
from tests.support.process import sidecar
from tests.support.proxy import eventually, forward, reverse, running_proxy

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GET = b"GET /api/x HTTP/1.1\r\nHost: shop.example\r\n\r\n"


async def test_explain_names_the_rule_its_filters_and_who_would_be_chosen() -> None:
    modifier = {"requestHeaderModifier": {"set": [{"name": "x", "value": "y"}]}, "type": "RequestHeaderModifier"}
    rule = {"name": "api", "matches": [{"path": {"value": "/api"}}], "filters": [modifier]}
    async with Origin(answers(OK)) as origin, running_proxy(reverse(origin.address, rule=rule)) as proxy:
        page = View(proxy.proxy).explain("GET", "http://shop.example/api/x?y=1", [], None)
        assert page["route"] == "api"
        assert page["filters"] == ["RequestHeaderModifier"]
        assert page["target"] == "/api/x?y=1"
        assert origin.address in str(page["backends"])


async def test_explain_says_why_no_rule_takes_a_request() -> None:
    rule = {"matches": [{"path": {"value": "/api"}}]}
    async with Origin(answers(OK)) as origin, running_proxy(reverse(origin.address, rule=rule)) as proxy:
        page = View(proxy.proxy).explain("GET", "/other", [("Host", "shop.example")], "in")
        assert page["route"] is None
        assert str(page["answer"]).startswith("404")
        assert page["authority"] == "shop.example"


async def test_explain_says_that_a_rule_without_a_backend_answers_500() -> None:
    async with running_proxy(reverse("127.0.0.1:9", rule={"backendRefs": []})) as proxy:
        assert str(View(proxy.proxy).explain("GET", "/", [], None)["answer"]).startswith("500")


async def test_explain_says_that_a_service_was_not_asked_for_yet() -> None:
    rule = {"backendRefs": [{"name": "orders", "port": 80}]}
    async with running_proxy(reverse("127.0.0.1:9", rule=rule)) as proxy:
        assert "not asked for yet" in str(View(proxy.proxy).explain("GET", "/", [], None)["backends"])


async def test_explain_in_forward_mode_knows_what_was_asked_for() -> None:
    async with Origin(answers(OK)) as origin, running_proxy(forward()) as proxy:
        view = View(proxy.proxy)
        url = f"http://{origin.address}/"
        assert "has not been asked for yet" in str(view.explain("GET", url, [], None)["answer"])
        await ask(proxy.address, b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % origin.address.encode())
        assert origin.address in str(view.explain("GET", url, [], None)["clusters"])


@pytest.mark.parametrize(("url", "listener"), [("ftp://x/", None), ("/", "nowhere")])
async def test_explain_refuses_a_question_that_makes_no_sense(url: str, listener: str | None) -> None:
    async with running_proxy(reverse("127.0.0.1:9")) as proxy:
        with pytest.raises(ValueError, match=r"expected|no listener"):
            View(proxy.proxy).explain("GET", url, [], listener)


async def test_clusters_config_metrics_and_readiness_tell_of_the_same_proxy() -> None:
    async with Origin(answers(OK)) as origin, running_proxy(reverse(origin.address)) as proxy:
        view = View(proxy.proxy)
        assert (view.phase, view.not_ready()) == ("active", [])
        await ask(proxy.address, GET)
        [cluster] = view.clusters()
        assert cluster["name"] == "app"
        assert view.config()["clusters"]
        text = view.metrics().decode()
        assert 'sidecar_cluster_endpoints{cluster="app",state="ready"} 1.0' in text
        assert 'sidecar_upstream_connections{cluster="app",state="idle"} 1.0' in text
        assert 'sidecar_downstream_connections{listener="in"}' in text
        view.drain()
        await asyncio.wait_for(proxy.task, 5)
        assert "the proxy is stopped" in view.not_ready()


async def test_a_proxy_that_waits_for_its_first_list_says_for_which() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:  # a name server that never answers
        silent.bind(("127.0.0.1", 0))
        server = f"127.0.0.1:{silent.getsockname()[1]}"
        dns = {"host": "x.invalid", "port": 80, "nameservers": [server]}
        data = reverse("127.0.0.1:9", cluster={"static": None, "dns": dns}, warm_timeout="50ms")
        async with running_proxy(data) as proxy:
            proxy.proxy.phase = "warming"
            assert any("cluster app" in reason for reason in View(proxy.proxy).not_ready())
            proxy.proxy.phase = "active"


async def test_a_mirrored_request_reaches_the_other_cluster_and_its_failure_hurts_nobody() -> None:
    mirror = {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "copy"}}}
    async with Origin(answers(OK)) as origin, Origin(answers(OK)) as copy:
        data = reverse(origin.address, rule={"filters": [mirror]})
        data["clusters"].append({"name": "copy", "static": {"endpoints": [copy.address]}})
        async with running_proxy(data) as proxy:
            assert (await ask(proxy.address, GET)).status == 200
            await eventually(lambda: copy.requests, "no copy came")
            await copy.stop()
            assert (await ask(proxy.address, GET)).status == 200
            await eventually(lambda: not proxy.inflight, "the copy's lease was not released")


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"listeners": [{"name": "other", "address": "127.0.0.1:0", "mode": "forward"}]}, "$.listeners"),
        ({"admin": {"address": "127.0.0.1:1"}}, "$.admin"),
        ({"access_log": {}}, "$.access_log"),
        ({"kubernetes": {"namespace": "x"}}, "$.kubernetes"),
    ],
)
async def test_what_needs_a_restart_is_refused_by_a_reload_which_is_counted(
    change: dict[str, object], where: str, tmp_path: Path
) -> None:
    data = reverse("127.0.0.1:9")
    file = tmp_path / "sidecar.yaml"
    file.write_text(json.dumps(data))
    async with sidecar("run", "--config", str(file)) as proxy:
        file.write_text(json.dumps({**data, **change}))
        line = await proxy.line("refused")
        assert where in line
        assert "restart" in line


async def test_a_configuration_that_cannot_be_built_starts_nothing() -> None:
    rule = {"matches": [{"path": {"type": "RegularExpression", "value": "("}}]}
    with pytest.raises((ConfigError, BaseExceptionGroup)):
        async with running_proxy(reverse("127.0.0.1:9", rule=rule)):
            pass
