"""The process around the proxy: event loop, signals, memory; no decision about requests."""

import asyncio
import contextlib
import ctypes
import logging
import resource
import signal
import sys
from collections.abc import Callable, Mapping

from sidecar.config.model import Config
from sidecar.errors import ConfigError, StartError
from sidecar.lifecycle.proxy import Proxy, announce

_MALLOC = ((-3, 128 << 20), (-1, 128 << 20), (-2, 16 << 20))  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD


def serve(whole: Config, *, config_path: str | None, environ: Mapping[str, str]) -> int:
    """Run until SIGTERM or SIGINT, then drain; returns the exit code. Raises ConfigError and StartError."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    _tune_malloc()
    _raise_descriptor_limit()
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(whole, config_path, environ))
    except* (ConfigError, StartError) as group:
        raise _first(group) from None
    return 0


async def _serve(whole: Config, config_path: str | None, environ: Mapping[str, str]) -> None:
    proxy = Proxy(whole, config_path=config_path, environ=environ)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, proxy.stop.set)
    loop.add_signal_handler(signal.SIGHUP, proxy.reload.set)
    await proxy.run(announce)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Uvloop where it is installed."""
    try:
        import uvloop  # noqa: PLC0415 - optional
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _tune_malloc() -> None:
    """Keep glibc from mapping and unmapping memory at each large read: 0.4 to 0.67 of the CPU per streamed MiB."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        for parameter, value in _MALLOC:
            libc.mallopt(parameter, value)


def _raise_descriptor_limit() -> None:
    """Take the descriptors that the hard limit grants, as Go does: the soft limit is for programs that use select()."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
