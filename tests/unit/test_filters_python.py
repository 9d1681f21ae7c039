"""Python filters: how the operator's code is found, what it is told when wrong, and that its failures stay in it."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import pytest

from sidecar.config.model import PythonFilter, PythonFilterFilter
from sidecar.errors import ConfigError, FilterFailed, NoRoute, UpstreamReset
from sidecar.filters import FilterContext, build
from sidecar.model import Filter, Request, Response
from tests.support.filters import Upstream, no_mirror, read, request, stream

HEAD = "from sidecar.model import Response\n"


@pytest.fixture(autouse=True)
def _forget_modules() -> Iterator[None]:
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("sidecar_filters_"):
            del sys.modules[name]


@pytest.fixture
def context(tmp_path: Path) -> FilterContext:
    return FilterContext(mirror=no_mirror, config_folder=str(tmp_path))


def write(context: FilterContext, code: str, name: str = "mine.py") -> None:
    path = Path(context.config_folder) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEAD + dedent(code))


def make(
    context: FilterContext,
    function: str = "mine:it",
    settings: dict[str, object] | None = None,
    folder: str = "",
    name: str = "",
) -> Filter:
    spec = PythonFilter(function=function, folder=folder, settings=settings or {}, name=name)
    return build(PythonFilterFilter(python=spec), context, "$.f[0]")


def wrong(context: FilterContext, **arguments: object) -> str:
    with pytest.raises(ConfigError) as caught:
        make(context, **arguments)  # type: ignore[arg-type]  # as given by the test
    return str(caught.value)


# --- loading --------------------------------------------------------------------------------------------------------


async def test_a_function_of_a_module_stands_around_the_rest_of_the_path(context: FilterContext) -> None:
    write(
        context,
        """
        async def it(request, forward):
            request.headers.add("X-Up", "1")
            response = await forward(request)
            response.headers.add("X-Down", "2")
            return response
    """,
    )
    upstream = Upstream()
    response = await make(context)(request(), upstream)
    assert upstream.requests[0].headers.get("x-up") == "1"
    assert (response.headers.get("x-down"), response.body) == ("2", b"hello")
    await response.aclose()
    assert upstream.closed == 1


@pytest.mark.parametrize(
    "signature", ["request, forward, *, settings", "request, forward, settings", "a, b, **settings_too"]
)
async def test_settings_come_as_a_keyword_where_the_function_takes_them(context: FilterContext, signature: str) -> None:
    write(
        context,
        f"""
        async def it({signature}):
            return Response(200, body=repr(dict(locals()).get("settings")).encode())
    """,
    )
    takes = "settings_too" not in signature
    response = await make(context, settings={"limit": 3} if takes else None)(request(), Upstream())
    assert response.body == (b"{'limit': 3}" if takes else b"None")


async def test_files_of_a_folder_import_each_other_and_the_import_path_stays_as_it_is(context: FilterContext) -> None:
    before = list(sys.path)
    write(context, "from .words import WORD\nfrom . import deep\nfrom .deep.er import MORE", "ours/mine.py")
    write(context, "WORD = b'siblings'", "ours/words.py")
    write(context, "", "ours/deep/__init__.py")
    write(
        context,
        """
        from ..words import WORD
        MORE = b" and packages"

        async def it(request, forward):
            return Response(200, body=WORD + MORE)
    """,
        "ours/deep/er.py",
    )
    make_error = wrong(context, function="mine:missing", folder="ours")
    assert "no `missing`" in make_error
    response = await make(context, function="deep.er:it", folder="ours")(request(), Upstream())
    assert response.body == b"siblings and packages"
    assert sys.path == before


async def test_two_folders_may_hold_modules_of_one_name_even_that_of_a_library(context: FilterContext) -> None:
    for folder in ("a", "b"):
        write(context, f"async def it(request, forward): return Response(200, body=b'{folder}')", f"{folder}/json.py")
    filters = [make(context, function="json:it", folder=folder) for folder in ("a", "b")]
    assert [(await each(request(), Upstream())).body for each in filters] == [b"a", b"b"]
    assert sys.modules["json"].__name__ == "json"


async def test_a_module_is_loaded_once_a_configuration_and_anew_by_the_next_one(context: FilterContext) -> None:
    code = """
        SEEN = []
        async def it(request, forward):
            SEEN.append({!r})
            return Response(200, body=" ".join(SEEN).encode())
    """
    write(context, code.format("old"))
    first, second = make(context), make(context)
    assert (await first(request(), Upstream())).body == b"old"
    assert (await second(request(), Upstream())).body == b"old old"
    write(context, code.format("newer"))
    next_one = make(FilterContext(mirror=no_mirror, config_folder=context.config_folder))
    assert (await next_one(request(), Upstream())).body == b"newer"
    assert (await first(request(), Upstream())).body == b"old old old"


def test_what_is_wrong_with_a_filter_is_one_line_with_its_field(context: FilterContext, tmp_path: Path) -> None:
    signatures = "`async def it(request, forward)` or `async def it(request, forward, *, settings)`"
    write(context, "")
    write(context, "def it(request, forward): ...", "plain.py")
    write(context, "async def it(request): ...", "few.py")
    write(context, "async def it(request, forward, more): ...", "many.py")
    write(context, "async def it(request, forward): ...", "none.py")
    assert wrong(context, folder="gone") == f"$.f[0].python.folder: no such folder: {tmp_path}/gone"
    assert (
        wrong(context, function="absent:it") == f"$.f[0].python.function: no module `absent` in the folder {tmp_path}"
    )
    assert wrong(context, function="mine.absent:it").startswith("$.f[0].python.function: no module `mine.absent`")
    assert wrong(context) == f"$.f[0].python.function: the module `mine` has no `it`; expected {signatures}"
    assert (
        wrong(context, function="plain:it")
        == f"$.f[0].python.function: `it` is no coroutine function; expected {signatures}"
    )
    assert (
        wrong(context, function="few:it")
        == f"$.f[0].python.function: `it(request)` cannot be called; expected {signatures}"
    )
    assert "`it(request, forward, more)` cannot be called" in wrong(context, function="many:it")
    assert wrong(context, function="none:it", settings={"a": 1}).startswith(
        "$.f[0].python.settings: `none:it` takes no settings"
    )


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("\nraise ValueError('bad\\nvalue')", r"importing it failed: ValueError: bad\nvalue (mine.py line 3)"),
        ("def broken(:", "importing it failed: SyntaxError: invalid syntax (mine.py, line 2)"),
        ("import sys\nsys.exit('no')", "importing it failed: SystemExit: no (mine.py line 3)"),
        (
            "import no_such_library",
            "importing it failed: ModuleNotFoundError: No module named 'no_such_library' (mine.py line 2)",
        ),
        (
            "import words",
            (
                "importing it failed: ModuleNotFoundError: No module named 'words' (mine.py line 2); "
                "a file of the same folder is imported by `from . import words`"
            ),
        ),
    ],
)
def test_a_module_that_cannot_be_imported_says_why_and_where(context: FilterContext, code: str, message: str) -> None:
    write(context, code)
    write(context, "", "words.py")
    assert wrong(context) == f"$.f[0].python.function: {message}"


# --- failures -------------------------------------------------------------------------------------------------------


async def failed(around: Filter, upstream: Upstream) -> FilterFailed:
    with pytest.raises(FilterFailed) as caught:
        await around(request(), upstream)
    return caught.value


@pytest.mark.parametrize("before", ["pass", "await forward(request)", "await forward(request); await forward(request)"])
async def test_an_exception_is_the_filters_by_name_alone_and_gives_each_response_back(
    context: FilterContext, before: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(
        context,
        f"""
        async def it(request, forward):
            {before}
            raise KeyError("secret\\n")
    """,
    )
    upstream = Upstream()
    error = await failed(make(context, name="my filter"), upstream)
    assert str(error) == "the filter my filter failed"
    assert (error.status, error.error_type) == (500, "filter_failed")
    assert isinstance(error.__cause__, KeyError)
    assert upstream.closed == before.count("forward")
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("sidecar.filters", logging.ERROR)
    assert record.getMessage().splitlines()[0] == r"""filter my filter failed: KeyError: "'secret\\n'" """.rstrip()
    assert 'raise KeyError("secret' in record.getMessage()


async def test_the_log_has_one_line_a_minute_and_counts_the_rest(
    context: FilterContext, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(context, "async def it(request, forward): raise ValueError")
    around, now = make(context), 1000.0
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
    for _ in range(3):
        await failed(around, Upstream())
    assert len(caplog.records) == 1
    now += 60
    await failed(around, Upstream())
    assert "(2 more failures since the last line)" in caplog.records[1].getMessage()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("None", "it returned NoneType, expected Response"),
        ("'text'", "it returned str, expected Response"),
        ("Response('200')", "its response has the status '200', expected 200 to 599"),
        ("Response(101)", "its response has the status 101, expected 200 to 599"),
        ("Response(1000)", "its response has the status 1000, expected 200 to 599"),
        ("Response(200, body='text')", "a body is str, expected bytes or an async iterator of bytes"),
        ("Response(200, [('X', 'y')])", "a header of its response is not a pair of bytes without line breaks"),
        (
            "Response(200, [(b'X', b'y\\r\\nSet-Cookie: a=b')])",
            "a header of its response is not a pair of bytes without line breaks",
        ),
    ],
)
async def test_an_answer_that_is_no_response_is_a_failure_and_leaks_nothing(
    context: FilterContext, answer: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(
        context,
        f"""
        async def it(request, forward):
            await forward(request)
            return {answer}
    """,
    )
    upstream = Upstream()
    await failed(make(context), upstream)
    assert upstream.closed == 1
    assert message in caplog.text


async def test_a_request_that_would_break_out_of_its_header_goes_no_further(
    context: FilterContext, caplog: pytest.LogCaptureFixture
) -> None:
    write(
        context,
        r"""
        async def it(request, forward):
            request.headers.add("X", "a\nb")
            return await forward(request)
    """,
    )
    upstream = Upstream()
    await failed(make(context), upstream)
    assert upstream.requests == []
    assert "a header of the request" in caplog.text


async def test_errors_of_the_rest_of_the_path_pass_through_untouched(context: FilterContext) -> None:
    write(context, "async def it(request, forward): return await forward(request)")
    for error in (NoRoute("nowhere"), LookupError("a bug of ours")):

        async def fail(_: Request, error: Exception = error) -> Response:
            raise error

        with pytest.raises(type(error)) as caught:
            await make(context)(request(), fail)
        assert caught.value is error


async def test_the_code_may_refuse_with_an_error_of_the_proxy(context: FilterContext) -> None:
    write(
        context,
        """
        from sidecar.errors import BadRequest
        async def it(request, forward):
            await forward(request)
            raise BadRequest("not like this")
    """,
    )
    upstream = Upstream()
    with pytest.raises(Exception, match="not like this") as caught:
        await make(context)(request(), upstream)
    assert type(caught.value).__name__ == "BadRequest"
    assert upstream.closed == 1


async def test_cancellation_passes_through_and_gives_the_response_back(context: FilterContext) -> None:
    write(
        context,
        """
        import asyncio
        async def it(request, forward, *, settings):
            await forward(request)
            settings["reached"].set()
            await asyncio.Event().wait()
    """,
    )
    upstream, reached = Upstream(), asyncio.Event()
    around = make(context, settings={"reached": reached})

    async def ask() -> None:
        await around(request(), upstream)

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(ask())
        await reached.wait()
        task.cancel()
    assert task.cancelled()
    assert upstream.closed == 1


async def test_a_response_that_was_put_aside_is_given_back_with_the_one_returned(context: FilterContext) -> None:
    write(
        context,
        """
        async def it(request, forward):
            first, second = await forward(request), await forward(request)
            return Response(200, body=first.body)
    """,
    )
    upstream = Upstream(Response(200, body=stream([b"a", b"b"])))
    response = await make(context)(request(), upstream)
    assert upstream.closed == 0
    assert await read(response.body) == b"ab"
    await response.aclose()
    await response.aclose()
    assert upstream.closed == 2


async def test_a_response_that_comes_when_the_filter_is_over_is_given_back_at_once(context: FilterContext) -> None:
    write(
        context,
        """
        import asyncio
        TASKS = set()
        async def it(request, forward):
            TASKS.add(asyncio.get_running_loop().create_task(forward(request)))
            await asyncio.sleep(0)
            return Response(204)
    """,
    )
    gate = asyncio.Event()
    upstream = Upstream()

    async def slow(request_: Request) -> Response:
        await gate.wait()
        return await upstream(request_)

    response = await make(context)(request(), slow)
    assert response.status == 204
    gate.set()
    (task,) = next(found.TASKS for found in list(sys.modules.values()) if _is_from(context, found))
    await task
    assert upstream.closed == 1


def _is_from(context: FilterContext, module: ModuleType) -> bool:
    return (getattr(module, "__file__", None) or "").startswith(context.config_folder) and hasattr(module, "TASKS")


async def test_a_response_may_be_made_while_the_body_streams(context: FilterContext) -> None:
    write(
        context,
        """
        async def louder(body):
            async for chunk in body:
                yield chunk.upper()

        async def it(request, forward):
            response = await forward(request)
            response.set_body(louder(response.body))
            return response
    """,
    )
    sent: list[bytes] = []

    async def body() -> AsyncIterator[bytes]:
        for chunk in (b"a", b"b"):
            sent.append(chunk)
            yield chunk

    response = await make(context)(request(), Upstream(Response(200, [(b"Content-Length", b"2")], body(), length=2)))
    assert (response.length, response.headers) == (None, [])
    assert not isinstance(response.body, bytes)
    assert await anext(response.body) == b"A"
    assert sent == [b"a"]
    assert await read(response.body) == b"B"


def bodies(code: str) -> str:
    return f"""
        async def made(body):
            async for chunk in body:
                {code}

        async def it(request, forward):
            response = await forward(request)
            response.set_body(made(response.body))
            return response
    """


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("yield chunk; raise ValueError('secret')", "ValueError: 'secret'"),
        ("yield chunk; yield 'text'", "a chunk of its body is str, expected bytes"),
        ("yield chunk; raise SystemExit(3)", "SystemExit"),
    ],
)
async def test_a_failure_while_the_body_streams_is_the_filters_too(
    context: FilterContext, caplog: pytest.LogCaptureFixture, code: str, message: str
) -> None:
    write(context, bodies(code))
    upstream = Upstream(Response(200, body=stream([b"a", b"b"])))
    response = await make(context)(request(), upstream)
    assert not isinstance(response.body, bytes)
    assert await anext(response.body) == b"a"
    with pytest.raises(FilterFailed, match=r"the filter mine:it failed$"):
        await anext(response.body)
    assert message in caplog.text
    await response.aclose()
    assert upstream.closed == 1


async def test_errors_of_the_upstream_pass_through_a_body_that_the_filter_makes(context: FilterContext) -> None:
    async def cut() -> AsyncIterator[bytes]:
        yield b"a"
        raise UpstreamReset("cut off")

    write(context, bodies("yield chunk"))
    response = await make(context)(request(), Upstream(Response(200, body=cut())))
    with pytest.raises(UpstreamReset):
        await read(response.body)


async def test_empty_chunks_of_a_made_body_are_left_out(context: FilterContext) -> None:
    write(context, bodies("yield b''; yield chunk; yield b''"))
    response = await make(context)(request(), Upstream(Response(200, body=stream([b"a", b"b"]))))
    assert not isinstance(response.body, bytes)
    assert [chunk async for chunk in response.body] == [b"a", b"b"]


@pytest.mark.parametrize("after", ["pass", "raise ValueError('in the end')"])
async def test_a_made_body_that_nobody_reads_on_is_ended_before_the_response_is_given_back(
    context: FilterContext, caplog: pytest.LogCaptureFixture, after: str
) -> None:
    write(
        context,
        f"""
        async def made(body, request):
            try:
                async for chunk in body:
                    yield chunk
            finally:
                request.headers.add("X-Ended", "1")
                {after}

        async def it(request, forward):
            response = await forward(request)
            response.set_body(made(response.body, request))
            return response
    """,
    )
    sent, upstream = request(), Upstream(Response(200, body=stream([b"a", b"b"])))
    response = await make(context)(sent, upstream)
    assert not isinstance(response.body, bytes)
    assert await anext(response.body) == b"a"
    assert sent.headers.get("x-ended") is None
    await response.aclose()
    assert sent.headers.get("x-ended") == "1"
    assert upstream.closed == 1
    assert ("in the end" in caplog.text) is (after != "pass")


async def test_a_request_body_that_the_filter_makes_is_contained_too_and_the_clients_own_is_not_wrapped(
    context: FilterContext, caplog: pytest.LogCaptureFixture
) -> None:
    write(
        context,
        """
        async def made(body):
            async for chunk in body:
                yield chunk * 2
            raise ValueError("in the request")

        class Plain:
            def __init__(self, chunks): self.chunks = chunks
            def __aiter__(self): return self
            async def __anext__(self):
                if not self.chunks: raise StopAsyncIteration
                return self.chunks.pop()

        async def it(request, forward):
            if request.path == "/own":
                return await forward(request)
            if request.path == "/plain":
                request.set_body(Plain([b"x"]))
                response = await forward(request)
                response.set_body(Plain([b"y"]))
                return response
            request.set_body("text" if request.path == "/text" else made(request.body))
            return await forward(request)
    """,
    )
    around = make(context)
    own, upstream = stream([b"a"]), Upstream()
    sent = request(b"/own", method="POST", body=own, length=1)
    await around(sent, upstream)
    assert sent.body is own
    assert upstream.bodies == [b"a"]
    response = await around(request(b"/plain"), upstream)
    assert (upstream.bodies[-1], await read(response.body)) == (b"x", b"y")
    await response.aclose()
    for target in (b"/made", b"/text"):
        with pytest.raises(FilterFailed):
            await make(context)(request(target, method="POST", body=stream([b"a"]), length=1), upstream)
    assert len(upstream.bodies) == 2
    assert "in the request" in caplog.text
    assert "a body is str" in caplog.text


async def test_code_that_exits_does_not_end_the_sidecar(context: FilterContext) -> None:
    write(context, "async def it(request, forward): raise SystemExit(1)")
    await failed(make(context), Upstream())


@pytest.mark.parametrize(
    ("answer", "method", "reason", "headers"),
    [
        ("Response(403, [(b'X', b'1')], b'no')", "GET", b"Forbidden", [(b"X", b"1"), (b"Content-Length", b"2")]),
        ("Response(200)", "GET", b"OK", [(b"Content-Length", b"0")]),
        ("Response(200, [(b'content-length', b'9')], b'no')", "GET", b"OK", [(b"Content-Length", b"2")]),
        ("Response(200, [(b'Content-Length', b'9')])", "HEAD", b"OK", [(b"Content-Length", b"9")]),
        ("Response(304, [(b'Content-Length', b'9')])", "GET", b"Not Modified", [(b"Content-Length", b"9")]),
        ("Response(204, [(b'Content-Length', b'0')])", "GET", b"No Content", []),
        ("Response(299, reason=b'Fine')", "GET", b"Fine", [(b"Content-Length", b"0")]),
        ("Response(299)", "GET", b"", [(b"Content-Length", b"0")]),
    ],
)
async def test_a_response_of_the_filters_own_is_given_framing_and_reason(
    context: FilterContext, answer: str, method: str, reason: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    write(context, f"async def it(request, forward): return {answer}")
    response = await make(context)(request(method=method), Upstream())
    assert (response.reason, response.headers) == (reason, headers)


async def test_a_switch_of_protocols_from_upstream_passes(context: FilterContext) -> None:
    write(context, "async def it(request, forward): return await forward(request)")
    switch = Response(101, [(b"Upgrade", b"websocket")])
    assert await make(context)(request(), Upstream(switch)) is switch
    assert switch.headers == [(b"Upgrade", b"websocket")]
