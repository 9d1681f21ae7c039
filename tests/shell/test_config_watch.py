"""The configuration file followed on a real file system: edits, broken edits, ConfigMap swaps, SIGHUP."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sidecar.config.load import load
from sidecar.config.model import Config
from sidecar.config.watch import _File, follow
from sidecar.errors import ConfigError


def text(port: int) -> str:
    return f"listeners: [{{name: a, address: '127.0.0.1:{port}', mode: forward}}]\n"


class Followed:
    """Follows one file and keeps what was applied."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.applied: asyncio.Queue[Config] = asyncio.Queue()
        self.reload_now = asyncio.Event()
        self.veto: ConfigError | None = None

    def apply(self, config: Config) -> None:
        if self.veto:
            raise self.veto
        self.applied.put_nowait(config)

    async def next_address(self) -> str:
        async with asyncio.timeout(5):
            return (await self.applied.get()).listeners[0].address

    def replace(self, content: str) -> None:
        """Whole or not at all, as editors and `kubectl` do it."""
        new = self.path.with_suffix(".new")
        new.write_text(content)
        new.replace(self.path)


@pytest.fixture
async def followed(tmp_path: Path) -> AsyncIterator[Followed]:
    path = tmp_path / "sidecar.yaml"
    path.write_text(text(1))
    followed = Followed(path)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(
            follow(str(path), load(path), followed.apply, reload_now=followed.reload_now, interval=0.005)
        )
        yield followed
        task.cancel()


class Refusals(logging.Handler):
    """The error lines, in order."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: asyncio.Queue[str] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.put_nowait(record.getMessage())

    async def next_line(self) -> str:
        async with asyncio.timeout(5):
            return await self.lines.get()


@pytest.fixture
async def refusals() -> AsyncIterator[Refusals]:
    handler = Refusals()
    logging.getLogger("sidecar.config").addHandler(handler)
    yield handler
    logging.getLogger("sidecar.config").removeHandler(handler)


async def test_each_changed_file_is_applied_once(followed: Followed) -> None:
    followed.replace(text(2))
    assert await followed.next_address() == "127.0.0.1:2"
    followed.replace(text(3))
    assert await followed.next_address() == "127.0.0.1:3"
    assert followed.applied.empty()


async def test_a_file_that_says_the_same_in_other_words_is_not_applied(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.yaml"
    path.write_text(text(1))
    old = load(path)
    followed = Followed(path)
    followed.replace(f"# a comment\n{text(1)}")
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(follow(str(path), old, followed.apply, interval=0.005))
        await asyncio.sleep(0)  # the first look is the first step of the task
        followed.replace(text(2))
        assert await followed.next_address() == "127.0.0.1:2"
        assert followed.applied.empty()
        task.cancel()


async def test_a_file_that_changed_before_following_began_is_applied(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.yaml"
    path.write_text(text(1))
    old = load(path)
    path.write_text(text(2))
    followed = Followed(path)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(follow(str(path), old, followed.apply))
        assert await followed.next_address() == "127.0.0.1:2"
        task.cancel()


async def test_a_broken_file_is_refused_once_with_its_field_and_the_old_one_stays(
    followed: Followed, refusals: Refusals
) -> None:
    followed.replace("listeners: [{name: a, adress: ':1'}]\n")
    line = await refusals.next_line()
    assert line == (
        f"configuration refused, the old one stays: {followed.path}: $.listeners[0]: unknown field `adress`; "
        "did you mean `address`?"
    )
    followed.replace("listeners: [\n")
    assert f"{followed.path}:2:1: " in await refusals.next_line()
    followed.replace(text(2))
    assert await followed.next_address() == "127.0.0.1:2"
    assert refusals.lines.empty()


async def test_a_missing_file_is_said_once_and_its_return_is_seen(followed: Followed, refusals: Refusals) -> None:
    followed.path.unlink()
    line = await refusals.next_line()
    assert "cannot read it: No such file or directory" in line
    followed.replace(text(2))
    assert await followed.next_address() == "127.0.0.1:2"
    assert refusals.lines.empty()


async def test_a_configuration_that_apply_refuses_is_said_with_the_file(followed: Followed, refusals: Refusals) -> None:
    followed.veto = ConfigError("$.listeners[0].address", "port in use")
    followed.replace(text(2))
    line = await refusals.next_line()
    assert line.endswith(f"{followed.path}: $.listeners[0].address: port in use")
    followed.veto = None
    followed.replace(text(1))
    followed.replace(text(3))
    assert await followed.next_address() == "127.0.0.1:3"


async def test_reload_now_applies_a_file_that_has_not_changed(followed: Followed) -> None:
    for _ in range(2):
        followed.reload_now.set()
        assert await followed.next_address() == "127.0.0.1:1"


async def test_the_symlink_swap_of_a_config_map_is_followed(tmp_path: Path) -> None:
    for version, port in (("..v1", 1), ("..v2", 2)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "sidecar.yaml").write_text(text(port))
    (tmp_path / "..data").symlink_to("..v1")
    path = tmp_path / "sidecar.yaml"
    path.symlink_to("..data/sidecar.yaml")
    followed = Followed(path)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(follow(str(path), load(path), followed.apply, interval=0.005))
        (tmp_path / "..data_tmp").symlink_to("..v2")
        os.replace(tmp_path / "..data_tmp", tmp_path / "..data")  # noqa: PTH105 - as the kubelet does it
        assert await followed.next_address() == "127.0.0.1:2"
        task.cancel()


async def test_what_was_refused_is_not_said_again_until_the_content_changes(tmp_path: Path, refusals: Refusals) -> None:
    path = tmp_path / "sidecar.yaml"
    path.write_text(text(1))
    followed = Followed(path)
    file = _File(str(path), load(path), followed.apply, lambda: None)
    for broken in ("listeners: []\n", "listeners: [\n"):
        path.write_text(broken)
        for _ in range(3):
            file.look(forced=False)
        assert "refused" in await refusals.next_line()
        assert refusals.lines.empty()
    assert followed.applied.empty()
