"""The API server over HTTP: GET a JSON object, stream lines. The only file that knows kubernetes_asyncio.

kubernetes_asyncio configures, signs in and opens connections; its models, APIs and `Watch` are not used. Their import
costs 33 MB and 0.25 s a process, so the packages are replaced by stubs while the few modules needed are imported; where
that fails, the plain import does. Failures of all kinds come out as `ApiError`.
"""

import asyncio
import functools
import importlib
import importlib.util
import json
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Self

import aiohttp
from aiohttp.http import HttpProcessingError

from sidecar import __version__
from sidecar.discovery.kubeconfig import Access, InCluster, check_kubeconfig
from sidecar.errors import ConfigError

_CONNECT_TIMEOUT = 3.0
_GET_TIMEOUT = 10.0
_MAX_BODY = 64 * 1024 * 1024
_PACKAGES = ("kubernetes_asyncio", *(f"kubernetes_asyncio.{name}" for name in ("client", "client.models", "config")))


class ApiError(Exception):
    """The API server did not do what was asked; the text is one clear line.

    `status`: its HTTP status, None where there was no answer. `retry_after`: seconds it asked to wait.
    """

    def __init__(self, details: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(details)
        self.status = status
        self.retry_after = retry_after


class KubernetesClient:
    """One signed-in client; `aclose` it."""

    def __init__(self, library: "_Library", access: Access, trace_configs: Sequence[aiohttp.TraceConfig]) -> None:
        self._library = library
        self._access = access
        self._trace_configs = trace_configs
        self._configuration: Any = library.configuration.Configuration()
        self._api: Any = None
        self._retired: Any = None  # with the certificates before, in which requests may still be under way

    @classmethod
    async def connect(cls, access: Access, trace_configs: Sequence[aiohttp.TraceConfig] = ()) -> Self:
        """Read the configuration and sign in; opens no connection yet. Raises ApiError."""
        try:
            if not isinstance(access, InCluster):
                check_kubeconfig(access)
            client = cls(_library(kubeconfig=not isinstance(access, InCluster)), access, trace_configs)
        except ConfigError as error:
            raise ApiError(str(error)) from error
        await client._sign_in()
        return client

    @property
    def server(self) -> str:
        """The URL of the API server."""
        return str(self._configuration.host)

    async def get_json(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """GET an object. Raises ApiError."""
        limits = aiohttp.ClientTimeout(total=_GET_TIMEOUT, sock_connect=_CONNECT_TIMEOUT)
        async with await self._open(path, query, limits) as response:
            with self._failures():
                body = await _read(response, _MAX_BODY)
        return parse_object(body, self.server)

    @asynccontextmanager
    async def stream_lines(
        self, path: str, query: Mapping[str, str], *, inactivity: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """GET a stream of lines, which ends with ApiError when nothing comes for `inactivity` seconds.

        A line is limited to 4 MiB, which is more than etcd takes for an object.
        """
        limits = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT, sock_read=inactivity)
        async with await self._open(path, query, limits) as response, aclosing(self._lines(response)) as lines:
            yield lines

    async def _lines(self, response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
        with self._failures():
            async for line in response.content:
                yield line

    async def aclose(self) -> None:
        """Close all connections."""
        for api in (self._retired, self._api):
            if api is not None:
                await api.close()

    async def _open(
        self, path: str, query: Mapping[str, str] | None, limits: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        """A response of 2xx whose body is still to come; a 401 reads the credentials anew and tries once more."""
        with self._failures():
            response = await self._send(path, query, limits)
            if response.status == 401:
                response.release()
                await self._sign_in()
                response = await self._send(path, query, limits)
            if 200 <= response.status <= 299:
                return response
            async with response:
                raise await _refusal(response, self.server)

    async def _send(
        self, path: str, query: Mapping[str, str] | None, limits: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": f"sidecar/{__version__}"}
        try:
            await self._api.update_params_for_auth(headers, [], ["BearerToken"])
        except Exception as error:  # reads the token file, which may be gone, empty or unreadable
            raise ApiError(f"cannot sign in to {self.server}: {_one_line(error)}") from error
        headers = {name: value.strip() for name, value in headers.items()}  # token files may end with a line feed
        response: aiohttp.ClientResponse = await self._api.request(
            "GET",
            self.server + path,
            query_params=query,
            headers=headers,
            _preload_content=False,
            _request_timeout=limits,
        )
        return response

    async def _sign_in(self) -> None:
        """Read the credentials (anew); certificates that changed need new connections, tokens do not."""
        access, configuration = self._access, self._configuration
        before = (configuration.cert_file, configuration.key_file, configuration.ssl_ca_cert, configuration.host)
        try:
            async with asyncio.timeout(_GET_TIMEOUT):
                if isinstance(access, InCluster):
                    token, authority = str(access.folder / "token"), str(access.folder / "ca.crt")
                    loader = self._library.loader.InClusterConfigLoader(token, authority, environ=dict(access.environ))
                    loader.load_and_set(configuration)
                else:
                    await self._library.loader.load_kube_config(
                        config_file=access.paths,
                        context=access.context,
                        client_configuration=configuration,
                        persist_config=False,
                    )
            if self._api is None or before != (
                configuration.cert_file, configuration.key_file, configuration.ssl_ca_cert, configuration.host
            ):  # fmt: skip
                fresh = self._library.api_client.ApiClient(configuration)
                self._trace(fresh.rest_client.pool_manager)
                self._api, self._retired, retired = fresh, self._api, self._retired
                if retired is not None:
                    await retired.close()
        except TimeoutError as error:
            raise ApiError(f"signing in to {self.server} took longer than {_GET_TIMEOUT:.0f} s") from error
        except Exception as error:  # plugins and files fail in many ways, all of them the operator's to repair
            raise ApiError(f"cannot sign in to {self.server}: {_one_line(error)}") from error

    def _trace(self, session: aiohttp.ClientSession) -> None:
        for trace_config in self._trace_configs:
            trace_config.freeze()
            session.trace_configs.append(trace_config)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Failures of the connection as ApiError."""
        try:
            yield
        except aiohttp.ClientConnectorCertificateError as error:
            raise ApiError(
                f"API server {self.server}: its certificate is not trusted: {error.certificate_error}"
            ) from error
        except aiohttp.ClientConnectorError as error:
            raise ApiError(f"API server {self.server} is unreachable: {_reason(error.os_error)}") from error
        except TimeoutError as error:
            raise ApiError(f"API server {self.server} does not answer") from error
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as error:
            raise ApiError(f"API server {self.server}: the connection failed: {_one_line(error)}") from error


def parse_object(body: bytes, server: str) -> dict[str, Any]:
    """A JSON object; raises ApiError for anything else."""
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ApiError(f"{server} answers {body[:60]!a} instead of a Kubernetes object; is it an API server?")
    return value


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            raise ApiError(f"an answer of more than {limit} bytes")
    return bytes(body)


async def _refusal(response: aiohttp.ClientResponse, server: str) -> ApiError:
    body = await response.content.read(16_384)
    try:
        message = json.loads(body)["message"]
    except (ValueError, TypeError, KeyError):
        message = response.reason or ""
    waits = response.headers.get("Retry-After", "")
    return ApiError(
        f"API server {server} answers {response.status}: {ascii(message)[1:-1][:300]}",
        status=response.status,
        retry_after=float(waits) if waits.isdigit() and len(waits) < 6 else None,
    )


def _reason(error: OSError) -> str:
    """The system's own words, which asyncio and aiohttp replace; resolver errors are negative and keep theirs."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error.strerror or error)


def _one_line(error: BaseException) -> str:
    return " ".join((str(error) or type(error).__name__).split())[:300]


class _Library(NamedTuple):
    """The modules of kubernetes_asyncio that are used."""

    configuration: ModuleType
    api_client: ModuleType
    loader: ModuleType


@functools.cache
def _library(*, kubeconfig: bool) -> _Library:
    name = "kubernetes_asyncio.config." + ("kube_config" if kubeconfig else "incluster_config")
    if "kubernetes_asyncio" not in sys.modules:
        try:
            with _stubs():
                return _modules(name)
        except (ImportError, AttributeError):
            pass  # the package has changed shape
    return _modules(name)


def _modules(loader: str) -> _Library:
    configuration = importlib.import_module("kubernetes_asyncio.client.configuration")
    client = sys.modules["kubernetes_asyncio.client"]
    client.Configuration = configuration.Configuration  # type: ignore[attr-defined]  # a stub has none yet
    api_client = importlib.import_module("kubernetes_asyncio.client.api_client")
    client.ApiClient = api_client.ApiClient  # type: ignore[attr-defined]  # a stub has none yet
    return _Library(configuration, api_client, importlib.import_module(loader))


@contextmanager
def _stubs() -> Iterator[None]:
    """Empty packages in the place of those that import everything; gone again afterwards, for others to import."""
    specification = importlib.util.find_spec("kubernetes_asyncio")
    if specification is None or not specification.submodule_search_locations:
        raise ImportError("kubernetes_asyncio is not installed")
    root = Path(specification.submodule_search_locations[0])
    for name in _PACKAGES:
        stub = ModuleType(name)
        stub.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = stub
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "kubernetes_asyncio"]:
            del sys.modules[name]
