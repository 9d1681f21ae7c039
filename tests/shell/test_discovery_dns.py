"""Endpoints by DNS and static endpoints, against a real DNS server."""

from collections.abc import AsyncIterator, Iterator

import pytest

from sidecar.config.model import Cluster, DnsSpec, StaticEndpoint, StaticSpec, TlsSpec
from sidecar.discovery import dns
from sidecar.discovery.discovery import Discovery
from sidecar.discovery.resolver import ResolveError, Resolver
from sidecar.discovery.source import Source
from sidecar.model import Address, Endpoint
from tests.support.fake_dns import FakeDns, fake_dns
from tests.support.following import discovery_for, following

ADDRESSES = "orders.test. 1 A 10.0.0.1\norders.test. 1 A 10.0.0.2\norders.test. 1 AAAA fd00::1\n"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDns]:
    monkeypatch.setattr(dns, "SHORTEST", 0.05)
    with fake_dns(ADDRESSES) as found:
        yield found


@pytest.fixture
async def discovery() -> AsyncIterator[Discovery]:
    async with discovery_for(None) as found:
        yield found


def source(
    discovery: Discovery, server: FakeDns, host: str = "orders.test", port: int | None = 80, kind: str = "ADDRESS"
) -> Source:
    spec = DnsSpec(host=host, port=port, type="SRV" if kind == "SRV" else "ADDRESS", nameservers=(server.nameserver,))
    return discovery.source(Cluster(name="x", dns=spec))


async def test_all_addresses_are_used_and_asked_for_again_when_their_time_ends(
    server: FakeDns, discovery: Discovery
) -> None:
    async with following(source(discovery, server)) as found:
        assert (await found.has("10.0.0.1:80", "10.0.0.2:80", "[fd00::1]:80")).origin == "dns"
        server.zone = "orders.test. 60 A 10.0.0.3"
        await found.has("10.0.0.3:80")


async def test_a_failure_keeps_the_last_addresses(server: FakeDns, discovery: Discovery) -> None:
    server.zone = "orders.test. 0 A 10.0.0.1"
    async with following(source(discovery, server)) as found:
        await found.has("10.0.0.1:80")
        server.zone = ""
        snapshot = await found.until(lambda one: one.last.origin == "stale")
        assert found.addresses == ["10.0.0.1:80"]
        assert "orders.test does not resolve" in snapshot.problem
        assert server.nameserver in snapshot.problem
        server.zone = "orders.test. 60 A 10.0.0.2"
        assert not (await found.has("10.0.0.2:80")).problem


async def test_a_trailing_dot_makes_a_name_absolute(server: FakeDns, discovery: Discovery) -> None:
    async with following(source(discovery, server, "orders.test.")) as found:
        await found.until(lambda one: "10.0.0.1:80" in one.addresses)
    assert {name for name, _ in server.asked} == {"orders.test."}


async def test_a_name_that_does_not_exist_is_told(server: FakeDns, discovery: Discovery) -> None:
    async with following(source(discovery, server, "nobody.test")) as found:
        snapshot = await found.until(lambda one: one.last.problem)
        assert (snapshot.endpoints, snapshot.origin) == ((), "dns")
        assert "nobody.test does not resolve to A or AAAA" in snapshot.problem


async def test_names_that_are_no_names_are_told(server: FakeDns, discovery: Discovery) -> None:
    async with following(source(discovery, server, "a..b")) as found:
        assert (await found.until(lambda one: one.last.problem)).endpoints == ()


async def test_a_broken_server_is_no_proof_that_a_name_is_missing(server: FakeDns) -> None:
    resolver = Resolver()
    server.broken = True
    with pytest.raises(ResolveError) as failure:
        await resolver.addresses("orders.test", [server.nameserver])
    assert not failure.value.missing
    server.broken = False
    with pytest.raises(ResolveError) as failure:
        await resolver.addresses("nobody.test", [server.nameserver])
    assert failure.value.missing
    with pytest.raises(ResolveError) as failure:
        await resolver.services("orders.test", [server.nameserver])
    assert failure.value.missing
    await resolver.aclose()


SRV = """
_http.orders.test. 1 SRV 10 60 8080 a.test.
_http.orders.test. 1 SRV 10 0 8081 b.test.
_http.orders.test. 1 SRV 20 0 8082 c.test.
a.test. 60 A 10.0.0.1
c.test. 60 A 10.0.0.3
"""


