"""The echoing origin as an ASGI application, for uvicorn: `python -m tests.support.asgi` prints where it listens."""

import asyncio
import json
import socket
from typing import Any

import uvicorn

BIG = b"0123456789abcdef" * 65_536


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    body = b""
    while True:
        event = await receive()
        body += event.get("body", b"")
        if not event.get("more_body"):
            break
    path = scope["path"]
    if path == "/big":
        await _answer(send, 200, [(b"content-length", b"%d" % len(BIG))], BIG)
    elif path == "/chunked":
        await _answer(send, 200, [], *[b"hello "] * 5)
    elif path == "/empty":
        await _answer(send, 204, [])
    elif path == "/missing":
        await _answer(send, 404, [(b"content-length", b"4")], b"none")
    else:
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
        said = {
            "method": scope["method"],
            "target": target.decode(),
            "headers": headers,
            "body": body.decode("latin-1"),
        }
        await _answer(send, 200, [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")], json.dumps(said).encode())


async def _answer(send: Any, status: int, headers: list[tuple[bytes, bytes]], *parts: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for part in parts:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def main() -> None:
    """Serve until killed."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(128)
    print("{}:{}".format(*listening.getsockname()), flush=True)
    config = uvicorn.Config(app, log_level="critical", lifespan="off", ws="none")
    asyncio.run(uvicorn.Server(config).serve(sockets=[listening]))


if __name__ == "__main__":
    main()
