"""API keys through a running proxy."""

from hashlib import sha256
from pathlib import Path

import pytest

from sidecar.lifecycle.view import View
from tests.support.client import ask
from tests.support.issuer import auth, get
from tests.support.origin import Origin
from tests.support.proxy import reverse, running_proxy

KEYS = {"keysFile": "keys"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lines = [f"{name}:{sha256(key).hexdigest()}" for name, key in (("ci", b"k-1"), ("cron", b"k 2&"))]
    (tmp_path / "keys").write_text("# who: sha256\n" + "\n".join(lines) + "\n")
    return tmp_path


async def test_a_known_key_passes_and_names_its_owner_to_the_upstream(folder: Path) -> None:
    rule = auth(apiKey={**KEYS, "query": "key", "nameHeader": "X-Caller", "stripCredentials": True})
    async with Origin() as origin, running_proxy(reverse(origin.address, rule=rule), folder=folder) as proxy:
        assert (await ask(proxy.address, get(None, "x-api-key: k-1", "X-Caller: root", path="/a?b=1"))).status == 200
        assert (await ask(proxy.address, get(path="/a?b=%20&k%65y=k%202%26&c"))).status == 200
        assert (await ask(proxy.address, get(path="/a?key=k-1"))).status == 200
        by_header, by_query, alone = origin.requests
        assert (by_header.line, by_header.values(b"x-caller")) == (b"GET /a?b=1 HTTP/1.1", [b"ci"])
        assert by_header.values(b"x-api-key") == []
        assert (by_query.line, by_query.values(b"x-caller")) == (b"GET /a?b=%20&c HTTP/1.1", [b"cron"])
        assert alone.line == b"GET /a HTTP/1.1"
        (line,) = View(proxy.proxy).explain("GET", "/", [], None)["filters"]  # type: ignore[misc]  # a list of one
        assert line.startswith("Auth apiKey: in header X-API-Key or query key; keys: keys holds 2, read ")


async def test_credentials_stay_where_nothing_else_is_said(folder: Path) -> None:
    async with Origin() as origin:
        async with running_proxy(reverse(origin.address, rule=auth(apiKey=KEYS)), folder=folder) as proxy:
            assert (await ask(proxy.address, get(None, "X-API-Key: k-1"))).status == 200
            assert origin.requests[0].values(b"x-api-key") == [b"k-1"]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (get(), 401),
        (get(None, "X-API-Key: k-3"), 401),
        (get(None, "X-API-Key: "), 401),
        (get(None, f"X-API-Key: {sha256(b'k-1').hexdigest()}"), 401),
        (get(path="/?key=k-1"), 401),
        (get(None, "X-API-Key: k-1", "X-API-Key: k-1"), 400),
        (get(None, f"X-API-Key: {'k' * 1025}"), 400),
    ],
)
async def test_the_rest_is_refused_with_a_challenge(folder: Path, sent: bytes, status: int) -> None:
    async with Origin() as origin:
        async with running_proxy(reverse(origin.address, rule=auth(apiKey=KEYS)), folder=folder) as proxy:
            answered = await ask(proxy.address, sent)
            assert (answered.status, origin.requests) == (status, [])
            if status == 401:
                assert answered.value(b"www-authenticate") == b'ApiKey realm="sidecar"'
