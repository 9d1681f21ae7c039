"""Bodies that are encoded or decoded while they stream, chunk by chunk, as fast as the next reader reads.

An encoder gives out all it has after each chunk, so that events and trickled bodies arrive when they are sent.
A decoder is asked for little at a time and watched: what goes beyond the limits is never made.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator

from sidecar.config.compress import DecompressRequests
from sidecar.errors import BadRequest
from sidecar.filters.compress.codecs import CorruptBody, Decoder, Encoder
from sidecar.filters.compress.meter import Meter

_PIECE = 65_536  # bytes decoded at a time
_FREE = 65_536  # bytes decoded before the ratio counts: a short body of zeros is no bomb


async def work(meter: Meter, job: Callable[[bytes], bytes], data: bytes, off_loop: int) -> bytes:
    """Do one piece of coding, in a thread where the data has `off_loop` bytes or more, and count its cost."""
    loop = asyncio.get_running_loop()
    if len(data) >= off_loop:
        result, seconds = await loop.run_in_executor(None, _timed, job, data)
    else:
        result, seconds = _timed(job, data)
    meter.spend(loop.time(), seconds)
    return result


def _timed(job: Callable[[bytes], bytes], data: bytes) -> tuple[bytes, float]:
    begun = time.thread_time()
    result = job(data)
    return result, time.thread_time() - begun


class _Slot:
    """One of the streams that may run at one time."""

    __slots__ = ("_held", "_meter")

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._held = True
        meter.streams += 1

    def release(self) -> None:
        """May be called twice."""
        if self._held:
            self._held = False
            self._meter.streams -= 1


class Encoded(_Slot):
    """A response body on its way to the client."""

    __slots__ = ("_encoder", "_off_loop", "_source")

    def __init__(self, source: AsyncIterator[bytes], encoder: Encoder, meter: Meter, off_loop: int) -> None:
        super().__init__(meter)
        self._source = source
        self._encoder: Encoder | None = encoder  # None: the end has been given out
        self._off_loop = off_loop

    def __aiter__(self) -> "Encoded":
        return self

    async def __anext__(self) -> bytes:
        encoder = self._encoder
        while encoder is not None:
            try:
                chunk = await anext(self._source)
            except StopAsyncIteration:
                self._encoder = None
                self.release()
                return encoder.finish()
            if chunk and (data := await work(self._meter, encoder.feed, chunk, self._off_loop)):
                return data
        raise StopAsyncIteration


class Decoded(_Slot):
    """A request body on its way to the app."""

    __slots__ = ("_decoding", "_pending", "_source")

    def __init__(self, source: AsyncIterator[bytes], decoding: "Decoding", meter: Meter) -> None:
        super().__init__(meter)
        self._source = source
        self._decoding = decoding
        self._pending: Iterator[bytes] = iter(())

    @property
    def received(self) -> int:
        """Bytes read from the client, for the access log."""
        return self._decoding.encoded

    def __aiter__(self) -> "Decoded":
        return self

    async def __anext__(self) -> bytes:
        while True:
            begun = time.thread_time()
            data = next(self._pending, b"")
            self._meter.spend(asyncio.get_running_loop().time(), time.thread_time() - begun)
            if data:
                return data
            try:
                chunk = await anext(self._source)
            except StopAsyncIteration:
                self.release()
                self._decoding.end()
                raise
            self._pending = self._decoding.feed(chunk)


class Decoding:
    """Decodes a body within limits; what breaks them is the client's fault."""

    __slots__ = ("_coding", "_decoder", "_limits", "decoded", "encoded")

    def __init__(self, coding: str, decoder: Decoder, limits: DecompressRequests) -> None:
        self._coding = coding
        self._decoder = decoder
        self._limits = limits
        self.encoded = 0
        self.decoded = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What these bytes decode to, in pieces. Raises BadRequest: 400 for bytes that are none, 413 beyond a limit."""
        self.encoded += len(data)
        piece = self._piece(data)
        while piece:
            self.decoded += len(piece)
            self._check()
            yield piece
            piece = self._piece(b"")

    def end(self) -> None:
        """The body has ended. Raises BadRequest where the coding has not."""
        if self.encoded and not self._decoder.ended:
            raise BadRequest(f"the request body ends within its {self._coding} coding")

    def _piece(self, data: bytes) -> bytes:
        try:
            return self._decoder.feed(data, _PIECE)
        except CorruptBody:
            raise BadRequest(f"the request body is not {self._coding}, as its Content-Encoding says") from None

    def _check(self) -> None:
        if self.decoded > self._limits.max_size:
            raise BadRequest(f"the request body decodes to more than {self._limits.max_size} bytes", 413)
        if self.decoded > _FREE and self.decoded > self.encoded * self._limits.max_ratio:
            raise BadRequest(f"the request body decodes to more than {self._limits.max_ratio} times its size", 413)
