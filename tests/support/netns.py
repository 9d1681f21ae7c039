"""A network namespace for a test: its own loopback and one address that the API server accepts in EndpointSlices.

The API server refuses loopback addresses in slices, so servers and upstreams of these tests listen on `ADDRESS`, which
no machine has (RFC 5737). Entering moves the calling thread only; threads and processes it starts follow it.
"""

import ctypes
import os
import shutil
import subprocess
from types import TracebackType

ADDRESS = "192.0.2.1"
CLONE_NEWNET = 0x40000000
OWN = "/proc/thread-self/ns/net"


def obstacle() -> str | None:
    """Why no namespace can be made here, or None."""
    if os.geteuid() != 0:
        return "needs root to make a network namespace"
    if shutil.which("ip") is None:
        return "needs the command ip (iproute2)"
    return None


class NetworkNamespace:
    """`with namespace:` runs the body in it; may be entered again and again until `close`."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)  # os.unshare and os.setns come with Python 3.12
        self._outside = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
        self._check(self._libc.unshare(CLONE_NEWNET))
        self._inside = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            subprocess.run(["ip", "address", "add", f"{ADDRESS}/32", "dev", "lo"], check=True)
        finally:
            self._enter(self._outside)

    def __enter__(self) -> None:
        self._enter(self._inside)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._enter(self._outside)

    def close(self) -> None:
        """Let the kernel drop it once its last process is gone."""
        os.close(self._inside)
        os.close(self._outside)

    def _enter(self, namespace: int) -> None:
        self._check(self._libc.setns(namespace, CLONE_NEWNET))

    @staticmethod
    def _check(result: int) -> None:
        if result != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
