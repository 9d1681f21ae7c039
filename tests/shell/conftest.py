"""Tests of the data path run on each front: what holds must hold whatever parses the bytes."""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping

import pytest

from tests.support.proxy import ENGINE


@pytest.fixture(params=["aiohttp", "native"])
def each_engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """Name it in `usefixtures` to run a test on both."""
    ENGINE.name = request.param
    yield request.param
    ENGINE.name = "aiohttp"


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]] | None:
    """The image runs uvloop: `LOOP=uvloop` runs the tests of this folder on it."""
    del config, item
    if os.environ.get("LOOP") != "uvloop":
        return {"asyncio": asyncio.new_event_loop}
    import uvloop  # noqa: PLC0415 - optional

    return {"uvloop": uvloop.new_event_loop}
