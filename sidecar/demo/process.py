"""A process that the demo starts: told apart from the terminal, awaited until it says it is ready, ended for sure.

Both the sidecar and the demo's upstreams say `ready: listening on ADDRESS` on standard error; their last lines are kept
for the message that is needed when one does not start.
"""

import asyncio
import contextlib
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Self

from sidecar.errors import StartError

_READY = "ready: listening on "
_START_WITHIN = 15.0  # seconds; a cold disk reads many small files
_END_WITHIN = 3.0  # seconds from SIGTERM to SIGKILL
_MOST_LINES = 100
_MOST_LINE = 1000


class Process:
    """`async with Process(name, arguments, environ) as process`: a Python process of its own, ended at the exit.

    It gets a process group of its own, so that Ctrl-C in the terminal reaches the demo alone, which then ends the rest.
    """

    def __init__(self, name: str, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
        self.name = name
        self.address = ""  # where it listens, once it is ready
        self._arguments = arguments
        self._environ = environ
        self._transport: asyncio.SubprocessTransport
        self._output: _Output

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, self._output = await loop.subprocess_exec(
            _Output,
            *(sys.executable, *self._arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=self._environ,
            start_new_session=True,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            with contextlib.suppress(ProcessLookupError):
                self._transport.terminate()
            async with asyncio.timeout(_END_WITHIN):
                await self._output.ended.wait()
        except TimeoutError:
            await self.kill()
        finally:
            self._transport.close()  # kills what still runs

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._transport.get_pid()

    @property
    def lines(self) -> list[str]:
        """The last lines it wrote to standard error."""
        return list(self._output.lines)

    async def ready(self) -> None:
        """Wait until it says that it is ready; raises StartError with its last words."""
        output = self._output
        try:
            async with asyncio.timeout(_START_WITHIN):
                await output.settled.wait()
        except TimeoutError:
            raise StartError(f"{self.name} was not ready within {_START_WITHIN:g} s{self._last_words()}") from None
        if not output.address:
            code = self._transport.get_returncode()
            raise StartError(f"{self.name} ended with {code} before it was ready{self._last_words()}")
        self.address = output.address

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        with contextlib.suppress(ProcessLookupError):
            self._transport.kill()
        await self._output.ended.wait()

    async def ended(self) -> None:
        """Wait until it ends."""
        await self._output.ended.wait()

    def _last_words(self) -> str:
        lines = self.lines[-10:]
        return "".join(f"\n  | {line}" for line in lines) if lines else "; it said nothing"


class _Output(asyncio.SubprocessProtocol):
    """Reads standard error line by line."""

    def __init__(self) -> None:
        self.address = ""
        self.lines: deque[str] = deque(maxlen=_MOST_LINES)
        self.settled = asyncio.Event()  # ready or ended
        self.ended = asyncio.Event()
        self._rest = b""

    def pipe_data_received(self, _fd: int, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-_MOST_LINE:]
        for line in lines:
            text = line.decode("utf-8", "backslashreplace").rstrip()[:_MOST_LINE]
            self.lines.append(text)
            if text.startswith(_READY):
                self.address = text.removeprefix(_READY)
                self.settled.set()

    def connection_lost(self, _exc: Exception | None) -> None:
        """The process has ended and all it wrote was read."""
        if self._rest:
            self.lines.append(self._rest.decode("utf-8", "backslashreplace"))
        self.ended.set()
        self.settled.set()
