"""What filters run beside the requests must not end the process."""

import asyncio

import pytest

from sidecar.filters import Keeper


async def test_a_task_of_a_filter_that_fails_is_logged_and_ends_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> None:
        raise ValueError("a bug of the filter")

    async with asyncio.TaskGroup() as tasks:
        keeper = Keeper(tasks)
        await keeper.spawn(broken(), "a filter's work")
        await keeper.aclose()
    assert "unexpected failure: a filter's work" in caplog.text
    assert "a bug of the filter" in caplog.text
