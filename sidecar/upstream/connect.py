"""The `connect` seam: how a byte stream to an endpoint is opened (TCP, TLS, Unix socket).

New kinds of upstream go here; pooling, health and tracing stand above and know nothing of them.
"""

import asyncio
import errno
import ssl
from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

from sidecar.config.model import TlsSpec
from sidecar.errors import ConfigError, ConnectFailed, ConnectTimeout, DnsFailed, TlsFailed, UpstreamOverflow
from sidecar.model import Address

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE})  # of ours, not the endpoint's fault

P = TypeVar("P", bound=asyncio.Protocol)
Connect: TypeAlias = Callable[[Address, Callable[[], P]], Awaitable[P]]


def tls_context(spec: TlsSpec, path: str) -> ssl.SSLContext:
    """A client context that verifies names unless told not to; raises ConfigError at `path`."""
    try:
        context = ssl.create_default_context(cafile=spec.ca_file)
        if spec.cert_file:
            context.load_cert_chain(spec.cert_file, spec.key_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(path, f"certificate files are not usable: {error}") from error
    if spec.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context


class Dialer:
    """Opens byte streams for one cluster."""

    def __init__(self, *, timeout: float, tls: ssl.SSLContext | None = None, server_name: str | None = None) -> None:
        self._timeout = timeout
        self._tls = tls
        self._server_name = server_name

    async def dial(self, address: Address, factory: Callable[[], P]) -> P:
        """Connect within the connect timeout; raises ConnectFailed and its kin, DnsFailed or UpstreamOverflow."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._open(address, factory)
        except TimeoutError:
            raise ConnectTimeout(f"no connection to {address} within {self._timeout:g} s") from None
        except ssl.SSLError as error:
            raise TlsFailed(f"TLS with {address} failed: {_tls_reason(error)}") from error
        except OSError as error:
            if error.errno in _EXHAUSTED:
                raise UpstreamOverflow("no file descriptor is free for a connection") from error
            if error.__class__.__name__ == "gaierror":
                raise DnsFailed(f"the name {address.host} does not resolve: {error.strerror}") from error
            raise ConnectFailed(f"connection to {address} failed: {_os_reason(error)}") from error

    async def _open(self, address: Address, factory: Callable[[], P]) -> P:
        loop = asyncio.get_running_loop()
        name = (self._server_name or address.host) if self._tls is not None else None
        if address.unix_path is not None:
            _, protocol = (
                await loop.create_unix_connection(
                    factory, address.unix_path, ssl=self._tls, server_hostname=self._server_name or ""
                )
                if self._tls is not None
                else await loop.create_unix_connection(factory, address.unix_path)
            )
        else:
            _, protocol = await loop.create_connection(
                factory, address.host, address.port, ssl=self._tls, server_hostname=name
            )
        return protocol


def _os_reason(error: OSError) -> str:
    return error.strerror or str(error) or error.__class__.__name__


def _tls_reason(error: ssl.SSLError) -> str:
    return getattr(error, "verify_message", "") or error.reason or str(error)
