"""A real browser without a window: opens one page, which posts what it found to the server that it came from."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from aiohttp import web

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or ""
WITHIN = 45.0  # seconds a browser may take to start and run its page
_QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP *.example 127.0.0.1",  # pages have names, as in the world
)


class Site:
    """Serves one page on loopback, and takes what the page posts to `/found` as JSON."""

    def __init__(self) -> None:
        self.html = ""
        self.port = 0
        self.found: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def serve(self, request: web.BaseRequest) -> web.Response:
        if request.method == "POST" and request.path == "/found":
            if not self.found.done():
                self.found.set_result(await request.json())
            return web.Response()
        return web.Response(text=self.html, content_type="text/html")


@asynccontextmanager
async def serving() -> AsyncIterator[Site]:
    """A site while the block runs."""
    site = Site()
    runner = web.ServerRunner(web.Server(site.serve))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    site.port = runner.addresses[0][1]
    try:
        yield site
    finally:
        await runner.cleanup()


@asynccontextmanager
async def browser(url: str, profile: Path) -> AsyncIterator[None]:
    """Run the browser with a new profile while the block runs."""
    process = await asyncio.create_subprocess_exec(
        CHROMIUM,
        *_QUIET,
        f"--user-data-dir={profile}",
        url,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
