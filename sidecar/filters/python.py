"""Python: runs the operator's own `async def filter(request, forward)` and contains what goes wrong in it.

An exception of the operator's code, or an answer that is no response, becomes FilterFailed, which names the filter and
nothing else; the traceback goes to the log, once a minute. Errors of the rest of the path pass through untouched.
Responses that the code got by `forward` and did not return are given back with the one it did return, or at once
if it returned none.
"""

import asyncio
import functools
import logging
import re
import traceback
from itertools import chain
from pathlib import Path

from sidecar.config.model import PythonFilter
from sidecar.errors import ConfigError, FilterFailed, ProxyError
from sidecar.filters.python_code import FilterCode, Modules
from sidecar.model import Filter, Handler, Headers, Request, Response

_logger = logging.getLogger("sidecar.filters")
_LOG_INTERVAL = 60.0  # seconds between two log lines of one filter
_CONTROL = re.compile(rb"[\x00\r\n]")


def python_filter(spec: PythonFilter, modules: Modules, config_folder: str, path: str) -> Filter:
    """Load the function, from a folder relative to `config_folder`, with its settings. Raises ConfigError."""
    code, takes_settings = modules.function(Path(config_folder) / spec.folder, spec.function, path)
    if takes_settings:
        code = functools.partial(code, settings=spec.settings)
    elif spec.settings:
        raise ConfigError(f"{path}.settings", f"`{spec.function}` takes no settings; give it a parameter `settings`")
    return _Contained(code, spec.name or spec.function)


class _Path:
    """The rest of the path as the operator's code sees it: remembers the responses it gave and the error it raised."""

    __slots__ = ("_forward", "error", "given", "over")

    def __init__(self, forward: Handler) -> None:
        self._forward = forward
        self.given: list[Response] = []
        self.error: BaseException | None = None
        self.over = False

    async def __call__(self, request: Request) -> Response:
        if _malformed(request.headers):
            raise ValueError("a header of the request is not a pair of bytes without line breaks")
        try:
            response = await self._forward(request)
        except BaseException as error:
            self.error = error
            raise
        self.given.append(response)
        if self.over:  # a task that outlived the filter
            await self.aclose()
        return response

    async def aclose(self) -> None:
        self.over = True
        while self.given:
            await self.given.pop().aclose()


class _Contained:
    """The filter around the operator's code."""

    __slots__ = ("_code", "_logged", "_name", "_unlogged")

    def __init__(self, code: FilterCode, name: str) -> None:
        self._code = code
        self._name = name
        self._logged: float | None = None  # loop time
        self._unlogged = 0

    async def __call__(self, request: Request, forward: Handler) -> Response:
        path = _Path(forward)
        try:
            response = await self._code(request, path)
            wrong = _wrong(response)
            if wrong:
                raise TypeError(wrong)  # noqa: TRY301 - one place tells it
        except BaseException as error:
            await path.aclose()
            if isinstance(error, ProxyError) or error is path.error or not isinstance(error, Exception):
                raise
            self._log(error)
            raise FilterFailed(f"the filter {self._name} failed") from error
        path.over = True
        for each in path.given:
            if each is not response:
                response.on_close(each.aclose)  # not at once: its body may be what the response is made of
        return response

    def _log(self, error: Exception) -> None:
        now = asyncio.get_running_loop().time()
        if self._logged is not None and now - self._logged < _LOG_INTERVAL:
            self._unlogged += 1
            return
        before = f" ({self._unlogged} more failures since the last line)" if self._unlogged else ""
        frames = "".join(traceback.format_tb(error.__traceback__))
        _logger.error("filter %s failed: %s: %a%s\n%s", self._name, type(error).__name__, str(error), before, frames)
        self._logged, self._unlogged = now, 0


def _wrong(response: object) -> str:
    """What makes an answer no response; "" for a good one."""
    if not isinstance(response, Response):
        return f"it returned {type(response).__name__}, expected Response"
    if not isinstance(response.status, int) or not 100 <= response.status <= 599:
        return f"its response has the status {response.status!r}, expected 200 to 599"
    if not isinstance(response.body, bytes) and not hasattr(response.body, "__anext__"):
        return (
            f"the body of its response is {type(response.body).__name__}, expected bytes or an async iterator of bytes"
        )
    if _malformed(response.headers):
        return "a header of its response is not a pair of bytes without line breaks"
    return ""


def _malformed(headers: Headers) -> bool:
    """Whether a line is no pair of bytes, or would break out of its line."""
    try:
        return _CONTROL.search(b"".join(chain.from_iterable(headers))) is not None
    except TypeError:
        return True
