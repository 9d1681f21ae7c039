"""Who is on the other end of a downstream connection, and whether its word on earlier hops is believed."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TypeAlias

from sidecar.model import Address

Networks: TypeAlias = Sequence[IPv4Network | IPv6Network]


def peer_address(peername: object) -> Address:
    """The TCP peer; a Unix socket's peer has no name."""
    if isinstance(peername, tuple):
        return Address(str(peername[0]), int(peername[1]))
    return Address("unix:", 0)


def is_trusted(peer: Address, networks: Networks) -> bool:
    """Whether the peer's Forwarded and X-Forwarded-* fields are believed; a Unix socket's peer is local."""
    if peer.unix_path is not None:
        return True
    address = ip_address(peer.host.partition("%")[0])
    return any(address in network for network in networks)
