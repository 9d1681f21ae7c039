"""A DNS server on a free port, whose answers tests write as zone lines and change while it runs."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from dnslib import QTYPE, RCODE, RR
from dnslib.server import BaseResolver, DNSLogger, DNSServer


class FakeDns(BaseResolver):
    """`dns.zone = "orders.test. 5 A 10.0.0.1"`; other names do not exist; `broken`: every answer is SERVFAIL."""

    def __init__(self) -> None:
        self.zone = ""
        self.broken = False
        self.asked: list[tuple[str, str]] = []
        self.nameserver = ""

    def resolve(self, request: Any, handler: Any) -> Any:  # noqa: ARG002 - the signature of dnslib
        """Answer one question."""
        name, kind = str(request.q.qname).lower(), QTYPE[request.q.qtype]
        self.asked.append((name, kind))
        reply = request.reply()
        records = [record for record in RR.fromZone(self.zone) if str(record.rname).lower() == name]
        if self.broken:
            reply.header.rcode = RCODE.SERVFAIL
        elif not records:
            reply.header.rcode = RCODE.NXDOMAIN
        for record in records:
            if QTYPE[record.rtype] in (kind, "CNAME"):
                reply.add_answer(record)
        return reply


@contextlib.contextmanager
def fake_dns(zone: str = "") -> Iterator[FakeDns]:
    """Run one within the block; `nameserver` is its `ip:port`."""
    resolver = FakeDns()
    resolver.zone = zone
    server = DNSServer(
        resolver, address="127.0.0.1", port=0, logger=DNSLogger("-request,-reply,-truncated,-error", prefix=False)
    )
    resolver.nameserver = f"127.0.0.1:{server.server.server_address[1]}"
    thread = threading.Thread(target=server.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield resolver
    finally:
        server.server.shutdown()
        server.server.server_close()
        thread.join()
