"""Filters around the rest of the path, each in a file of its own: `build` makes one, `chain` puts them in order.

A filter knows no other filter; what it needs from outside comes in the context. `docs/filters.md` is for their authors.
"""

from collections.abc import Sequence
from typing import assert_never

from sidecar.config.model import (
    AuthFilter,
    CacheFilter,
    CompressFilter,
    CorsFilter,
    FilterSpec,
    PythonFilterFilter,
    RequestHeaderModifierFilter,
    RequestMirrorFilter,
    RequestRedirectFilter,
    ResponseHeaderModifierFilter,
    UrlRewriteFilter,
)
from sidecar.filters.context import FilterContext, Keeper
from sidecar.filters.header_modifier import request_header_modifier, response_header_modifier
from sidecar.filters.python import python_filter
from sidecar.filters.request_mirror import request_mirror
from sidecar.filters.request_redirect import request_redirect
from sidecar.filters.url_rewrite import url_rewrite
from sidecar.model import Filter, Handler, Request, Response

__all__ = ["FilterContext", "Keeper", "build", "chain"]


def build(spec: FilterSpec, context: FilterContext, path: str) -> Filter:
    """Make one filter; `path` is its field path. Raises ConfigError naming the field below it."""
    match spec:
        case RequestHeaderModifierFilter():
            return request_header_modifier(spec.request_header_modifier, f"{path}.requestHeaderModifier")
        case ResponseHeaderModifierFilter():
            return response_header_modifier(spec.response_header_modifier, f"{path}.responseHeaderModifier")
        case UrlRewriteFilter():
            return url_rewrite(spec.url_rewrite, f"{path}.urlRewrite")
        case RequestRedirectFilter():
            return request_redirect(spec.request_redirect, f"{path}.requestRedirect")
        case RequestMirrorFilter():
            return request_mirror(spec.request_mirror, context.mirror)
        case _:
            return _own(spec, context, path)


def _own(
    spec: AuthFilter | CacheFilter | CompressFilter | CorsFilter | PythonFilterFilter, context: FilterContext, path: str
) -> Filter:
    """The larger ones; each is imported where it is configured, for the others cost neither time nor memory."""
    match spec:
        case AuthFilter():
            from sidecar.filters.auth import auth  # noqa: PLC0415

            return auth(spec.auth, context, f"{path}.auth")
        case CompressFilter():
            from sidecar.filters.compress import compress  # noqa: PLC0415

            return compress(spec.compress, context, f"{path}.compress")
        case CacheFilter():
            from sidecar.filters.cache import cache  # noqa: PLC0415

            return cache(spec.cache, context)
        case CorsFilter():
            from sidecar.filters.cors import cors  # noqa: PLC0415

            return cors(spec.cors, context, f"{path}.cors")
        case PythonFilterFilter():
            return python_filter(spec.python, context.modules, context.config_folder, f"{path}.python")
        case _:
            assert_never(spec)


def chain(filters: Sequence[Filter], terminal: Handler) -> Handler:
    """One handler: the first filter is outermost, `terminal` behind the last; without filters, `terminal`."""
    handler = terminal
    for each in reversed(filters):
        handler = _around(each, handler)
    return handler


def _around(around: Filter, inner: Handler) -> Handler:
    async def handle(request: Request) -> Response:
        return await around(request, inner)

    return handle
