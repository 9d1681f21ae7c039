"""The admin page and the probe address on sockets of their own, apart from the data path.

Decides nothing: questions go to `Pages`. Keeps no state but the two listening sockets.
"""

import contextlib
import os
from typing import Self

from aiohttp import web

from sidecar.admin.pages import Pages, Question
from sidecar.admin.view import ProxyView
from sidecar.config.address import parse_address
from sidecar.config.model import Admin
from sidecar.errors import StartError
from sidecar.model import Address


class AdminServer:
    """An async context manager that listens while it is entered; raises StartError where an address is taken."""

    def __init__(self, view: ProxyView, admin: Admin) -> None:
        self._view = view
        self._admin = admin
        self._open = contextlib.AsyncExitStack()
        self.address: Address | None = None  # where the admin page listens, once entered
        self.probe_address: Address | None = None

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as opening:
            if self._admin.address is not None:
                wanted = parse_address(self._admin.address)
                # A Unix socket is out of a browser's reach.
                hosts = None if wanted.unix_path else frozenset({wanted.host.lower()} - {""})
                pages = Pages(self._view, hosts=hosts)
                self.address = await _listen(pages, wanted, "admin.address", opening)
            if self._admin.probe_address is not None:
                # Any name: a Prometheus may come by the name of a Service, and these pages hold no secret.
                pages = Pages(self._view, probes_only=True, hosts=None)
                wanted = parse_address(self._admin.probe_address)
                self.probe_address = await _listen(pages, wanted, "admin.probe_address", opening)
            self._open = opening.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()


async def _listen(pages: Pages, wanted: Address, field: str, opening: contextlib.AsyncExitStack) -> Address:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return _respond(pages, request)

    runner = web.ServerRunner(web.Server(handle, access_log=None), shutdown_timeout=1)
    await runner.setup()
    opening.push_async_callback(runner.cleanup)
    site: web.BaseSite
    if wanted.unix_path:
        site = web.UnixSite(runner, wanted.unix_path)
    else:
        site = web.TCPSite(runner, wanted.host or None, wanted.port)
    try:
        await site.start()
    except OSError as error:
        raise StartError(
            f"cannot listen on {wanted} ({os.strerror(error.errno or 0)}): free it, or change `{field}`"
        ) from None
    return wanted if wanted.unix_path else Address(*runner.addresses[0][:2])


def _respond(pages: Pages, request: web.BaseRequest) -> web.Response:
    query = request.query
    reply = pages.answer(
        Question(
            method=request.method,
            path=request.path,
            query={name: query.getall(name) for name in query},
            host=request.headers.get("Host"),
            origin=request.headers.get("Origin"),
            accept=request.headers.get("Accept", ""),
        )
    )
    headers = {"Content-Type": reply.content_type, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    if reply.allow is not None:
        headers["Allow"] = reply.allow
    return web.Response(status=reply.status, body=reply.body, headers=headers)
