"""An OTLP/HTTP receiver inside the demo: what a collector is to a sidecar, as small as can be.

It keeps the newest batches as they came and reads them when a trace is asked for, so that receiving costs nothing
while the demo measures.
"""

import asyncio
from collections import deque
from typing import Self

from aiohttp import web

from sidecar.demo.spans import Span, read

_MOST_BATCHES = 64  # of 512 spans each at most


class Collector:
    """`async with Collector() as collector`: takes spans at `collector.endpoint`."""

    def __init__(self) -> None:
        self.endpoint = ""  # for OTEL_EXPORTER_OTLP_ENDPOINT
        self._batches: deque[bytes] = deque(maxlen=_MOST_BATCHES)
        self._more = asyncio.Condition()
        self._runner = web.ServerRunner(web.Server(self._take, access_log=None))

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.endpoint = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def trace(self, trace_id: str, *, spans: int, within: float) -> list[Span]:
        """The spans of one trace by start, once there are `spans`, or what came within so many seconds."""
        found: list[Span] = []
        try:
            async with asyncio.timeout(within), self._more:
                while len(found := self._find(trace_id)) < spans:
                    await self._more.wait()
        except TimeoutError:
            pass
        return found

    def _find(self, trace_id: str) -> list[Span]:
        wanted = bytes.fromhex(trace_id)
        spans = [span for batch in self._batches if wanted in batch for span in read(batch)]
        return sorted((span for span in spans if span.trace_id == trace_id), key=lambda span: span.start_ns)

    async def _take(self, request: web.BaseRequest) -> web.Response:
        if (request.method, request.path) != ("POST", "/v1/traces"):
            return web.Response(status=404)
        batch = await request.read()
        async with self._more:
            self._batches.append(batch)
            self._more.notify_all()
        return web.Response(body=b"", content_type="application/x-protobuf")
