"""Allow-lists by client address through a running proxy: the client behind trusted proxies, and nobody in doubt."""

from pathlib import Path

import pytest

from sidecar.lifecycle.view import View
from tests.support.client import ask
from tests.support.issuer import auth, get
from tests.support.origin import Origin
from tests.support.proxy import reverse, running_proxy

ALLOW = auth(allow={"addresses": ["10.0.0.0/8", "2001:db8::/32"]})
TRUSTED = {"trusted_proxies": ["127.0.0.0/8", "192.0.2.0/24"]}


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (("X-Forwarded-For: 10.1.2.3",), 200),
        (("X-Forwarded-For: 2001:db8::9",), 200),
        (("Forwarded: for=10.1.2.3, for=192.0.2.7",), 200),
        (("X-Forwarded-For: 10.1.2.3, 192.0.2.7",), 200),
        (("X-Forwarded-For: ::ffff:10.1.2.3",), 200),
        (("Forwarded: for=10.1.2.3", "X-Forwarded-For: 10.1.2.3"), 200),
        ((), 403),
        (("X-Forwarded-For: 203.0.113.9",), 403),
        (("X-Forwarded-For: 10.1.2.3, 203.0.113.9",), 403),  # the client wrote the first itself
        (("X-Forwarded-For: 10.1.2.3", "X-Forwarded-For: 203.0.113.9"), 403),
        (("Forwarded: for=10.1.2.3", "X-Forwarded-For: 203.0.113.9"), 403),  # a proxy that writes only one of them
        (('Forwarded: for="', "Forwarded: for=10.1.2.3"), 403),
        (("X-Forwarded-For: unknown",), 403),
        (("X-Forwarded-For: " + "192.0.2.1," * 40 + "192.0.2.1",), 403),
    ],
)
async def test_the_client_is_whom_trusted_proxies_agree_on(fields: tuple[str, ...], status: int) -> None:
    async with Origin() as origin:
        async with running_proxy(reverse(origin.address, rule=ALLOW, listener=TRUSTED)) as proxy:
            answered = await ask(proxy.address, get(None, *fields))
            assert (answered.status, len(origin.requests)) == (status, status == 200)
            assert answered.value(b"www-authenticate") is None


async def test_who_is_not_trusted_is_the_client_itself() -> None:
    async with Origin() as origin:
        rule = auth(allow={"addresses": ["10.0.0.0/8"]})
        async with running_proxy(reverse(origin.address, rule=rule, listener={"trusted_proxies": []})) as proxy:
            assert (await ask(proxy.address, get(None, "X-Forwarded-For: 10.1.2.3"))).status == 403
        rule = auth(allow={"addresses": ["127.0.0.1"]})
        async with running_proxy(reverse(origin.address, rule=rule, listener={"trusted_proxies": []})) as proxy:
            assert (await ask(proxy.address, get(None, "X-Forwarded-For: 10.1.2.3"))).status == 200
            assert View(proxy.proxy).explain("GET", "/", [], None)["filters"] == ["Auth allow: 127.0.0.1/32"]


async def test_the_peer_of_a_unix_socket_has_no_address_but_may_name_one(tmp_path: Path) -> None:
    address = f"unix:{tmp_path / 's'}"
    async with Origin() as origin:
        async with running_proxy(reverse(origin.address, rule=ALLOW, listener={"address": address})):
            assert (await ask(address, get())).status == 403
            assert (await ask(address, get(None, "X-Forwarded-For: 10.1.2.3"))).status == 200
