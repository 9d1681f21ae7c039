"""HTTP for the filter's own calls: key sets, the service that decides. No cookies, no redirects, bounded answers."""

import asyncio
import ssl
from pathlib import Path

import aiohttp

MAX_BODY = 1024 * 1024  # bytes of a key set, a file of users …
_MAX_CONNECTIONS = 100
_UNLIMITED = aiohttp.ClientTimeout(total=None)


class Unreachable(Exception):
    """No usable answer; the text says why, without anything that was sent."""


async def open_session(url: str, ca_file: str | None, limits: aiohttp.ClientTimeout) -> aiohttp.ClientSession:
    """A session of the caller, who closes it. Raises Unreachable where the file holds no certificate."""
    context: ssl.SSLContext | bool = True
    if url.startswith("https:"):
        try:
            context = await asyncio.to_thread(ssl.create_default_context, cafile=ca_file)
        except OSError as error:
            raise Unreachable(f"cannot read the certificates: {error.strerror}") from None
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context, limit=_MAX_CONNECTIONS),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=limits,
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
    )


async def fetch(url: str, *, ca_file: str | None, token_file: str | None) -> bytes:
    """GET, with token and trust read anew each time; the caller limits the time. Raises Unreachable, OSError."""
    headers = {"Accept": "application/jwk-set+json, application/json"}
    if token_file is not None:
        token = await asyncio.to_thread(Path(token_file).read_text, "ascii")
        headers["Authorization"] = f"Bearer {token.strip()}"
    session = await open_session(url, ca_file, _UNLIMITED)
    async with session:
        try:
            async with session.get(url, headers=headers, allow_redirects=False) as response:
                if response.status != 200:
                    raise Unreachable(f"answered {response.status}")
                return await read_body(response, MAX_BODY)
        except aiohttp.ClientConnectionError as error:  # it names the host and what TLS has to say
            raise Unreachable(ascii(str(error))[1:-1][:200] or type(error).__name__) from None
        except aiohttp.ClientError as error:  # it may show the URL
            raise Unreachable(type(error).__name__) from None


async def read_body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The whole body; raises Unreachable where it is longer than `limit` bytes."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            raise Unreachable(f"answered with more than {limit} bytes")
    return bytes(body)
