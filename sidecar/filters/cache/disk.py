"""Entries as files: one each, written beside and renamed, so that a crash leaves a whole file or none.

A file says how long it is and carries checksums of both its parts: the head is checked at start, the body when it is
read first. Nothing is synced: after a power failure entries may be missing, never wrong. One process at a time (lock).
Writing and erasing happen in one thread, in order; reading in others. Errors of the disk cost entries, nothing else.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from sidecar.filters.cache.entry import Entry, Key, Uri, raw_lines
from sidecar.filters.cache.eviction import S3Fifo

MOST_FILES = 50_000
MOST_PENDING = 64 * 1024**2  # bytes that wait to be written; what comes beyond is not
LOCK_WAIT = 10.0  # seconds for another holder of the folder to let go

_MAGIC = b"SDCACHE1"
_HEAD = struct.Struct(">8sIIQI")  # magic, length and checksum of the head, length and checksum of the body
_log = logging.getLogger("sidecar.filters")
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)


class Disk:
    """One folder. `space` is whose entries they are: those of another are erased at start."""

    def __init__(self, path: str, space: str) -> None:
        self.path = Path(path)
        self.ready = False  # the folder is ours and was looked through
        self._opening = True
        self._space = hashlib.sha256(space.encode()).hexdigest()[:16]
        self._policy: S3Fifo[Key] = S3Fifo()
        self._entries: dict[Key, Entry] = {}
        self._writing: dict[Key, Entry] = {}  # what is not written yet
        self._pending = 0
        self._gone: list[Callable[[Uri], bool]] = []  # forgotten while the folder was not looked through
        self._lock: int | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cache-disk")
        self._closed = False

    @property
    def size(self) -> int:
        """Bytes of the files."""
        return self._policy.size

    async def open(self) -> list[Entry]:
        """Lock the folder and look through it; what is there and sound, the oldest first. Nothing where it is taken."""
        try:
            return await self._opened()
        finally:
            self._opening = False
            self._gone.clear()

    async def _opened(self) -> list[Entry]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LOCK_WAIT
        try:
            while not await loop.run_in_executor(self._thread, self._take_lock):
                if loop.time() > deadline:
                    _log.warning("cache folder %s is used by another process: caching in memory only", self.path)
                    return []
                await asyncio.sleep(0.1)
            found = await loop.run_in_executor(self._thread, self._scan)
        except OSError as error:
            _log.warning("cache folder %s cannot be used (%s): caching in memory only", self.path, error.strerror)
            return []
        self.ready = True
        kept = []
        for entry in found:
            if any(wanted(entry.uri) for wanted in self._gone):
                self._run(self._erase, self._file(entry.key))
            else:
                kept.append(entry)
        return kept

    def keep(self, entry: Entry, room: int, *, dropped: Callable[[Entry], None]) -> None:
        """Count a file that is there; `dropped` is told which entries lose theirs for it."""
        self._entries[entry.key] = entry
        entry.on_disk = True
        for key in self._policy.add(entry.key, entry.size + len(entry.raw) + _HEAD.size, room, MOST_FILES):
            gone = self._entries.pop(key)
            self._run(self._erase, self._file(key))
            dropped(gone)

    def writes(self, entry: Entry) -> bool:
        """Whether it is on its way to the disk."""
        return self._writing.get(entry.key) is entry

    def write(
        self, entry: Entry, room: int, *, dropped: Callable[[Entry], None], settled: Callable[[Entry], None]
    ) -> None:
        """Write an entry with its body, later; it counts once it is there, if it was not erased meanwhile.

        `settled` is told when it is there, or when that failed.
        """
        body = entry.body
        self.erase(entry)
        if not self.ready or self._closed or body is None or self._pending + len(body) > MOST_PENDING:
            return
        self._pending += len(body)
        self._writing[entry.key] = entry
        done = asyncio.get_running_loop().run_in_executor(self._thread, self._write, entry, body)

        def written(future: asyncio.Future[bool]) -> None:
            self._pending -= len(body)
            if self._writing.get(entry.key) is entry:  # else it was erased, or a newer one follows
                del self._writing[entry.key]
                if not future.cancelled() and future.result():
                    self.keep(entry, room, dropped=dropped)
                settled(entry)

        done.add_done_callback(written)

    def erase(self, entry: Entry) -> None:
        """Remove its file, if it has one or will have."""
        written, waiting = self._entries.pop(entry.key, None), self._writing.pop(entry.key, None)
        if written is not None or waiting is not None:
            self._policy.remove(entry.key)
            self._run(self._erase, self._file(entry.key))
        entry.on_disk = False

    def forgotten(self, wanted: Callable[[Uri], bool]) -> None:
        """What is not looked through yet is to be forgotten as well."""
        if self._opening:
            self._gone.append(wanted)

    async def read(self, entry: Entry) -> bytes | None:
        """The body, None where the file is gone or not sound."""
        self._policy.use(entry.key)
        return await asyncio.to_thread(self._read, entry)

    async def aclose(self) -> None:
        """Finish what is to be written, and give the folder back."""
        self._closed = True
        await asyncio.to_thread(self._thread.shutdown)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _file(self, key: Key) -> Path:
        name = hashlib.sha256(repr(key).encode()).hexdigest()[:40]
        return self.path / name[:2] / f"{name}.{self._space}"

    def _run(self, work: Callable[[Path], None], file: Path) -> None:
        if not self._closed:
            self._thread.submit(work, file)

    # --- in threads -----------------------------------------------------------------------------------------------

    def _take_lock(self) -> bool:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        self._lock = handle
        return True

    def _scan(self) -> list[Entry]:
        found = [(file.stat().st_mtime_ns, entry) for file in self._files() if (entry := self._sound(file)) is not None]
        return [entry for _, entry in sorted(found, key=lambda pair: pair[0])]

    def _files(self) -> Iterator[Path]:
        for folder in self.path.iterdir():
            if len(folder.name) == 2 and folder.is_dir():
                yield from folder.iterdir()

    def _sound(self, file: Path) -> Entry | None:
        """The entry of a file that is whole and ours; any other file is erased."""
        try:
            if file.suffix == f".{self._space}":
                with file.open("rb") as opened:
                    entry, length, _ = _read_head(opened.read(_HEAD.size), opened.read)
                    whole = file.stat().st_size == opened.tell() + length
                if whole and self._file(entry.key) == file and entry.size == length:
                    return entry
        except (OSError, ValueError, struct.error, msgspec.MsgspecError):
            pass
        self._erase(file)
        return None

    def _read(self, entry: Entry) -> bytes | None:
        file = self._file(entry.key)
        try:
            with file.open("rb") as opened:
                _, length, checksum = _read_head(opened.read(_HEAD.size), opened.read)
                body = opened.read()
        except (OSError, ValueError, struct.error, msgspec.MsgspecError):
            return None
        return body if len(body) == length == entry.size and zlib.crc32(body) == checksum else None

    def _write(self, entry: Entry, body: bytes) -> bool:
        head = _encoder.encode(msgspec.structs.replace(entry, raw=b"", body=None, on_disk=False, head=None))
        start = _HEAD.pack(_MAGIC, len(head), zlib.crc32(head), len(body), zlib.crc32(body))
        file = self._file(entry.key)
        beside = file.with_suffix(".new")
        try:
            file.parent.mkdir(exist_ok=True)
            with beside.open("wb") as opened:
                opened.writelines((start, head, body))
            beside.replace(file)
        except OSError as error:
            _log.warning("a cache entry could not be written to %s: %s", self.path, error.strerror)
            self._erase(beside)
            return False
        return True

    @staticmethod
    def _erase(file: Path) -> None:
        with contextlib.suppress(OSError):
            file.unlink()


def _read_head(start: bytes, read: Callable[[int], bytes]) -> tuple[Entry, int, int]:
    """The entry, the length and the checksum of its body; raises ValueError, struct.error or MsgspecError."""
    magic, size, checksum, length, body_checksum = _HEAD.unpack(start)
    head = read(size) if magic == _MAGIC and size < 1 << 20 else b""
    if not head or zlib.crc32(head) != checksum:
        raise ValueError("not an entry")
    entry = _decoder.decode(head)
    entry.raw = raw_lines(entry.lines)
    return entry, length, body_checksum
