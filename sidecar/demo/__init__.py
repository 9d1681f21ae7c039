"""`sidecar demo`: a tour of the real sidecar on this machine, with three small upstreams and an OTLP receiver.

`tour.py` is the page to read first: its five steps and what each must hold. `stage.py` starts and ends everything.
The demo judges the sidecar from outside: it uses the command line, the configuration, the admin page and the spans,
and none of the proxy's own code.
"""

import asyncio
import os
import signal
import sys

from sidecar.demo.screen import Screen
from sidecar.demo.tour import show


def main(once: bool) -> int:
    """Show the tour; 0 if all of it held, else 1. Without `once` it stays up until Ctrl-C. Raises StartError."""
    try:
        with asyncio.Runner() as runner:
            return runner.run(_until_signal(Screen(sys.stdout), once))
    except BrokenPipeError:  # nobody reads on: `sidecar demo | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


async def _until_signal(screen: Screen, once: bool) -> int:
    """Cancel the tour at the first signal; further ones must not interrupt the cleaning up."""
    loop = asyncio.get_running_loop()
    touring = asyncio.current_task()

    def stop() -> None:
        if touring is not None and not touring.cancelling():
            touring.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop)
    try:
        return await show(screen, once=once)
    except asyncio.CancelledError:
        screen.say("\nInterrupted; everything that was started has ended.")
        return 1
