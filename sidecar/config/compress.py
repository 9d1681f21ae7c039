"""The Compress filter's settings, and what they may hold. Whether a coding is installed is judged by the filter."""

import re
from typing import Literal, TypeAlias

from sidecar.config import fields
from sidecar.config.sections import GatewaySection
from sidecar.errors import ConfigError

Coding: TypeAlias = Literal["zstd", "br", "gzip"]

_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]+/(\*|\*\+[a-z0-9]+|[a-z0-9!#$&^_.+-]+)")
TYPES = (
    "text/*",
    "application/json",
    "application/javascript",
    "application/wasm",
    "application/x-ndjson",
    "application/xml",
    "application/*+json",
    "application/*+xml",
    "image/svg+xml",
)


class DecompressRequests(GatewaySection, frozen=True, kw_only=True):
    """Decodes request bodies for the app, within limits: a small body can hold an endless one."""

    max_size: int = 10_485_760  # bytes of the decoded body
    max_ratio: int = 100  # decoded bytes for each encoded one


class Compress(GatewaySection, frozen=True, kw_only=True):
    """Encodes responses as the client accepts (RFC 9110 §12.5.3)."""

    encodings: tuple[Coding, ...] | None = None  # best first; None: those installed, in the order zstd, br, gzip
    types: tuple[str, ...] = TYPES
    min_size: int = 1024  # bytes; a body of unknown length counts as long
    cpu_budget: int = 30  # percent of one core for all filters of this type
    max_streams: int = 64  # bodies encoded or decoded while they stream, at one time, each holding up to 1.2 MB
    with_set_cookie: bool = False  # over TLS too
    decompress_requests: DecompressRequests | None = None


class CompressFilter(GatewaySection, frozen=True, kw_only=True, tag_field="type", tag="Compress"):
    """Compresses responses, and decompresses requests."""

    compress: Compress = Compress()


def check_compress(spec: Compress, path: str) -> None:
    """Raise ConfigError for the first field that makes no sense."""
    if spec.encodings is not None:
        if not spec.encodings:
            raise ConfigError(f"{path}.encodings", "expected at least one of `zstd`, `br`, `gzip`")
        fields.unique(spec.encodings, f"{path}.encodings", "encoding", field="")
    for at, each in enumerate(spec.types):
        if not _TYPE.fullmatch(each):
            example = "such as `text/html`, `text/*` or `application/*+json`"
            raise ConfigError(f"{path}.types[{at}]", f"expected a media type in lower case, {example}, got {each!a}")
    fields.between(spec.min_size, f"{path}.minSize", 0)
    fields.between(spec.cpu_budget, f"{path}.cpuBudget", 1, 100)
    fields.between(spec.max_streams, f"{path}.maxStreams", 0)
    if spec.decompress_requests is not None:
        fields.between(spec.decompress_requests.max_size, f"{path}.decompressRequests.maxSize", 1)
        fields.between(spec.decompress_requests.max_ratio, f"{path}.decompressRequests.maxRatio", 1)
