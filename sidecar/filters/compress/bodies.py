"""Bodies that are encoded or decoded while they stream, chunk by chunk, as fast as the next reader reads.

An encoder gives out all it has after each chunk, so that events and trickled bodies arrive when they are sent.
A decoder is asked for little at a time and watched: what goes beyond the limits is never made.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator

from sidecar.config.compress import DecompressRequests
from sidecar.errors import BadRequest
from sidecar.filters.compress.codecs import CorruptBody, Decoder, Encoder, encoder, off_loop
from sidecar.filters.compress.meter import Level, Meter

_PIECE = 65_536  # bytes decoded at a time
_FREE = 65_536  # bytes decoded before the ratio counts: a short body of zeros is no bomb


class Shared:
    """What all filters of the process share: the meter, and encoders that can be used again."""

    __slots__ = ("_kept", "meter")

    def __init__(self) -> None:
        self.meter = Meter()
        self._kept: dict[tuple[str, Level], Encoder] = {}

    async def whole(self, coding: str, level: Level, body: bytes) -> bytes:
        """Encode a body that is here whole."""
        one = self._kept.pop((coding, level), None) or encoder(coding, level)  # nobody else has it meanwhile
        data = await work(self.meter, one.whole, body, off_loop(coding, level))
        if one.reusable:
            self._kept[coding, level] = one
        return data

    async def aclose(self) -> None:
        """Let go of the encoders."""
        self._kept.clear()


async def work(meter: Meter, job: Callable[[bytes], bytes], data: bytes, threshold: int) -> bytes:
    """Do one piece of coding, in a thread where the data has `threshold` bytes or more, and count its cost."""
    loop = asyncio.get_running_loop()
    if len(data) >= threshold:
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

    __slots__ = ("_encoder", "_source", "_threshold")

    def __init__(self, source: AsyncIterator[bytes], coding: str, level: Level, meter: Meter) -> None:
        super().__init__(meter)
        self._source = source
        self._encoder: Encoder | None = encoder(coding, level)  # None: the end has been given out
        self._threshold = off_loop(coding, level)

    def __aiter__(self) -> "Encoded":
        return self

    async def __anext__(self) -> bytes:
        one = self._encoder
        while one is not None:
            try:
                chunk = await anext(self._source)
            except StopAsyncIteration:
                self._encoder = None
                self.release()
                return one.finish()
            if chunk and (data := await work(self._meter, one.feed, chunk, self._threshold)):
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
