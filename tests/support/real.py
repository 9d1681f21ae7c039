"""Real HTTP clients and servers as processes: curl, Node, Go, uvicorn, nginx; a test skips by name what is missing."""

import asyncio
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest
import requests

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WITHIN = 30.0
Case: TypeAlias = dict[str, Any]
Answer: TypeAlias = dict[str, Any]
Ask: TypeAlias = Callable[[str, list[Case]], Awaitable[list[Answer]]]


def tool(name: str) -> str:
    """Its path; skips the test, naming it, where it is missing."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


async def go_program() -> str:
    """`go/main.go`, built once for its source into `.cache/`."""
    go = tool("go")
    sources = sorted((HERE / "go").glob("*"))
    mark = hashlib.sha256(b"".join(each.read_bytes() for each in sources)).hexdigest()[:16]
    target = ROOT / ".cache" / f"probe-{mark}"
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        fresh = target.with_suffix(f".{os.getpid()}")
        process = await asyncio.create_subprocess_exec(
            go,
            "build",
            "-o",
            str(fresh),
            ".",
            cwd=HERE / "go",
            env={**os.environ, "GOFLAGS": "-mod=mod", "GOWORK": "off"},
        )
        assert await process.wait() == 0, "go build failed"
        fresh.rename(target)
    return str(target)


@asynccontextmanager
async def serving(*command: str) -> AsyncIterator[str]:
    """A server that prints the address where it listens, until the block ends."""
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(WITHIN):
            yield (await process.stdout.readline()).decode().strip()
    finally:
        process.kill()
        await process.communicate()


@asynccontextmanager
async def nginx(folder: Path) -> AsyncIterator[str]:
    """It serves `folder/www`, and takes any method at /any."""
    program = tool("nginx")
    path = tempfile.mkdtemp(prefix="nginx")  # a Unix socket's path is short
    user = "user root;" if os.getuid() == 0 else ""
    temporary = "".join(f" {name}_temp_path {folder};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(
        f"{user} daemon off; worker_processes 1; pid {folder}/pid; error_log stderr crit; events {{}}\n"
        f"http {{ access_log off; {temporary} keepalive_requests 100000; server {{ listen unix:{path}/s;"
        f" root {folder}/www; etag on; location /any {{ return 200 '$request_method $request_uri'; }} }} }}\n"
    )
    process = await asyncio.create_subprocess_exec(program, "-p", str(folder), "-c", str(folder / "nginx.conf"))
    try:
        async with asyncio.timeout(WITHIN):
            while not os.path.exists(f"{path}/s"):  # noqa: ASYNC240, PTH110 - a look that does not block
                await asyncio.sleep(0.01)
        yield f"unix:{path}/s"
    finally:
        process.terminate()
        await process.wait()
        shutil.rmtree(path)


async def _program(cases: list[Case], *command: str) -> list[Answer]:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(WITHIN):
        out, _ = await process.communicate(json.dumps(cases).encode())
    assert process.returncode == 0, command
    answers: list[Answer] = json.loads(out)
    return answers


async def ask_node(base: str, cases: list[Case]) -> list[Answer]:
    return await _program(cases, tool("node"), str(HERE / "node" / "client.mjs"), base)


async def ask_go(base: str, cases: list[Case]) -> list[Answer]:
    return await _program(cases, await go_program(), "ask", base)


async def ask_curl(base: str, cases: list[Case]) -> list[Answer]:
    """One process, one connection, all cases (`--next`)."""
    with tempfile.TemporaryDirectory() as folder:
        words = [tool("curl"), "--silent", "--show-error"]
        for at, case in enumerate(cases):
            words += ["--next"] if at else []
            words += ["--request", case["method"]] if case["method"] != "HEAD" else ["--head"]
            words += [word for name, value in case["headers"] for word in ("--header", f"{name}: {value}")]
            words += ["--header", "Expect:"] if "Expect" not in dict(case["headers"]) else []
            words += ["--header", "Transfer-Encoding: chunked"] if case["chunked"] else []
            if case["body"]:
                (Path(folder) / f"{at}.in").write_text(case["body"])
                words += ["--data-binary", f"@{folder}/{at}.in"]
            words += ["--output", f"{folder}/{at}.body", "--dump-header", f"{folder}/{at}.head", "--globoff"]
            words += ["--path-as-is", base + case["path"]]
        process = await asyncio.create_subprocess_exec(*words)
        async with asyncio.timeout(WITHIN):
            assert await process.wait() == 0
        return [_curl_answer(Path(folder), at) for at in range(len(cases))]


def _curl_answer(folder: Path, at: int) -> Answer:
    heads = (folder / f"{at}.head").read_bytes().decode("latin-1").split("\r\n\r\n")
    head = next(text for text in heads if not text.startswith("HTTP/1.1 1"))
    line, *fields = head.split("\r\n")
    _, status, reason = line.split(" ", 2)
    headers = [list(field.partition(": ")[::2]) for field in fields]
    body = folder / f"{at}.body"
    text = body.read_bytes().decode("latin-1") if body.exists() else ""
    text = "" if text.startswith("HTTP/1.1 ") else text  # for HEAD it writes the head there too
    return {"status": int(status), "reason": reason, "headers": headers, "body": text}


def _plain(answer: Any, headers: list[tuple[str, str]], reason: str) -> Answer:
    body = answer.content.decode("latin-1")
    return {"status": answer.status_code, "reason": reason, "headers": [list(pair) for pair in headers], "body": body}


async def ask_requests(base: str, cases: list[Case]) -> list[Answer]:
    def all_cases() -> list[Answer]:
        answers = []
        with requests.Session() as session:
            session.trust_env = False
            for case in cases:
                body = _parts(case["body"]) if case["chunked"] else case["body"] or None
                one = session.request(
                    case["method"], base + case["path"], headers=dict(case["headers"]), data=body, timeout=WITHIN,
                    allow_redirects=False,
                )  # fmt: skip
                session.cookies.clear()
                answers.append(_plain(one, list(one.raw.headers.items()), one.reason))
        return answers

    return await asyncio.to_thread(all_cases)


async def ask_httpx(base: str, cases: list[Case]) -> list[Answer]:
    answers = []
    async with httpx.AsyncClient(trust_env=False, timeout=WITHIN) as session:
        for case in cases:
            body = _async_parts(case["body"]) if case["chunked"] else case["body"] or None
            headers = [tuple(pair) for pair in case["headers"]]
            one = await session.request(case["method"], base + case["path"], headers=headers, content=body)
            session.cookies.clear()
            raw = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in one.headers.raw]
            answers.append(_plain(one, raw, one.reason_phrase))
    return answers


def _parts(body: str) -> Any:
    yield from (body[at : at + 7].encode() for at in range(0, len(body), 7))


async def _async_parts(body: str) -> AsyncIterator[bytes]:
    for part in _parts(body):
        yield part


def python(module: str) -> tuple[str, ...]:
    return sys.executable, "-m", module
