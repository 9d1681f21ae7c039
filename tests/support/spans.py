"""Requests, attempts and answers for tests of telemetry."""

from ipaddress import ip_network

from sidecar.model import Address, Answer, Attempt, Headers, Origin, Request

START = 1_700_000_000_000_000_000
MILLISECOND = 1_000_000
PEER = Address("127.0.0.1", 40_000)


def request(
    method: str = "GET",
    target: bytes = b"/items/7?secret=1",
    authority: str = "orders.shop:8080",
    headers: tuple[tuple[str, str], ...] = (),
    *,
    trusted: bool = False,
    peer: Address = PEER,
) -> Request:
    made = Request(
        method=method,
        target=target,
        authority=authority,
        headers=Headers([(name.encode(), value.encode("latin-1")) for name, value in headers]),
        peer=peer,
        listener="outbound",
        origin=Origin(
            b"sidecar",
            trusted=trusted,
            announce=False,
            peer=b"unknown",
            scheme=b"http",
            proxies=(ip_network("127.0.0.0/8"), ip_network("10.0.0.0/8")),
        ),
        received_ns=START,
    )
    made.cluster = "orders"
    return made


def attempt(resend: int = 0, status: int | None = 200, error_type: str | None = None, **changes: object) -> Attempt:
    """An attempt that took 3 ms."""
    made = Attempt(
        cluster="orders",
        address=Address("10.0.0.1", 9000),
        resend=resend,
        start_ns=START + MILLISECOND,
        span_id=0xA0 + resend,
        end_ns=START + 4 * MILLISECOND,
        status=status,
        error_type=error_type,
    )
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def answer(
    status: int | None = 200, error_type: str | None = None, flag: str = "-", *, cancelled: bool = False
) -> Answer:
    """An answer after 5 ms."""
    return Answer(
        status=status,
        end_ns=START + 5 * MILLISECOND,
        duration=0.005,
        sent=12,
        received=3,
        flag=flag,
        error_type=error_type,
        cancelled=cancelled,
    )
