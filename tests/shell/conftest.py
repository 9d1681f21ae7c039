"""Tests of the data path run on each front: what holds must hold whatever parses the bytes."""

from collections.abc import Iterator

import pytest

from tests.support.proxy import ENGINE


@pytest.fixture(params=["aiohttp", "native"])
def each_engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """Name it in `usefixtures` to run a test on both."""
    ENGINE.name = request.param
    yield request.param
    ENGINE.name = "aiohttp"
