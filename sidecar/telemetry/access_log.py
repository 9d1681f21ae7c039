"""One JSON line for a request, with the fields of Envoy's default access log as far as they apply.

Which requests: every failure (no answer, status >= 500, a response flag, an error) and `success_percent` of the rest.
Lines are written by one daemon thread behind a bounded queue: a full disk or a stalled pipe costs lines, which are
counted, and no request. A file that was rotated away is opened anew.
"""

import asyncio
import contextlib
import os
import queue
import random
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from sidecar.config import model as config
from sidecar.errors import ConfigError
from sidecar.model import Answer, Request
from sidecar.telemetry.arrival import Arrival, clean
from sidecar.telemetry.environment import log

_MOST_LINES = 8192
_LONGEST_VALUE = 1024
_LONGEST_BATCH = 256


def failed(answer: Answer) -> bool:
    """Whether the request is one that is always written."""
    return answer.status is None or answer.status >= 500 or answer.flag != "-" or answer.error_type is not None


def line(request: Request, arrival: Arrival, answer: Answer, trace_id: int, span_id: int) -> bytes:
    """The JSON line; durations in milliseconds, ids in hex."""
    last = request.attempts[-1] if request.attempts else None
    started = datetime.fromtimestamp(request.received_ns / 1e9, UTC)
    entry = {
        "start_time": started.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "method": _short(arrival.method),
        "path": _short(arrival.path),
        "protocol": "HTTP/" + request.version,
        "response_code": answer.status or 0,
        "response_flags": answer.flag,
        "response_code_details": _short(answer.details or answer.error_type),
        "bytes_received": answer.received,
        "bytes_sent": answer.sent,
        "duration": round(answer.duration * 1000),
        "upstream_host": str(last.address) if last else None,
        "upstream_cluster": request.cluster or None,
        "attempts": len(request.attempts),
        "route_name": request.route or None,
        "authority": _short(arrival.authority),
        "user_agent": _short(arrival.user_agent.decode("utf-8", "backslashreplace")),
        "x_forwarded_for": _short(request.headers.get("x-forwarded-for")),
        "request_id": _short(request.headers.get("x-request-id")),
        "trace_id": f"{trace_id:032x}" if trace_id else None,
        "span_id": f"{span_id:016x}" if span_id else None,
        "downstream_remote_address": str(request.peer),
    }
    return msgspec.json.encode(entry) + b"\n"


def _short(value: str | None) -> str | None:
    """Fit for a log: control characters escaped, cut, None for nothing (Envoy's `-`)."""
    return clean(value[:_LONGEST_VALUE]) or None if value else None


class AccessLog:
    """The writer; raises ConfigError where the file cannot be opened."""

    def __init__(self, settings: config.AccessLog, rng: random.Random, lost: Callable[[int], None]) -> None:
        self._share = settings.success_percent / 100
        self._rng = rng
        self._lost = lost
        self._path = None if settings.path == "-" else Path(settings.path)
        try:
            self._descriptor = self._open()
        except OSError as error:
            raise ConfigError("$.access_log.path", f"cannot be opened: {error.strerror}") from None
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._done = threading.Event()
        self._down = False
        self._writing = 0  # lines the thread holds
        threading.Thread(target=self._work, name="access-log", daemon=True).start()

    def wants(self, answer: Answer) -> bool:
        """Whether this request is written."""
        return failed(answer) or self._share >= 1.0 or self._rng.random() < self._share

    def write(self, data: bytes) -> None:
        """Queue a line, or drop and count it."""
        if self._queue.qsize() >= _MOST_LINES:
            self._lost(1)
        else:
            self._queue.put(data)

    async def aclose(self, within: float) -> None:
        """Write what is queued, `within` seconds at most; the rest is counted as dropped."""
        self._queue.put(None)
        if not await asyncio.to_thread(self._done.wait, within):
            self._lost(max(self._queue.qsize() - 1, 0) + self._writing)

    def _open(self) -> int:
        if self._path is None:
            return sys.stdout.fileno()
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def _work(self) -> None:
        more = True
        while more:
            lines = [self._queue.get()]
            while len(lines) < _LONGEST_BATCH and not self._queue.empty():
                lines.append(self._queue.get())
            more = None not in lines
            data = [entry for entry in lines if entry is not None]
            self._writing = len(data)
            try:
                self._reopen_if_rotated()
                self._write(b"".join(data))
            except OSError as error:
                self._lost(len(data))
                if not self._down:
                    log.warning("the access log cannot be written: %s; lines are dropped and counted", error.strerror)
                self._down = True
            else:
                self._down = False
            self._writing = 0
        if self._path is not None:
            os.close(self._descriptor)
        self._done.set()

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def _reopen_if_rotated(self) -> None:
        if self._path is None:
            return
        ours = os.fstat(self._descriptor)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(ours, self._path.stat()):
                return
        descriptor = self._open()
        os.close(self._descriptor)
        self._descriptor = descriptor