async def test_srv_records_bring_ports_and_weights_and_the_lowest_priority_is_used(
    server: FakeDns, discovery: Discovery
) -> None:
    server.zone = SRV + "b.test. 60 A 10.0.0.2"
    async with following(source(discovery, server, "_http.orders.test", None, "SRV")) as found:
        snapshot = await found.has("10.0.0.1:8080", "10.0.0.2:8081")
        assert [endpoint.weight for endpoint in snapshot.endpoints] == [60, 1]


async def test_srv_falls_back_when_no_target_of_the_lowest_priority_resolves(
    server: FakeDns, discovery: Discovery
) -> None:
    server.zone = SRV.replace("a.test. 60 A 10.0.0.1", "")
    async with following(source(discovery, server, "_http.orders.test", None, "SRV")) as found:
        await found.has("10.0.0.3:8082")


async def test_srv_without_a_target_is_told(server: FakeDns, discovery: Discovery) -> None:
    server.zone = "_http.orders.test. 1 SRV 10 60 8080 a.test."
    async with following(source(discovery, server, "_http.orders.test", None, "SRV")) as found:
        assert "a.test does not resolve" in (await found.until(lambda one: one.last.problem)).problem
    server.zone = "_none.orders.test. 1 SRV 10 60 8080 ."
    async with following(source(discovery, server, "_none.orders.test", None, "SRV")) as found:
        assert "has no SRV record" in (await found.until(lambda one: one.last.problem)).problem


async def test_an_srv_target_may_be_an_address(server: FakeDns, discovery: Discovery) -> None:
    server.zone = "_http.orders.test. 60 SRV 10 60 8080 10.0.0.9."
    async with following(source(discovery, server, "_http.orders.test", None, "SRV")) as found:
        await found.has("10.0.0.9:8080")


async def test_an_ip_address_is_published_as_it_is(discovery: Discovery) -> None:
    cluster = Cluster(name="x", dns=DnsSpec(host="fd00::1", port=8080))
    async with following(discovery.source(cluster)) as found:
        assert (await found.has("[fd00::1]:8080")).problem == ""


async def test_localhost_needs_no_dns(discovery: Discovery) -> None:
    async with following(discovery.source(Cluster(name="x", dns=DnsSpec(host="localhost")))) as found:
        await found.until(lambda one: "127.0.0.1:80" in one.addresses)


@pytest.mark.parametrize(("tls", "port"), [(None, 80), (TlsSpec(), 443)])
async def test_the_default_port_follows_tls(discovery: Discovery, tls: TlsSpec | None, port: int) -> None:
    async with following(discovery.source(Cluster(name="x", dns=DnsSpec(host="127.0.0.1"), tls=tls))) as found:
        await found.has(f"127.0.0.1:{port}")


# --- static


def static(discovery: Discovery, *endpoints: str | StaticEndpoint) -> Source:
    return discovery.source(Cluster(name="x", static=StaticSpec(endpoints=endpoints)))


async def test_static_endpoints_are_published_once(discovery: Discovery) -> None:
    weighted = StaticEndpoint(address="[::1]:81", weight=3, zone="a")
    async with following(static(discovery, "127.0.0.1:80", weighted, "unix:/run/app.sock", "127.0.0.1:80")) as found:
        snapshot = await found.until(lambda one: one.all)
        assert snapshot.origin == "static"
        assert snapshot.endpoints == (
            Endpoint(address=Address("127.0.0.1", 80)),
            Endpoint(address=Address("::1", 81), weight=3, zone="a"),
            Endpoint(address=Address("unix:/run/app.sock", 0)),
        )


async def test_a_static_name_is_resolved_and_keeps_its_weight(discovery: Discovery) -> None:
    named = StaticEndpoint(address="localhost:8080", weight=5, zone="b")
    async with following(static(discovery, "10.0.0.1:80", named)) as found:
        snapshot = await found.until(lambda one: "127.0.0.1:8080" in one.addresses)
        assert found.all[0].endpoints == (Endpoint(address=Address("10.0.0.1", 80)),)  # not kept waiting
        (resolved,) = [one for one in snapshot.endpoints if one.address == Address("127.0.0.1", 8080)]
        assert (resolved.weight, resolved.zone) == (5, "b")


async def test_a_static_name_that_fails_is_told_and_the_rest_is_used(discovery: Discovery) -> None:
    async with following(static(discovery, "10.0.0.1:80", "a..b:80")) as found:
        snapshot = await found.until(lambda one: one.last.problem)
        assert found.addresses == ["10.0.0.1:80"]
        assert "a..b does not resolve" in snapshot.problem


async def test_a_static_address_of_no_known_form_is_refused(discovery: Discovery) -> None:
    with pytest.raises(ValueError, match="expected"):
        static(discovery, "nonsense")
    with pytest.raises(ValueError, match="no source"):
        discovery.source(Cluster(name="x"))
