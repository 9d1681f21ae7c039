"""The folder of a cache: what survives, what is refused, and that it stays within its size."""

import asyncio
import fcntl
import os
import threading
from pathlib import Path

import pytest

from sidecar.filters.cache import disk as disk_module
from tests.support.caching import Cached, cached, in_turn, reply, status_of
from tests.support.client import ask
from tests.support.origin import answers
from tests.support.proxy import eventually, reverse, running_proxy

FRESH = b"Cache-Control: max-age=60"
GET = b"GET /a HTTP/1.1\r\nHost: shop.example\r\n\r\n"


def files(folder: Path) -> list[Path]:
    return [file for file in folder.glob("??/*") if file.is_file()]


async def written(cache: Cached, count: int = 1) -> None:
    await eventually(lambda: sum(entry.on_disk for entry in cache.entries) >= count, "nothing was written")


async def opened(cache: Cached) -> None:
    disk = cache.store.disk
    assert disk is not None
    await eventually(lambda: disk.ready, "the folder was not opened")


def settings(folder: Path, **more: object) -> dict[str, object]:
    return {"disk": {"path": str(folder), **more}}


async def filled(folder: Path, *targets: bytes) -> None:
    """Run a proxy that stores these."""
    async with cached(answers(reply(b"hello", FRESH, b'ETag: "1"')), **settings(folder)) as cache:
        await opened(cache)
        for target in targets or (b"/a",):
            await cache.get(target)
        await written(cache, len(targets or (b"/a",)))


async def test_what_is_stored_survives_a_restart(tmp_path: Path) -> None:
    await filled(tmp_path, b"/a", b"/b")
    async with cached(answers(reply(b"other")), **settings(tmp_path)) as cache:
        await opened(cache)
        again = await cache.get()
        assert again.body == b"hello"
        assert again.value(b"etag") == b'"1"'
        assert status_of(again).startswith("sidecar; hit; ttl=")
        assert len(cache.entries) == 2
        assert cache.asked == []


async def test_a_body_that_was_damaged_is_never_served(tmp_path: Path) -> None:
    await filled(tmp_path)
    (file,) = files(tmp_path)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    async with cached(answers(reply(b"other", FRESH)), **settings(tmp_path)) as cache:
        await opened(cache)
        assert (await cache.get()).body == b"other"


@pytest.mark.parametrize("damage", ["short", "long", "head", "empty", "magic", "name"])
async def test_a_file_that_is_not_whole_is_erased_at_start(tmp_path: Path, damage: str) -> None:
    await filled(tmp_path)
    (file,) = files(tmp_path)
    data = file.read_bytes()
    broken = {
        "short": data[:-1],
        "long": data + b"x",
        "head": data[:40] + b"\0" + data[41:],
        "empty": b"",
        "magic": b"x" + data[1:],
        "name": data,
    }[damage]
    file.write_bytes(broken)
    if damage == "name":
        file = file.rename(file.with_name("f" * 40 + file.suffix))
    async with cached(answers(reply(b"other")), **settings(tmp_path)) as cache:
        await opened(cache)
        assert cache.entries == []
        assert not file.exists()


async def test_a_file_that_was_not_finished_and_those_of_another_rule_are_erased_at_start(tmp_path: Path) -> None:
    await filled(tmp_path)
    (file,) = files(tmp_path)
    file.with_suffix(".new").write_bytes(b"half")
    async with cached(answers(reply(b"other")), name="another", **settings(tmp_path)) as cache:
        await opened(cache)
        assert files(tmp_path) == []
        assert cache.entries == []


async def test_the_folder_stays_within_its_size(tmp_path: Path) -> None:
    async with cached(answers(reply(b"x" * 10_000, FRESH)), **settings(tmp_path, maxBytes=65_536)) as cache:
        await opened(cache)
        for at in range(20):
            await cache.get(b"/%d" % at)
        disk = cache.store.disk
        assert disk is not None
        await eventually(lambda: disk._pending == 0 and disk.size, "not everything was written")
        await asyncio.get_running_loop().run_in_executor(disk._thread, lambda: None)  # behind what is to be erased
        assert sum(file.stat().st_size for file in files(tmp_path)) <= 65_536
        assert files(tmp_path)


async def test_what_leaves_memory_is_read_from_disk(tmp_path: Path) -> None:
    async with cached(answers(reply(b"x" * 10_000, FRESH)), maxBytes=65_536, **settings(tmp_path)) as cache:
        await opened(cache)
        for at in range(20):
            await cache.get(b"/%d" % at)
            await written(cache, at + 1)
        cold = next(entry for entry in cache.entries if entry.body is None)
        assert cache.store.size <= 65_536
        again = await cache.get(cold.uri[2])
        assert again.body == b"x" * 10_000
        assert cold.body is not None
        assert len(cache.asked) == 20


async def test_what_is_forgotten_is_erased_and_does_not_come_back(tmp_path: Path) -> None:
    async with cached(in_turn(reply(b"hello", FRESH), reply(b"done")), **settings(tmp_path)) as cache:
        await opened(cache)
        await cache.get()
        await written(cache)
        await cache.get(b"/a", method=b"POST")
        await eventually(lambda: not files(tmp_path), "the file is still there")
    async with cached(answers(reply(b"new")), **settings(tmp_path)) as cache:
        await opened(cache)
        assert cache.entries == []


