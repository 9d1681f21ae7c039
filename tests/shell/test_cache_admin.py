"""The cache from outside: purge, explain, metrics, reloads, the command line, and what it costs when it is off."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
import yaml

from sidecar.cli import main
from sidecar.config.load import from_command_line, parse
from sidecar.config.model import CacheFilter
from sidecar.lifecycle.assemble import check
from sidecar.lifecycle.view import View
from tests.support.caching import by_target, cached, in_turn, reply, status_of
from tests.support.client import ask
from tests.support.origin import Origin, answers
from tests.support.process import sidecar
from tests.support.proxy import reverse, running_proxy

FRESH = b"Cache-Control: max-age=60"
CACHE = {"filters": [{"type": "Cache"}]}
MARKED = {"function": "authenticated:mark", "folder": str(Path(__file__).parents[1] / "support")}


async def test_a_purge_forgets_one_url_a_beginning_or_everything() -> None:
    page = reply(b"x", FRESH)
    async with cached(by_target(a=page, **{"img/1": page, "img/2": page, "b": page})) as cache:
        view = View(cache.proxy.proxy)
        for target in (b"/a", b"/img/1", b"/img/2", b"/b"):
            await cache.get(target)
        assert view.purge("http://shop.example/a") == 1
        assert view.purge("http://shop.example/img/*") == 2
        assert status_of(await cache.get(b"/b")).startswith("sidecar; hit")
        assert status_of(await cache.get(b"/a")).startswith("sidecar; fwd=uri-miss")
        assert view.purge("*") == 2
        with pytest.raises(ValueError, match="expected"):
            view.purge("/a")


async def test_a_proxy_without_a_cache_has_nothing_to_purge() -> None:
    async with Origin(answers(reply(b"x"))) as origin, running_proxy(reverse(origin.address)) as proxy:
        assert View(proxy.proxy).purge("*") is None


async def test_explain_says_what_the_cache_holds() -> None:
    async with cached(answers(reply(b"hello", FRESH))) as cache:
        await cache.get()
        (line,) = View(cache.proxy.proxy).explain("GET", "http://shop.example/a", [], None)["filters"]  # type: ignore[misc] # a list
        assert str(line).startswith("Cache: 1 entries, ")


async def test_results_are_counted() -> None:
    async with cached(answers(reply(b"hello", FRESH))) as cache:
        await cache.get()
        await cache.get()
        await cache.get(b"/a", method=b"POST")
        text = View(cache.proxy.proxy).metrics().decode()
        for result in ("miss", "hit", "bypass"):
            assert f'sidecar_filter_outcomes_total{{filter="Cache",outcome="{result}"}} 1.0' in text


async def test_an_answer_to_an_authenticated_caller_is_shared_only_where_it_says_so() -> None:
    pages = by_target(own=reply(b"own", FRESH), all=reply(b"all", b"Cache-Control: s-maxage=60"))
    async with cached(pages, rule={"filters": [{"type": "Python", "python": MARKED}, {"type": "Cache"}]}) as cache:
        for target, again in ((b"/own", "uri-miss"), (b"/all", "hit")):
            await cache.get(target)
            assert again in status_of(await cache.get(target))


async def test_a_reload_keeps_what_is_stored_as_long_as_the_rule_takes_the_same(tmp_path: Path) -> None:
    async with cached(answers(reply(b"hello", FRESH)), folder=tmp_path) as cache:
        await cache.get()
        larger = {"filters": [{"type": "Cache", "cache": {"maxBytes": 1 << 20}}]}
        await cache.proxy.reload(reverse(cache.origin.address, rule=larger))
        assert status_of(await cache.get()).startswith("sidecar; hit")
        other = {**CACHE, "matches": [{"path": {"value": "/a"}}]}
        await cache.proxy.reload(reverse(cache.origin.address, rule=other))
        assert status_of(await cache.get()).startswith("sidecar; fwd=uri-miss")
        await cache.proxy.reload(reverse(cache.origin.address))
        assert (await cache.get()).value(b"cache-status") is None
        assert View(cache.proxy.proxy).purge("*") is None


async def test_rules_of_one_name_share_a_store_so_that_a_post_forgets_what_a_get_stored() -> None:
    shared = [{"type": "Cache", "cache": {"name": "pages"}}]
    async with Origin(answers(reply(b"hello", FRESH))) as origin:
        config = reverse(origin.address)
        rules = [
            {"matches": [{"method": method}], "filters": shared, "backendRefs": [{"name": "app"}]}
            for method in ("GET", "POST")
        ]
        config["listeners"][0]["routes"] = [{"rules": rules}]
        async with running_proxy(config) as proxy:
            async with aiohttp.ClientSession(f"http://{proxy.address}") as session:
                for method, status in (("GET", "uri-miss"), ("GET", "hit"), ("POST", "method"), ("GET", "uri-miss")):
                    async with session.request(method, "/a") as response:
                        assert status in response.headers["Cache-Status"]


def test_checking_a_configuration_makes_no_store_and_no_folder(tmp_path: Path) -> None:
    rule = {"filters": [{"type": "Cache", "cache": {"disk": {"path": str(tmp_path / "x")}}}]}
    check(parse(reverse("127.0.0.1:9", rule=rule)))
    assert not (tmp_path / "x").exists()


def test_a_proxy_without_a_cache_does_not_import_it() -> None:
    code = "import sys, sidecar.lifecycle.proxy; print([name for name in sys.modules if 'filters.cache' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_cache_in_memory_does_not_import_the_disk() -> None:
    code = "import sys, sidecar.filters.cache; print('sidecar.filters.cache.disk' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_command_line_takes_a_cache_before_compression() -> None:
    config = from_command_line(":0", ["127.0.0.1:9"], cache=True, compress=True)
    filters = config.listeners[0].routes[0].rules[0].filters
    assert isinstance(filters[0], CacheFilter)
    assert len(filters) == 2


async def test_the_laptops_proxy_caches_and_its_admin_page_purges(tmp_path: Path) -> None:
    async with Origin(answers(reply(b"hello", FRESH))) as origin:
        admin = f"unix:{tmp_path}/admin"
        arguments = ("proxy", "--from", f"unix:{tmp_path}/in", "--to", origin.address, "--admin", admin, "--cache")
        async with sidecar(*arguments):
            async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(f"{tmp_path}/in")) as session:
                for status in ("uri-miss", "hit"):
                    async with session.get("http://shop.example/a") as response:
                        assert status in response.headers["Cache-Status"]
            async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(f"{tmp_path}/admin")) as session:
                async with session.post("http://a/cache/purge", params={"url": "http://shop.example/a"}) as response:
                    assert json.loads(await response.text()) == {"purged": 1}
                async with session.post("http://a/cache/purge") as response:
                    assert response.status == 400
                async with session.get("http://a/cache/purge") as response:
                    assert response.status == 405


def test_a_mistake_is_named_with_its_field(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "c.yaml"
    rule = {"filters": [{"type": "Cache", "cache": {"identifier": "ä"}}]}
    file.write_text(json.dumps(reverse("127.0.0.1:9", rule=rule)))
    assert main(["check", "--config", str(file)]) == 2
    assert "filters[0].cache.identifier: expected up to 64 printable ASCII" in capsys.readouterr().err


async def test_the_example_serves_from_the_store_while_the_app_is_down(tmp_path: Path) -> None:
    example = yaml.safe_load((Path(__file__).parents[2] / "docs/examples/cache.yaml").read_text())
    async with Origin(answers(reply(b"hello", b"Cache-Control: max-age=0", b'ETag: "1"'))) as origin:
        example["listeners"][0]["address"] = "127.0.0.1:0"
        example["clusters"][0]["static"]["endpoints"] = [origin.address]
        example["admin"]["address"] = None
        async with running_proxy(example, folder=tmp_path) as proxy:
            get = b"GET /a HTTP/1.1\r\nHost: shop.example\r\n\r\n"
            assert (await ask(proxy.address, get)).body == b"hello"
            await origin.stop()
            assert status_of(await ask(proxy.address, get)).startswith("sidecar; fwd=stale; ")


async def test_before_compression_it_keeps_what_is_compressed_for_each_coding() -> None:
    page = reply(b"hello " * 1000, b"Cache-Control: max-age=60", b"Content-Type: text/plain", b'ETag: "1"')
    both = {"filters": [{"type": "Cache"}, {"type": "Compress", "compress": {"encodings": ["gzip"]}}]}
    async with cached(in_turn(page, page, reply(b"", b'ETag: "1"', FRESH, status=b"304 N")), rule=both) as cache:
        for line, coding in ((b"Accept-Encoding: gzip", b"gzip"), (b"X: y", None), (b"Accept-Encoding: GZIP", b"gzip")):
            answer = await cache.get(b"/a", line)
            assert answer.value(b"content-encoding") == coding
            plain = gzip.decompress(answer.body) if coding else answer.body
            assert plain == b"hello " * 1000
        assert len(cache.asked) == 2
        assert status_of(answer).startswith("sidecar; hit")
        cache.pass_time(100)
        again = await cache.get(b"/a", b"Accept-Encoding: gzip")
        assert "fwd=stale; fwd-status=304" in status_of(again)
        assert gzip.decompress(again.body) == b"hello " * 1000


async def test_filters_around_it_change_what_comes_from_the_store_and_not_what_is_stored() -> None:
    outer = {"responseHeaderModifier": {"set": [{"name": "X-Own", "value": "2"}], "remove": ["X-Gone"]}}
    rule = {"filters": [{"type": "ResponseHeaderModifier", **outer}, {"type": "Cache"}]}
    async with cached(answers(reply(b"hello", FRESH, b"X-Own: 1", b"X-Gone: 1")), rule=rule) as cache:
        for _ in range(2):
            answer = await cache.get()
            assert (answer.values(b"x-own"), answer.value(b"x-gone")) == ([b"2"], None)
        (entry,) = cache.entries
        assert (b"X-Own", b"1") in entry.lines
