"""The content codings as clients and apps have them: whole bodies, and decoders that read while bytes arrive."""

import zlib
from collections.abc import Callable

import brotli
from backports import zstd

CODINGS = ("zstd", "br", "gzip")


def encode(coding: str, data: bytes) -> bytes:
    if coding == "gzip":
        stream = zlib.compressobj(wbits=31)
        return stream.compress(data) + stream.flush()
    encoded: bytes = brotli.compress(data, quality=5) if coding == "br" else zstd.compress(data)
    return encoded


def reader(coding: str) -> Callable[[bytes], bytes]:
    """Decodes what has arrived so far, as a browser does."""
    if coding == "gzip":
        return zlib.decompressobj(wbits=31).decompress
    decode: Callable[[bytes], bytes] = (
        brotli.Decompressor().process if coding == "br" else zstd.ZstdDecompressor().decompress
    )
    return decode


def decode(coding: str, data: bytes) -> bytes:
    return reader(coding)(data)