async def test_what_is_purged_before_the_folder_was_looked_through_does_not_come_back(tmp_path: Path) -> None:
    await filled(tmp_path, b"/a", b"/b")
    held = os.open(tmp_path / "lock", os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    async with cached(answers(reply(b"new", FRESH)), **settings(tmp_path)) as cache:
        cache.proxy.proxy.keeper.purge("http://shop.example/a")
        await cache.get(b"/b")
        os.close(held)
        await opened(cache)
        await eventually(lambda: len(files(tmp_path)) == 1, "the file is still there")
        assert [entry.body for entry in cache.entries] == [b"new"]


async def test_a_folder_that_another_process_has_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(tmp_path)
    monkeypatch.setattr(disk_module, "LOCK_WAIT", 0.05)
    held = os.open(tmp_path / "lock", os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    async with cached(answers(reply(b"new", FRESH)), **settings(tmp_path)) as cache:
        await eventually(lambda: not cache.proxy.proxy.keeper._running, "it still tries")
        await cache.get()
        assert status_of(await cache.get()).startswith("sidecar; hit")
        assert not cache.entries[0].on_disk
        await cache.get(b"/b", method=b"POST")
        disk = cache.store.disk
        assert disk is not None
        assert disk._gone == []
    os.close(held)
    assert len(files(tmp_path)) == 1


async def test_a_folder_that_cannot_be_made_leaves_a_cache_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with cached(answers(reply(b"new", FRESH)), **settings(tmp_path / "file" / "x")) as cache:
        await eventually(lambda: not cache.proxy.proxy.keeper._running, "it still tries")
        await cache.get()
        assert status_of(await cache.get()).startswith("sidecar; hit")


async def test_an_entry_that_cannot_be_written_stays_in_memory(tmp_path: Path) -> None:
    async with cached(answers(reply(b"new", FRESH)), **settings(tmp_path)) as cache:
        await opened(cache)
        disk = cache.store.disk
        assert disk is not None
        await cache.get(b"/a")
        await written(cache)
        (file,) = files(tmp_path)
        blocked = disk._file((("http", "shop.example", b"/b"), (), (), ()))
        blocked.parent.mkdir(exist_ok=True)
        blocked.with_suffix(".new").mkdir()
        await cache.get(b"/b")
        await eventually(lambda: disk._pending == 0, "it still writes")
        assert status_of(await cache.get(b"/b")).startswith("sidecar; hit")
        assert file.exists()


async def test_a_reload_keeps_the_folder_and_what_is_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    async with cached(answers(reply(b"hello", FRESH)), folder=tmp_path, **settings(folder)) as cache:
        await opened(cache)
        await cache.get()
        await written(cache)
        rule = {"filters": [{"type": "Cache", "cache": {**settings(folder), "identifier": "new"}}]}
        await cache.proxy.reload(reverse(cache.origin.address, rule=rule))
        assert status_of(await cache.get()).startswith("new; hit")


async def test_a_relative_folder_starts_at_the_configuration(tmp_path: Path) -> None:
    async with cached(answers(reply(b"hello", FRESH)), folder=tmp_path, disk={"path": "pages"}) as cache:
        await opened(cache)
        assert (tmp_path / "pages" / "lock").exists()


async def test_two_processes_take_turns_with_a_folder(tmp_path: Path) -> None:
    async with cached(answers(reply(b"hello", FRESH)), **settings(tmp_path)) as one:
        await opened(one)
        config = reverse(one.origin.address, rule={"filters": [{"type": "Cache", "cache": settings(tmp_path)}]})
        async with running_proxy(config) as two:
            assert (await ask(two.address, GET)).body == b"hello"


async def test_what_memory_gives_up_before_it_is_written_is_served_from_disk(tmp_path: Path) -> None:
    page = reply(b"x" * 15_000, FRESH)
    async with cached(answers(page), maxBytes=65_536, maxEntryBytes=16_384, **settings(tmp_path)) as cache:
        await opened(cache)
        disk = cache.store.disk
        assert disk is not None
        gate = threading.Event()
        disk._thread.submit(gate.wait)  # nothing is written until then
        for at in range(12):
            await cache.get(b"/%d" % at)
        assert len(cache.entries) == 12
        gate.set()
        await written(cache, 12)
        assert sum(entry.body is None for entry in cache.entries) >= 8
        for at in range(12):
            assert (await cache.get(b"/%d" % at)).body == b"x" * 15_000
        assert len(cache.asked) == 12


async def test_what_cannot_be_written_and_has_no_room_in_memory_is_forgotten(tmp_path: Path) -> None:
    page = reply(b"x" * 15_000, FRESH)
    async with cached(answers(page), maxBytes=65_536, maxEntryBytes=16_384, **settings(tmp_path / "x")) as cache:
        await opened(cache)
        disk = cache.store.disk
        assert disk is not None
        gate = threading.Event()
        disk._thread.submit(gate.wait)
        for at in range(12):
            await cache.get(b"/%d" % at)
        disk.path = tmp_path / "gone"
        gate.set()
        await eventually(lambda: disk._pending == 0, "it still writes")
        assert all(entry.body is not None for entry in cache.entries)
        assert len(cache.entries) < 6
