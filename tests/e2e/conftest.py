"""Fixtures of the end-to-end tests: the chart installed, and the sample shop in a labelled, restricted namespace."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import e2e

HERE = Path(__file__).parent
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
COLLECTOR = f"http://collector.{e2e.SHOP}:4318"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the folder's tests, and say why they are left out where they cannot run."""
    why = e2e.obstacle()
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(4 * e2e.SECONDS))
            if why is not None:
                item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(scope="session")
def installed() -> Iterator[None]:
    """The chart as its README says it is installed."""
    e2e.install("--set-string", f"otel.OTEL_EXPORTER_OTLP_ENDPOINT={COLLECTOR},otel.OTEL_BSP_SCHEDULE_DELAY=1000")
    yield
    e2e.run("helm", "uninstall", e2e.RELEASE, "--namespace", e2e.SYSTEM, "--ignore-not-found", "--wait")
    e2e.kubectl("delete", "namespace", e2e.SYSTEM, "--ignore-not-found")


@pytest.fixture(scope="session")
def shop(installed: None) -> Iterator[None]:  # noqa: ARG001 - an order, not a value
    """Services web → orders, prices that is slow, stock that is flaky, a collector, and a client that never rests."""
    e2e.apply(e2e.namespace(e2e.SHOP, **RESTRICTED, **{"sidecar-proxy.io/inject": "enabled"}))
    e2e.until(e2e.policy_acts, "the policy acts")
    collector = e2e.service("collector")
    collector["spec"]["ports"] = [{"name": "otlp", "port": 4318, "targetPort": 8080}]
    services = ("web", "orders", "prices", "stock")
    e2e.apply(
        e2e.program(),
        *map(e2e.service, services),
        collector,
        e2e.deployment("orders", 2, "serve"),
        e2e.deployment("prices", 1, "serve", DELAY="1"),
        e2e.deployment("stock", 2, "serve", FLAKY="3"),
        e2e.deployment("collector", 1, "serve"),
    )
    for app in ("orders", "prices", "stock", "collector"):
        e2e.rolled_out(app)
    e2e.apply(e2e.deployment("web", 3, "serve", UPSTREAM="http://orders/"))  # its failures before would have it ejected
    e2e.rolled_out("web")
    e2e.apply(e2e.deployment("load", 1, "load", "http://web/"))
    e2e.rolled_out("load")
    yield
    print("\n" + "\n".join(e2e.TABLE))
    e2e.kubectl("delete", "namespace", e2e.SHOP, "--wait")
