"""Clients by address. Who the client is behind trusted proxies is the rule of `telemetry.arrival`; in doubt, nobody."""

from ipaddress import ip_network

from sidecar.config.model import AllowList
from sidecar.errors import Forbidden
from sidecar.filters.auth.ledger import Ledger
from sidecar.filters.context import FilterContext
from sidecar.model import Filter, Handler, Request, Response
from sidecar.telemetry.arrival import ARRIVAL_FIELDS, Arrival, ip_of
from sidecar.telemetry.propagation import fields_of


def allow_list(spec: AllowList, context: FilterContext) -> Filter:
    """Lets these addresses pass."""
    return _AllowList(spec, Ledger("allow", context.count))


class _AllowList:
    """The filter."""

    __slots__ = ("_ledger", "_networks")

    def __init__(self, spec: AllowList, ledger: Ledger) -> None:
        self._networks = tuple(ip_network(each) for each in spec.addresses)
        self._ledger = ledger

    async def __call__(self, request: Request, forward: Handler) -> Response:
        if request.trusted:
            client = Arrival(request, fields_of(request.headers, ARRIVAL_FIELDS)).client_ip(request.peer)
        else:
            client = ip_of(request.peer.host)
        if client is None or not any(client in network for network in self._networks):
            self._ledger.tell(request, "denied")
            raise Forbidden("this address may not")
        self._ledger.tell(request, "allowed")
        return await forward(request)

    def explain(self) -> str:
        """What it would do."""
        return f"Auth allow: {', '.join(map(str, self._networks))}"
