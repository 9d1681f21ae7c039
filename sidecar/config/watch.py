"""Follows the configuration file: one that is right is handed on whole, a broken one is refused and the old one stays.

The file is read through its name each time, so the symlink that the kubelet swaps under a mounted ConfigMap is
followed. Reading it twice a second costs some 20 µs and misses nothing; only changed content is parsed.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType

from sidecar.config import pod
from sidecar.config.model import Config
from sidecar.errors import ConfigError

_log = logging.getLogger("sidecar.config")


async def follow(
    path: str,
    current: Config,
    apply: Callable[[Config], None],
    *,
    refused: Callable[[], None] = lambda: None,
    reload_now: asyncio.Event | None = None,
    environ: Mapping[str, str] | None = None,
    interval: float = 0.5,
) -> None:
    """Until cancelled, call `apply` with each new configuration in the file at `path`, read every `interval` seconds.

    `apply` may refuse one by raising ConfigError; it must not have changed anything then. `refused` is told of each
    that is, whoever refused it. Setting `reload_now` (SIGHUP)
    reads at once and applies the file even if nothing in it has changed, for the files that it names may have.
    `environ`: what the pod adds (see `pod.py`).
    """
    asked = reload_now or asyncio.Event()
    file = _File(path, current, apply, refused, environ or {})
    while True:
        forced = asked.is_set()
        asked.clear()
        file.look(forced=forced)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(interval):
                await asked.wait()


class _File:
    """What was last seen in the file, and the configuration in force."""

    def __init__(
        self,
        path: str,
        current: Config,
        apply: Callable[[Config], None],
        refused: Callable[[], None],
        environ: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._path = path
        self._environ = environ
        self._current = current
        self._apply = apply
        self._refused = refused
        self._seen: bytes | str = ""  # the content judged last, or why there was none

    def look(self, *, forced: bool) -> None:
        try:
            seen: bytes | str = pod.read(self._path, self._environ)
        except OSError as error:
            seen = f"{self._path}: cannot read it: {error.strerror}"
        if seen == self._seen and not forced:
            return
        self._seen = seen
        if isinstance(seen, str):
            self._refuse(seen)
        else:
            self._judge(seen, forced=forced)

    def _judge(self, content: bytes, *, forced: bool) -> None:
        try:
            config = pod.from_text(content, self._path, self._environ)
            if config == self._current and not forced:
                return
            self._apply(config)
        except ConfigError as error:
            self._refuse(str(error) if error.file else f"{self._path}: {error}")
        else:
            self._current = config

    def _refuse(self, why: str) -> None:
        _log.error("configuration refused, the old one stays: %s", why)
        self._refused()
