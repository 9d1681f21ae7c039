"""The filter author's page: its examples are files, run through the real loader, and the page shows exactly them."""

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.check_routes import check_route
from sidecar.config.model import PythonFilterFilter, Route, Rule
from sidecar.filters import FilterContext, build
from sidecar.model import Filter, Response
from tests.support.filters import Upstream, no_mirror, read, request, stream

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/filters.md").read_text()
ROUTES = (ROOT / "docs/routes.md").read_text()
EXAMPLES = ROOT / "docs/examples/filters"


def fenced(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def made(name: str) -> Filter:
    """The filter as the page configures it."""
    specs = [spec for block in fenced(PAGE, "yaml") for spec in yaml.safe_load(block).get("filters", [])]
    data = next(spec for spec in specs if spec["type"] == "Python" and spec["python"]["function"].startswith(name))
    spec = msgspec.convert(data, PythonFilterFilter)
    return build(spec, FilterContext(mirror=no_mirror, config_folder=str(EXAMPLES.parent)), "$")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_the_page_shows_exactly_the_code_of_each_example(path: Path) -> None:
    assert path.read_text() in fenced(PAGE, "python")


def test_the_page_shows_three_examples() -> None:
    assert len(fenced(PAGE, "python")) - 1 == len(list(EXAMPLES.glob("*.py"))) == 3  # and the shape of a filter


@pytest.mark.parametrize("block", fenced(PAGE, "yaml") + fenced(ROUTES, "yaml"))
def test_the_configuration_shown_is_one(block: str) -> None:
    data = yaml.safe_load(block)
    rule = msgspec.convert({**data, "backendRefs": []} if "filters" in data else {}, Rule)
    route = msgspec.convert(data["routes"][0], Route) if "routes" in data else Route(rules=(rule,))
    names = {ref.name for each in route.rules for ref in each.backend_refs}
    check_route(route, "$", names | {"shadow"})
    assert data.keys() <= {"filters", "routes"}


async def test_crawlers_are_answered_without_asking_the_app() -> None:
    upstream = Upstream()
    around = made("crawlers")
    robots = await around(request(b"/robots.txt?x"), upstream)
    assert (robots.status, robots.body) == (200, b"User-agent: *\nDisallow: /\n")
    assert (await around(request(headers=[(b"user-agent", b"Mozilla (GPTBot/1.1)")]), upstream)).status == 403
    assert upstream.requests == []
    assert (await around(request(headers=[(b"User-Agent", b"curl")]), upstream)).body == b"hello"
    assert (await around(request(), upstream)).body == b"hello"


async def test_a_known_key_names_the_tenant_and_a_client_cannot_name_itself() -> None:
    upstream = Upstream()
    around = made("tenant")
    await around(request(headers=[(b"x-api-key", b"k-123"), (b"X-Tenant", b"globex")]), upstream)
    assert upstream.requests[0].headers == [(b"Host", b"shop.example"), (b"X-Tenant", b"acme")]
    assert (await around(request(headers=[(b"X-Api-Key", b"wrong"), (b"X-Tenant", b"acme")]), upstream)).status == 401
    assert (await around(request(), upstream)).status == 401
    assert len(upstream.requests) == 1


def text(body: object, *headers: tuple[bytes, bytes]) -> Response:
    return Response(200, [(b"Content-Type", b"text/plain"), *headers], body)  # type: ignore[arg-type]  # bytes or stream


async def test_a_masked_body_streams_with_its_framing_made_anew() -> None:
    upstream = Upstream(
        text(stream([b"hello pro", b"ject-x", b", pro"]), (b"Content-Length", b"18"), (b"ETag", b'"1"'))
    )
    response = await made("mask")(request(headers=[(b"Accept-Encoding", b"gzip"), (b"Range", b"bytes=0-1")]), upstream)
    assert upstream.requests[0].headers == [(b"Host", b"shop.example"), (b"Accept-Encoding", b"identity")]
    assert response.headers == [(b"Content-Type", b"text/plain")]
    assert not isinstance(response.body, bytes)
    assert [chunk async for chunk in response.body] == [b"hello ", b"*********", b", ", b"pro"]


async def test_a_small_body_is_masked_whole_and_others_pass_untouched() -> None:
    around = made("mask")
    response = await around(request(), Upstream(text(b"project-x!", (b"Content-Length", b"10"))))
    assert (response.body, response.headers.get("content-length")) == (b"*********!", "10")
    for other in (text(b"project-x", (b"Content-Encoding", b"br")), Response(200, body=b"project-x")):
        assert (await around(request(), Upstream(other))).body == b"project-x"
    head = text(b"", (b"Content-Length", b"99"))
    assert (await around(request(method="HEAD"), Upstream(head))).headers.get("content-length") == "99"


@given(st.lists(st.sampled_from([b"p", b"pro", b"project-", b"x", b"ject-x", b"project-x", b"", b"prproject"])))
async def test_wherever_chunks_cut_the_word_the_masked_stream_is_the_masked_whole(chunks: Sequence[bytes]) -> None:
    response = await made("mask")(request(), Upstream(text(stream(chunks))))
    assert await read(response.body) == b"".join(chunks).replace(b"project-x", b"*" * 9)
