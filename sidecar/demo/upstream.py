"""One small upstream, a process of its own: `python -m sidecar.demo.upstream NAME`.

It names itself in its answers and repeats the `traceparent` it saw. POST to `/demo/behave` changes it (`delay_ms`: how
long an answer takes; `fail_next`: how many of the next requests are answered 503), GET says how it behaves.
"""

import asyncio
import sys
from dataclasses import dataclass, field

from aiohttp import web

_MOST_REFUSED = 100


@dataclass(slots=True)
class Upstream:
    """What it is called and how it behaves."""

    name: str
    delay_ms: int = 10
    fail_next: int = 0
    refused: list[str] = field(default_factory=list)  # the traceparents of requests answered 503

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answer any request."""
        if request.path == "/demo/behave":
            return self._behave(request)
        seen = request.headers.get("traceparent", "")
        if self.fail_next > 0:
            self.fail_next -= 1
            self.refused = [*self.refused[-_MOST_REFUSED:], seen]
            return web.json_response({"upstream": self.name, "error": "told to fail"}, status=503)
        await asyncio.sleep(self.delay_ms / 1000)
        return web.json_response({"upstream": self.name, "traceparent": seen})

    def _behave(self, request: web.BaseRequest) -> web.Response:
        if request.method == "POST":
            try:
                self.delay_ms = max(int(request.query.get("delay_ms", self.delay_ms)), 0)
                self.fail_next = max(int(request.query.get("fail_next", self.fail_next)), 0)
            except ValueError:
                return web.Response(status=400, text="delay_ms and fail_next are whole numbers\n")
        state = {"upstream": self.name, "delay_ms": self.delay_ms, "fail_next": self.fail_next}
        return web.json_response({**state, "refused": self.refused})


async def serve(name: str) -> None:
    """Listen on a free port of 127.0.0.1, say which on standard error, and serve until cancelled."""
    runner = web.ServerRunner(web.Server(Upstream(name).answer, access_log=None))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        print(f"ready: listening on {host}:{port}", file=sys.stderr, flush=True)
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
