"""The codings themselves, each behind the same few methods: zlib of the standard library, Brotli, Zstandard.

Windows are small, since each stream keeps its own: 128 KiB costs 1 to 5 % in size and saves megabytes a stream. A
decoder gives out no more at a time than it is asked for, and takes windows of 8 MiB at most (RFC 9659 §3).
"""

import importlib
import zlib
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, ClassVar, Protocol

from sidecar.filters.compress.meter import Level

_WINDOW = 17  # log2 of bytes
_MAX_WINDOW = 23
_MAX_EMPTY = 16  # members without content in a row
_LEVELS = {"zstd": (1, 3), "br": (1, 5), "gzip": (1, 6)}  # fast, thorough
_OFF_LOOP = {"zstd": (262_144, 196_608), "br": (262_144, 49_152), "gzip": (98_304, 49_152)}


class CorruptBody(ValueError):
    """The encoded bytes are not what they are said to be."""


class Encoder(Protocol):
    """Encodes one body."""

    reusable: ClassVar[bool]  # `whole` may be called again: what is set up once need not be for each body

    def feed(self, data: bytes) -> bytes:
        """Encode, and give out all of it: the client can read what was fed."""

    def finish(self) -> bytes:
        """The end of the body."""

    def whole(self, data: bytes) -> bytes:
        """Encode a body that is here whole, in place of the other two."""


class Decoder(Protocol):
    """Decodes one body."""

    ended: bool  # the body is whole

    def feed(self, data: bytes, limit: int) -> bytes:
        """Decode about `limit` bytes at most; call it with `b""` for more until that gives none.

        Raises CorruptBody.
        """


def _module(*names: str) -> ModuleType | None:
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


_brotli = _module("brotli")
_zstd = _module("compression.zstd", "backports.zstd")  # of the standard library from Python 3.14 on
INSTALLED = tuple(name for name, there in (("zstd", _zstd), ("br", _brotli), ("gzip", zlib)) if there is not None)


def off_loop(coding: str, level: Level) -> int:
    """Bytes from which a thread pays: about 1 ms of work, where the hop (50 to 100 µs) is lost in it.

    Measured with gzip and chunks of 64 KiB: others wait 1.1 ms instead of 5.7 ms, for 8 % more CPU; with zstd it
    would be 0.3 ms instead of 0.7 ms for 42 % more.
    """
    return _OFF_LOOP[coding][level]


def encoder(coding: str, level: Level) -> Encoder:
    """An encoder of a coding that is installed."""
    strength = _LEVELS[coding][level]
    if coding == "gzip":
        return _Gzip(strength)
    return _Brotli(strength) if coding == "br" else _Zstd(strength)


def decoder(coding: str) -> Decoder:
    """A decoder of a coding that is installed."""
    if coding == "br":
        return _Unbrotli()
    if coding == "gzip":
        return _Members(lambda: zlib.decompressobj(wbits=31), zlib.error)
    assert _zstd is not None  # noqa: S101 - only what is installed is asked for
    options = {_zstd.DecompressionParameter.window_log_max: _MAX_WINDOW}
    return _Members(partial(_zstd.ZstdDecompressor, options=options), _zstd.ZstdError)


class _Gzip:
    __slots__ = ("_stream",)
    reusable: ClassVar[bool] = False

    def __init__(self, level: int) -> None:
        self._stream = zlib.compressobj(level, wbits=31)

    def feed(self, data: bytes) -> bytes:
        return self._stream.compress(data) + self._stream.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        return self._stream.flush()

    def whole(self, data: bytes) -> bytes:
        return self._stream.compress(data) + self._stream.flush()


class _Brotli:
    __slots__ = ("_stream",)
    reusable: ClassVar[bool] = False

    def __init__(self, level: int) -> None:
        assert _brotli is not None  # noqa: S101 - only what is installed is asked for
        self._stream = _brotli.Compressor(quality=level, lgwin=_WINDOW)

    def feed(self, data: bytes) -> bytes:
        encoded: bytes = self._stream.process(data) + self._stream.flush()
        return encoded

    def finish(self) -> bytes:
        encoded: bytes = self._stream.finish()
        return encoded

    def whole(self, data: bytes) -> bytes:
        encoded: bytes = self._stream.process(data) + self._stream.finish()
        return encoded


class _Zstd:
    __slots__ = ("_block", "_frame", "_stream")
    reusable: ClassVar[bool] = True  # frames are independent; 0.7 MB to set up, a third of the CPU of 4 KiB

    def __init__(self, level: int) -> None:
        assert _zstd is not None  # noqa: S101 - only what is installed is asked for
        option = _zstd.CompressionParameter
        self._stream = _zstd.ZstdCompressor(options={option.compression_level: level, option.window_log: _WINDOW})
        self._block = _zstd.ZstdCompressor.FLUSH_BLOCK
        self._frame = _zstd.ZstdCompressor.FLUSH_FRAME

    def feed(self, data: bytes) -> bytes:
        encoded: bytes = self._stream.compress(data, self._block)
        return encoded

    def finish(self) -> bytes:
        encoded: bytes = self._stream.flush()
        return encoded

    def whole(self, data: bytes) -> bytes:
        encoded: bytes = self._stream.compress(data, self._frame)
        return encoded


class _Members:
    """One gzip member or zstd frame after another (RFC 1952 §2.2, RFC 8878 §3)."""

    __slots__ = ("_broken", "_new", "_rest", "_stream", "ended")

    def __init__(self, new: Callable[[], Any], broken: type[Exception]) -> None:
        self._new = new
        self._broken = broken
        self._stream = new()
        self._rest = b""
        self.ended = False

    def feed(self, data: bytes, limit: int) -> bytes:
        data = self._rest + data if self._rest else data
        for _ in range(_MAX_EMPTY):
            if self._stream.eof:
                if not data:
                    return b""
                self._stream = self._new()
            try:
                decoded: bytes = self._stream.decompress(data, limit)
            except self._broken:
                raise CorruptBody from None
            ended = self._stream.eof
            data = self._stream.unused_data if ended else getattr(self._stream, "unconsumed_tail", b"")  # zlib's
            self.ended = ended and not data
            if decoded or not (ended and data):
                self._rest = data
                return decoded
        raise CorruptBody


class _Unbrotli:
    __slots__ = ("_rest", "_stream", "ended")

    def __init__(self) -> None:
        assert _brotli is not None  # noqa: S101 - only what is installed is asked for
        self._stream = _brotli.Decompressor()
        self._rest = b""
        self.ended = False

    def feed(self, data: bytes, limit: int) -> bytes:
        assert _brotli is not None  # noqa: S101
        self._rest += data
        if self.ended and not self._rest:
            return b""
        given = b""
        if self._stream.can_accept_more_data():
            given, self._rest = self._rest, b""
        try:
            decoded: bytes = self._stream.process(given, output_buffer_limit=limit)
        except _brotli.error:
            raise CorruptBody from None
        self.ended = self._stream.is_finished()
        return decoded
