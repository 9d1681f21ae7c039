"""Python: runs the operator's own `async def filter(request, forward)` and contains what goes wrong in it.

An exception of the operator's code, or an answer that is no response, becomes FilterFailed, which names the filter and
nothing else; the traceback goes to the log, once a minute. The same holds while a body that the code makes is streamed.
Errors of the rest of the path pass through untouched. Responses that the code got by `forward` and did not return are
given back with the one it did return, or at once if it returned none.
"""

import asyncio
import functools
import logging
import re
import traceback
from collections.abc import AsyncIterator
from http import HTTPStatus
from itertools import chain
from pathlib import Path

from sidecar.config.model import PythonFilter
from sidecar.errors import ConfigError, FilterFailed, ProxyError
from sidecar.filters.python_code import FilterCode, Modules
from sidecar.model import Filter, Handler, Headers, Request, Response

_logger = logging.getLogger("sidecar.filters")
_LOG_INTERVAL = 60.0  # seconds between two log lines of one filter
_CONTROL = re.compile(rb"[\x00\r\n]")
_REASONS = {each.value: each.phrase.encode() for each in HTTPStatus}
_FAILURES = (Exception, SystemExit)  # what the operator's code may raise without taking the sidecar with it


def python_filter(spec: PythonFilter, modules: Modules, config_folder: str, path: str) -> Filter:
    """Load the function, from a folder relative to `config_folder`, with its settings. Raises ConfigError."""
    code, takes_settings = modules.function(Path(config_folder) / spec.folder, spec.function, path)
    if takes_settings:
        code = functools.partial(code, settings=spec.settings)
    elif spec.settings:
        raise ConfigError(f"{path}.settings", f"`{spec.function}` takes no settings; give it a parameter `settings`")
    return _Contained(code, _Failures(spec.name or spec.function))


class _Failures:
    """The failures of one filter: told in full to the log, by name to everybody else."""

    __slots__ = ("_logged", "_name", "_unlogged")

    def __init__(self, name: str) -> None:
        self._name = name
        self._logged: float | None = None  # loop time
        self._unlogged = 0

    def failed(self, error: BaseException) -> FilterFailed:
        """The error to raise instead."""
        self.log(error)
        return FilterFailed(f"the filter {self._name} failed")

    def log(self, error: BaseException) -> None:
        now = asyncio.get_running_loop().time()
        if self._logged is not None and now - self._logged < _LOG_INTERVAL:
            self._unlogged += 1
            return
        before = f" ({self._unlogged} more failures since the last line)" if self._unlogged else ""
        frames = "".join(traceback.format_tb(error.__traceback__))
        _logger.error("filter %s failed: %s: %a%s\n%s", self._name, type(error).__name__, str(error), before, frames)
        self._logged, self._unlogged = now, 0


class _Body:
    """A body that the operator's code makes; empty chunks, which would end a chunked body, are left out."""

    __slots__ = ("_body", "_failures")

    def __init__(self, body: AsyncIterator[object], failures: _Failures) -> None:
        self._body = body
        self._failures = failures

    def __aiter__(self) -> "_Body":
        return self

    async def __anext__(self) -> bytes:
        try:
            while True:
                chunk = await anext(self._body)
                if not isinstance(chunk, bytes):
                    raise TypeError(f"a chunk of its body is {type(chunk).__name__}, expected bytes")
                if chunk:
                    return chunk
        except (StopAsyncIteration, ProxyError):
            raise
        except _FAILURES as error:
            raise self._failures.failed(error) from error

    async def aclose(self) -> None:
        """End a generator that nobody reads on."""
        close = getattr(self._body, "aclose", None)
        if close is not None:
            try:
                await close()
            except _FAILURES as error:
                self._failures.log(error)


class _Rest:
    """The rest of the path as the operator's code sees it: remembers what it gave and the error it raised."""

    __slots__ = ("_failures", "_forward", "_streams", "error", "given", "over")

    def __init__(self, forward: Handler, request: Request, failures: _Failures) -> None:
        self._forward = forward
        self._failures = failures
        self._streams: list[object] = [request.body]
        self.given: list[Response] = []
        self.error: BaseException | None = None
        self.over = False

    async def __call__(self, request: Request) -> Response:
        if _malformed(request.headers):
            raise ValueError("a header of the request is not a pair of bytes without line breaks")
        stream = None if request.body is None else self.new_stream(request.body)
        if stream is not None:
            request.body = _Body(stream, self._failures)
            self._streams.append(request.body)
        try:
            response = await self._forward(request)
        except BaseException as error:
            self.error = error
            raise
        self.given.append(response)
        self._streams.append(response.body)
        if self.over:  # a task that outlived the filter
            await self.aclose()
        return response

    def new_stream(self, body: object) -> AsyncIterator[object] | None:
        """The body if it is a stream that the operator's code made; raises TypeError for what is no body."""
        if isinstance(body, bytes) or any(body is each for each in self._streams):
            return None
        if not isinstance(body, AsyncIterator):
            raise TypeError(f"a body is {type(body).__name__}, expected bytes or an async iterator of bytes")
        return body

    async def aclose(self) -> None:
        """Give back all responses, also those yet to come."""
        self.over = True
        while self.given:
            await self.given.pop().aclose()


class _Contained:
    """The filter around the operator's code."""

    __slots__ = ("_code", "_failures")

    def __init__(self, code: FilterCode, failures: _Failures) -> None:
        self._code = code
        self._failures = failures

    async def __call__(self, request: Request, forward: Handler) -> Response:
        rest = _Rest(forward, request, self._failures)
        try:
            response = await self._code(request, rest)
            stream = _judged(response, request, rest)
        except BaseException as error:
            await rest.aclose()
            if isinstance(error, ProxyError) or error is rest.error or not isinstance(error, _FAILURES):
                raise
            raise self._failures.failed(error) from error
        rest.over = True
        for each in rest.given:
            if each is not response:
                response.on_close(each.aclose)  # not at once: its body may be what the response is made of
        if stream is not None:
            response.body = body = _Body(stream, self._failures)
            response.on_close(body.aclose)
        return response


def _judged(response: object, request: Request, rest: _Rest) -> AsyncIterator[object] | None:
    """The body if it is a stream that the operator's code made; raises TypeError or ValueError for a bad response."""
    if not isinstance(response, Response):
        raise TypeError(f"it returned {type(response).__name__}, expected Response")
    made = not any(response is each for each in rest.given)
    if not isinstance(response.status, int) or not (200 if made else 100) <= response.status <= 599:
        raise ValueError(f"its response has the status {response.status!r}, expected 200 to 599")
    if _malformed(response.headers):
        raise ValueError("a header of its response is not a pair of bytes without line breaks")
    stream = rest.new_stream(response.body)
    if made:
        _complete(response, request)
    return stream


def _complete(response: Response, request: Request) -> None:
    """Give a response made here what one from upstream has: framing that fits its body, and a reason phrase."""
    if response.status == 204:
        response.headers.discard("content-length", "transfer-encoding")  # RFC 9110 §8.6
    elif request.method != "HEAD" and response.status != 304:
        response.set_body(response.body, response.length)
    response.reason = response.reason or _REASONS.get(response.status, b"")


def _malformed(headers: Headers) -> bool:
    """Whether a line is no pair of bytes, or would break out of its line."""
    try:
        return _CONTROL.search(b"".join(chain.from_iterable(headers))) is not None
    except TypeError:
        return True
