"""Tells the app which tenant a request belongs to, by the API key it carries."""

from collections.abc import Mapping

from sidecar.model import Handler, Request, Response


async def name_tenant(request: Request, forward: Handler, *, settings: Mapping[str, Mapping[str, str]]) -> Response:
    """Look the key up, put the tenant in its place; without a known key the app is not asked."""
    request.headers.discard("X-Tenant")  # only this filter may say who it is
    tenant = settings["tenants"].get(request.headers.get("X-Api-Key") or "")
    if tenant is None:
        return Response(401, [(b"Content-Type", b"text/plain")], b"unknown API key\n")
    request.headers.discard("X-Api-Key")  # the app needs no secret
    request.headers.set("X-Tenant", tenant)
    return await forward(request)
