"""Fixtures of the tests against a real API server: one network namespace and one control plane for all of them."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import control_plane, helm, netns
from tests.support.control_plane import ControlPlane
from tests.support.netns import NetworkNamespace
from tests.support.team import Team

HERE = Path(__file__).parent
TIMEOUT = 180  # seconds; an API server starts in 4, and watches pause up to 30 between attempts


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the folder's tests, and say why they are left out where they cannot run."""
    why = control_plane.obstacle() or netns.obstacle() or helm.obstacle()
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.apiserver)
            item.add_marker(pytest.mark.timeout(TIMEOUT))
            if why is not None:
                item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(scope="session")
def namespace() -> Iterator[NetworkNamespace]:
    network = NetworkNamespace()
    yield network
    network.close()


@pytest.fixture(scope="session")
def shared_plane(namespace: NetworkNamespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    plane = ControlPlane(tmp_path_factory.mktemp("control-plane"))
    try:
        with namespace:
            plane.start()
        yield plane
    finally:
        plane.stop()


@pytest.fixture
def plane(namespace: NetworkNamespace, shared_plane: ControlPlane) -> Iterator[ControlPlane]:
    """The API server, with the test's own thread in its network."""
    with namespace:
        yield shared_plane


_numbers = itertools.count(1)


@pytest.fixture
def team(plane: ControlPlane, tmp_path: Path) -> Team:
    """A namespace of the test's own."""
    return Team(plane, f"team-{next(_numbers)}", tmp_path)
