"""Keeps crawlers out of a staging system: some requests are answered here and never reach the app."""

from collections.abc import Mapping, Sequence

from sidecar.model import Handler, Request, Response

TEXT = [(b"Content-Type", b"text/plain")]


async def keep_out(request: Request, forward: Handler, *, settings: Mapping[str, Sequence[str]]) -> Response:
    """Serve `robots.txt`, refuse the crawlers named in the settings, let everybody else through."""
    if request.path == "/robots.txt":
        return Response(200, TEXT, b"User-agent: *\nDisallow: /\n")
    agent = (request.headers.get("User-Agent") or "").lower()
    if any(crawler in agent for crawler in settings["crawlers"]):
        return Response(403, TEXT, b"no crawlers here\n")
    return await forward(request)
