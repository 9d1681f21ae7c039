"""The examples of the filters Compress and CORS: whole configurations, run as they stand but for their addresses."""

from pathlib import Path

import pytest
import yaml

from tests.support.client import ask
from tests.support.codings import decode, encode
from tests.support.origin import Origin, answers
from tests.support.proxy import Data, running_proxy

DOCS = Path(__file__).parents[2] / "docs"
BODY = b'{"name": "a"}\n' * 30


def example(name: str, origin: str) -> Data:
    data: Data = yaml.safe_load((DOCS / "examples" / name).read_text())
    data["listeners"][0]["address"] = "127.0.0.1:0"
    data["clusters"][0]["static"]["endpoints"] = [origin]
    return {**data, "admin": {"address": None}}


@pytest.mark.parametrize("name", ["compress.yaml", "cors.yaml"])
def test_the_page_shows_the_filters_of_the_example(name: str) -> None:
    filters = example(name, "")["listeners"][0]["routes"][0]["rules"][0]["filters"]
    blocks = (DOCS / "filters.md").read_text().split("```yaml\n")[1:]
    assert {"filters": filters} in [yaml.safe_load(block.partition("```")[0]) for block in blocks]


async def test_the_example_of_compress_compresses_and_decompresses() -> None:
    reply = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
    async with Origin(answers(reply)) as origin:
        async with running_proxy(example("compress.yaml", origin.address)) as proxy:
            answered = await ask(proxy.address, b"GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: br\r\n\r\n")
            assert decode("br", answered.body) == BODY
            upload = encode("gzip", BODY)
            head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(upload)
            assert (await ask(proxy.address, head + upload)).status == 200
            bomb = encode("gzip", b"\0" * 2_000_000)
            head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
            assert (await ask(proxy.address, head + bomb)).status == 413
        assert origin.requests[1].body == BODY


async def test_the_example_of_cors_lets_the_shop_act_and_everybody_read() -> None:
    async with Origin() as origin, running_proxy(example("cors.yaml", origin.address)) as proxy:

        async def allowed(path: str, caller: str, method: str) -> bytes | None:
            lines = (
                f"OPTIONS {path} HTTP/1.1",
                "Host: a",
                f"Origin: {caller}",
                f"Access-Control-Request-Method: {method}",
            )
            answered = await ask(proxy.address, "\r\n".join(lines).encode() + b"\r\n\r\n")
            return answered.value(b"access-control-allow-origin")

        assert await allowed("/orders/1", "https://web.shop.example", "PUT") == b"https://web.shop.example"
        assert await allowed("/orders/1", "https://other.example", "PUT") is None
        assert await allowed("/catalogue", "https://other.example", "GET") == b"*"
        assert await allowed("/catalogue", "https://other.example", "PUT") is None
