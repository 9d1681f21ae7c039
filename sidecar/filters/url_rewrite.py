"""URLRewrite: another host, another path on the way up (HTTPURLRewriteFilter). The query is kept to the byte."""

from sidecar.config.model import UrlRewrite
from sidecar.filters.path_modifier import path_modifier
from sidecar.model import Filter, Handler, Request, Response


def url_rewrite(spec: UrlRewrite, path: str) -> Filter:
    """Change the request on its way up; `*` and authority-form targets have no path to change. Raises ConfigError."""
    new_path = path_modifier(spec.path, f"{path}.path")
    hostname = spec.hostname

    async def rewrite_url(request: Request, forward: Handler) -> Response:
        if hostname is not None:
            request.authority = hostname
            request.headers.set("Host", hostname)
        if new_path is not None and request.target.startswith(b"/"):
            old, mark, query = request.target.partition(b"?")
            request.target = new_path(old, request.prefix) + mark + query
        return await forward(request)

    return rewrite_url
