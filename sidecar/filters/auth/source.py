"""What credentials are checked with (keys, users), kept fresh from a file or a URL; the last good state stays in force.

A task looks at the source every so often, and at once when a request asks for something unknown, within a minimum
interval: nobody can make the sidecar hammer it. Outlives reloads in the keeper.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from sidecar.config.model import Jwks
from sidecar.errors import ConfigError
from sidecar.filters.auth.session import MAX_BODY, Unreachable, fetch
from sidecar.filters.context import FilterContext

_log = logging.getLogger("sidecar.filters")
_FIRST_RETRY = 1.0  # seconds after a failure; doubles up to the interval


class Content(Protocol):
    """What a source holds, parsed."""

    problems: tuple[str, ...]

    def __len__(self) -> int: ...


T = TypeVar("T", bound=Content)


@dataclass(frozen=True, slots=True)
class Timing:
    """In seconds."""

    interval: float
    min_interval: float
    timeout: float


_FILE_TIMING = Timing(interval=0.5, min_interval=0.1, timeout=5.0)


class Source(Generic[T]):
    """The state of one source; `value` is None until it was read for the first time."""

    def __init__(
        self,
        name: str,
        read: Callable[[], Awaitable[bytes]],
        parse: Callable[[bytes], T],
        timing: Timing,
        told: Callable[[str], None],
    ) -> None:
        self.name = name
        self.value: T | None = None
        self.version = 0  # changes with the value
        self.problem = ""
        self._read, self._parse, self._timing, self._told = read, parse, timing, told
        self._data: bytes | None = None  # the value as it was read
        self._now = asyncio.get_running_loop().time
        self._last: float | None = None  # when the source was looked at
        self._good: float | None = None  # when it was looked at with success
        self._failures = 0
        self._looking = True  # at it, or about to
        self._asked = asyncio.Event()
        self._finished = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, context: FilterContext) -> None:
        """Begin to follow the source."""
        if context.keeper is not None:
            self._task = context.keeper.spawn(self._follow(), f"following {self.name}")

    async def sought(self) -> None:
        """Something unknown is asked for: wait for another look at the source, if the last one is long enough ago."""
        if not self._looking:
            if self._last is not None and self._now() - self._last < self._timing.min_interval:
                return
            self._looking = True
            self._finished.clear()
            self._asked.set()
        await self._look_ended()

    async def first(self) -> T | None:
        """The value, waited for where there is none yet and the source is being looked at."""
        if self.value is None and self._looking:
            await self._look_ended()
        return self.value

    def explain(self) -> str:
        """How it stands with the source, for people."""
        if self._good is None or self.value is None:
            return f"{self.name} not read yet{self.problem and ': ' + self.problem}"
        age = f"{self.name} holds {len(self.value)}, read {self._now() - self._good:.0f} s ago"
        return f"{age}; since then: {self.problem}" if self.problem else age

    async def aclose(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        self._finished.set()

    async def _look_ended(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timing.timeout + 1):
                await self._finished.wait()

    async def _follow(self) -> None:
        while True:
            self._asked.clear()
            self._looking = True
            self._finished.clear()
            await self._look()
            self._looking = False
            self._finished.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    await self._asked.wait()

    def _pause(self) -> float:
        if not self._failures:
            return self._timing.interval
        return min(self._timing.interval, _FIRST_RETRY * 2.0 ** min(self._failures - 1, 16))

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(self._timing.timeout):
                data = await self._read()
            self._take(data)
        except (Unreachable, OSError, TimeoutError, ValueError) as error:
            self._failed(_reason(error))
        else:
            self._failures, self.problem, self._good = 0, "", self._now()
        self._last = self._now()

    def _take(self, data: bytes) -> None:
        if data == self._data:
            return
        value = self._parse(data)
        self.value, self._data = value, data
        self.version += 1
        self._told("changed")
        if value.problems:
            _log.warning("%s: left out: %s", self.name, "; ".join(value.problems)[:1000])

    def _failed(self, reason: str) -> None:
        self._failures += 1
        self._told("failed")
        if reason != self.problem:
            kept = "what was read before stays in force" if self.value is not None else "nobody passes"
            _log.warning("%s: %s; %s", self.name, reason, kept)
        self.problem = reason


def follow_file(
    name: str,
    parse: Callable[[bytes], T],
    context: FilterContext,
    *,
    kind: object,
    told: Callable[[str], None],
    path: str,
) -> Source[T] | None:
    """The content of a file, judged at once: raises ConfigError. None where the configuration is only checked.

    `kind`: what `parse` makes of it; filters with the same kind and file share a source.
    """
    file = _File(Path(context.config_folder) / name)
    try:
        parse(file.content())
    except OSError as error:
        raise ConfigError(path, f"cannot read {name!a}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(path, f"{name!a}: {error}") from None
    if context.keeper is None:
        return None
    key = ("auth file", kind, str(file.path))
    return _kept(context, key, lambda: Source(name, file.read, parse, _FILE_TIMING, told))


def follow_url(
    spec: Jwks, parse: Callable[[bytes], T], context: FilterContext, told: Callable[[str], None]
) -> Source[T] | None:
    """What is fetched from a URL again and again. None where the configuration is only checked."""
    url = spec.url or ""
    if context.keeper is None:
        return None
    timing = Timing(spec.refresh_interval, spec.min_interval, spec.timeout)
    folder = Path(context.config_folder)

    async def read() -> bytes:
        return await fetch(
            url,
            ca_file=spec.ca_file and str(folder / spec.ca_file),
            token_file=spec.token_file and str(folder / spec.token_file),
        )

    return _kept(context, ("auth url", spec), lambda: Source(url.partition("?")[0], read, parse, timing, told))


def _kept(context: FilterContext, key: object, make: Callable[[], Source[T]]) -> Source[T]:
    def started() -> Source[T]:
        source = make()
        source.start(context)
        return source

    assert context.keeper is not None  # noqa: S101 - for mypy; callers have looked
    return context.keeper.keep(key, started)


class _File:
    """A file that is read only when it has changed; symbolic links are followed, as the kubelet swaps them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, int, int] | None = None
        self._content = b""

    async def read(self) -> bytes:
        """The content; raises OSError, ValueError."""
        status = os.stat(self.path)  # noqa: PTH116 - one system call of a microsecond
        stamp = status.st_mtime_ns, status.st_ino, status.st_size
        if stamp != self._stamp:
            self._content = await asyncio.to_thread(self.content)
            self._stamp = stamp
        return self._content

    def content(self) -> bytes:
        """Read it now; raises OSError, ValueError."""
        with self.path.open("rb") as stream:
            data = stream.read(MAX_BODY + 1)
        if len(data) > MAX_BODY:
            raise ValueError(f"longer than {MAX_BODY} bytes")
        return data


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    return str(error) or "no answer in time"
