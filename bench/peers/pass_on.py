"""A Python filter that does nothing: what the seam itself costs."""

from sidecar.model import Handler, Request, Response


async def pass_on(request: Request, forward: Handler) -> Response:
    """Hand the request on."""
    return await forward(request)
