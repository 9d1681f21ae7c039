"""Sends spans to a collector: OTLP/HTTP with protobuf, posted on the loop that serves requests, in small batches.

A bounded queue of encoded spans; a batch goes when it is full or `schedule_delay` after its first span. A collector
that is slow, gone or wrong costs no request anything: spans that find no room are dropped and counted, and an outage
is one log line. What is retried and what is not follows opentelemetry-proto `docs/specification.md` ("OTLP/HTTP
Response").
"""

import asyncio
import gzip
import logging
import random
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import aiohttp

from sidecar.telemetry.metrics import Metrics
from sidecar.telemetry.otlp import Encoder, Envelope, partial_success
from sidecar.telemetry.otlp_settings import OtlpSettings
from sidecar.telemetry.spans import Span

log = logging.getLogger("sidecar.telemetry")

_RETRYABLE = frozenset((429, 502, 503, 504))
_MOST_TRIES = 6
_FIRST_BACKOFF = 1.0  # seconds, doubled each time
_LONGEST_RETRY_AFTER = 300.0
_MOST_ANSWER = 65_536  # bytes of a collector's answer that are read


class Verdict(NamedTuple):
    """What became of one POST."""

    delivered: bool = False
    retry: bool = False
    reason: str = ""  # one of few words, for the metric
    details: str = ""  # for the log
    wait: float | None = None  # seconds, from Retry-After


