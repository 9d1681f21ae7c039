"""One listening socket with its front: bind, begin to drain, drain, close."""

import random
from collections.abc import Callable
from ipaddress import ip_network
from typing import Self

from sidecar.config.address import parse_address
from sidecar.config.model import Listener as ListenerSpec
from sidecar.errors import StartError
from sidecar.listener.accept import Acceptor
from sidecar.listener.front import AiohttpFront
from sidecar.listener.http1.front import NativeFront
from sidecar.listener.peers import Networks
from sidecar.listener.service import Service
from sidecar.model import Address, Handler
from sidecar.telemetry.telemetry import Telemetry


class Listener:
    """An async context manager that takes requests while it is entered; raises StartError where it cannot bind."""

    def __init__(
        self, spec: ListenerSpec, handler: Callable[[], Handler], telemetry: Telemetry, rng: random.Random
    ) -> None:
        self.name = spec.name
        self.bound = spec.address
        self._address = parse_address(spec.address)
        via = f"{spec.name}.{rng.getrandbits(32):08x}".encode("latin-1", "replace")
        self._service = Service(spec, handler, telemetry, trusted=_networks(spec), via=via)
        self._front: AiohttpFront | NativeFront | None = None
        self._acceptor: Acceptor | None = None

    @property
    def connections(self) -> int:
        """Open downstream connections."""
        return self._front.open if self._front is not None else 0

    async def __aenter__(self) -> Self:
        spec = self._service.spec
        self._front = NativeFront(self._service) if spec.engine == "native" else AiohttpFront(self._service)
        try:
            self._acceptor = await self._listen(self._front)
        except OSError as error:
            reason = error.strerror or str(error)
            raise StartError(f"cannot listen on {spec.address} ({reason}): free it, or change the address") from None
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._acceptor is not None:
            await self._acceptor.aclose()
        if self._front is not None:
            await self._front.aclose()

    def reconfigure(self, spec: ListenerSpec) -> None:
        """Take limits and trust from a new configuration; the socket stays."""
        self._service.reconfigure(spec, _networks(spec))
        if self._front is not None:
            self._front.reconfigure()

    def begin_drain(self) -> None:
        """Tell clients with each answer to go elsewhere; new connections are still served."""
        self._service.draining = True

    async def drain(self, within: float) -> None:
        """Stop accepting, let requests finish for `within` seconds, then cut."""
        if self._acceptor is not None:
            self._acceptor.stop()
        if self._front is not None:
            self._front.close_idle()
            await self._service.idle(within)
            await self._front.aclose()

    async def _listen(self, front: AiohttpFront | NativeFront) -> Acceptor:
        acceptor = Acceptor(front)
        path = self._address.unix_path
        if path is not None:
            acceptor.listen_unix(path)
        else:
            _, port = await acceptor.listen(self._address.host or None, self._address.port)
            self.bound = str(Address(self._address.host or "0.0.0.0", port))  # noqa: S104 - what it shows, not what it binds
        return acceptor


def _networks(spec: ListenerSpec) -> Networks:
    return [ip_network(text) for text in spec.trusted_proxies]
