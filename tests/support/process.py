"""The `sidecar` command as a process of its own, and small real upstreams for it."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
WITHIN = 15.0


class Process:
    """A running `sidecar`; `address` is where it listens."""

    def __init__(self, process: asyncio.subprocess.Process, ready: str) -> None:
        self.process = process
        self.ready = ready

    @property
    def address(self) -> str:
        return self.ready.removeprefix("ready: listening on ").split(",")[0].strip()

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def memory(self, field: str) -> int:
        """`VmRSS` or `VmHWM` in KiB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in text.splitlines() if line.startswith(f"{field}:")))

    def descriptors(self) -> int:
        """How many files it has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def reset_peak(self) -> None:
        """Let `VmHWM` begin anew."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    async def terminate(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(WITHIN):
            return await self.process.wait()

    async def line(self, part: str) -> str:
        """The next line on standard error that holds `part`."""
        assert self.process.stderr is not None
        async with asyncio.timeout(WITHIN):
            while text := (await self.process.stderr.readline()).decode():
                if part in text:
                    return text
        raise AssertionError(f"the process ended without saying {part!r}")


def clean_environ() -> dict[str, str]:
    """The environment without what would configure telemetry or a cluster."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "KUBE"))}


async def start(*words: str, environ: Mapping[str, str] | None = None) -> asyncio.subprocess.Process:
    """`python -m sidecar WORDS`, with both outputs piped."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sidecar",
        *words,
        cwd=ROOT,
        env={**clean_environ(), **(environ or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def run(*words: str, environ: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Run to the end: exit code, standard output, standard error."""
    process = await start(*words, environ=environ)
    async with asyncio.timeout(WITHIN):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@asynccontextmanager
async def sidecar(*words: str, environ: Mapping[str, str] | None = None) -> AsyncIterator[Process]:
    """Until the block ends, a sidecar that is ready."""
    async with ready(await start(*words, environ=environ)) as running:
        yield running


@asynccontextmanager
async def ready(process: asyncio.subprocess.Process) -> AsyncIterator[Process]:
    """Wait until the process takes requests, and end it with the block."""
    try:
        running = Process(process, "")
        running.ready = await running.line("ready: listening on ")
        yield running
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(WITHIN):
            await process.communicate()