class OtlpExporter:
    """A sink for spans. `run` belongs to a task of the owner; `aclose` sends what is left."""

    def __init__(self, settings: OtlpSettings, envelope: Envelope, metrics: Metrics, rng: random.Random) -> None:
        self._settings = settings
        self._envelope = envelope
        self._encoder = Encoder()
        self._metrics = metrics
        self._rng = rng
        self._queue: deque[tuple[bytes, int]] = deque()  # encoded spans and how many they are
        self._spans = 0
        self._bytes = 0
        self._some = asyncio.Event()
        self._enough = asyncio.Event()
        self._closing = asyncio.Event()
        self._sending: asyncio.Task[None] | None = None
        self._session: aiohttp.ClientSession | None = None
        self._down = False
        self._partial = False

    def put(self, spans: Sequence[Span]) -> None:
        """Take the spans of one request, or drop them where there is no room."""
        settings, count = self._settings, len(spans)
        data = b""
        full = self._spans + count > settings.max_queue_spans  # then nothing is encoded either
        if not full:
            encode = self._encoder.encode
            data = b"".join([encode(span) for span in spans])
            full = self._bytes + len(data) > settings.max_queue_bytes
        if full:
            self._metrics.spans_dropped(count, "queue_full")
            return
        if not self._queue:
            self._some.set()
        self._queue.append((data, count))
        self._spans += count
        self._bytes += len(data)
        if self._spans >= settings.batch_spans or self._bytes >= settings.batch_bytes:
            self._enough.set()

    async def run(self) -> None:
        """Send batches until cancelled."""
        while not self._closing.is_set():
            await self._some.wait()
            try:
                async with asyncio.timeout(self._settings.schedule_delay):
                    await self._enough.wait()
            except TimeoutError:
                pass
            self._sending = asyncio.get_running_loop().create_task(self._send_due(), name="span-post")
            # A POST on its way outlives our cancellation: `aclose` waits for it instead of sending it again.
            await asyncio.shield(self._sending)

    async def aclose(self, within: float) -> None:
        """Send what is queued, `within` seconds at most and without retries; the rest is counted as dropped."""
        self._closing.set()
        try:
            async with asyncio.timeout(within):
                if self._sending is not None:
                    await asyncio.wait((self._sending,))
                while self._queue and await self._send_batch():
                    pass
        except TimeoutError:
            pass
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait((self._sending,))
        if self._spans:
            self._metrics.spans_dropped(self._spans, "shutdown")
            log.warning(
                "spans dropped at shutdown: %d; the collector at %s did not take them", self._spans, self._settings.host
            )
            self._take(self._spans)
        if self._session is not None:
            await self._session.close()

    def _batch(self) -> tuple[list[bytes], int]:
        """The oldest queued spans up to a batch; at least one request's."""
        settings = self._settings
        chunks: list[bytes] = []
        count = size = 0
        for data, spans in self._queue:
            if chunks and (count + spans > settings.batch_spans or size + len(data) > settings.batch_bytes):
                break
            chunks.append(data)
            count += spans
            size += len(data)
        return chunks, count

    def _take(self, count: int) -> None:
        """Forget the oldest `count` spans: delivered or given up. Until then a cancelled POST loses nothing."""
        while count > 0:
            data, spans = self._queue.popleft()
            count -= spans
            self._spans -= spans
            self._bytes -= len(data)
        settings = self._settings
        if not self._queue:
            self._some.clear()
        if self._spans < settings.batch_spans and self._bytes < settings.batch_bytes:
            self._enough.clear()

    async def _send_due(self) -> None:
        """One batch, and whole ones as long as there are."""
        await self._send_batch()
        while self._enough.is_set() and not self._closing.is_set():
            await self._send_batch()

    async def _send_batch(self) -> bool:
        """Take one batch to the collector; whether it was delivered."""
        chunks, count = self._batch()
        if not count:
            return True
        body = self._envelope.wrap(chunks)
        if self._settings.gzip:
            body = await asyncio.to_thread(gzip.compress, body, 1)
        verdict = await self._post_until_settled(body, count)
        if verdict.delivered:
            self._take(count)
        elif not self._closing.is_set():
            self._metrics.spans_dropped(count, verdict.reason)
            self._take(count)
        return verdict.delivered

    async def _post_until_settled(self, body: bytes, count: int) -> Verdict:
        """Post, and again where the specification allows: six times at most, within OTEL_BSP_EXPORT_TIMEOUT.

        Only a time that the collector names itself may lead beyond that.
        """
        clock = asyncio.get_running_loop().time
        until = clock() + self._settings.export_timeout
        backoff = _FIRST_BACKOFF
        for _ in range(_MOST_TRIES - 1):
            verdict = await self._post(body, count)
            self._note(verdict)
            wait = backoff * self._rng.uniform(0.8, 1.2) if verdict.wait is None else verdict.wait
            if not verdict.retry or self._closing.is_set() or (verdict.wait is None and clock() + wait > until):
                return verdict
            try:
                async with asyncio.timeout(wait):
                    await self._closing.wait()
            except TimeoutError:
                pass
            backoff *= 2
        verdict = await self._post(body, count)
        self._note(verdict)
        return verdict

    async def _post(self, body: bytes, count: int) -> Verdict:
        settings = self._settings
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=settings.timeout),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=settings.headers,
                connector=aiohttp.TCPConnector(ssl=settings.ssl_context or True, limit=1),
            )
        try:
            async with self._session.post(settings.endpoint, data=body, allow_redirects=False) as response:
                if response.status != 200:
                    return _refused(response.status, response.headers.get("Retry-After", ""))
                return self._delivered(await _read(response.content), count)
        except TimeoutError:
            return Verdict(retry=True, reason="timeout", details=f"no answer within {settings.timeout:g} s")
        except (aiohttp.ClientError, OSError) as error:
            return Verdict(retry=True, reason="unreachable", details=type(error).__name__)

    def _delivered(self, answer: bytes, count: int) -> Verdict:
        """A 200 may still name spans that the collector rejected: they are lost, and must not be sent again."""
        rejected, message = partial_success(answer)
        rejected = max(min(rejected, count), 0)
        self._metrics.spans_exported(count - rejected)
        if rejected:
            self._metrics.spans_dropped(rejected, "rejected")
        if (rejected or message) and not self._partial:
            log.warning(
                "the collector at %s rejected %d of %d spans: %s",
                self._settings.host,
                rejected,
                count,
                ascii(message[:200]),
            )
        self._partial = bool(rejected or message)
        return Verdict(delivered=True)

    def _note(self, verdict: Verdict) -> None:
        """One line when an outage begins and one when it ends."""
        if verdict.delivered and self._down:
            log.info("the collector at %s takes spans again", self._settings.host)
        elif not verdict.delivered and not self._down:
            log.warning(
                "the collector at %s does not take spans (%s); what cannot be sent is dropped and counted",
                self._settings.host,
                verdict.details,
            )
        self._down = not verdict.delivered


def _refused(status: int, retry_after: str) -> Verdict:
    """429, 502, 503 and 504 may be tried again, nothing else."""
    named = retry_after.isascii() and retry_after.isdecimal() and len(retry_after) < 10
    wait = min(float(retry_after), _LONGEST_RETRY_AFTER) if named else None
    retry = status in _RETRYABLE
    return Verdict(retry=retry, reason="unavailable" if retry else "refused", details=f"status {status}", wait=wait)


async def _read(content: aiohttp.StreamReader) -> bytes:
    """The answer, or as much of it as is read at most."""
    answer = bytearray()
    async for chunk in content.iter_chunked(8192):
        answer += chunk
        if len(answer) > _MOST_ANSWER:
            break
    return bytes(answer)
