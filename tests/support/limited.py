"""A real `sidecar` process that may open few files, on a chosen event loop."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.process import ROOT, Process, clean_environ, ready

_START = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[1])))
if sys.argv[2] == "asyncio":
    sys.modules["uvloop"] = None
sys.argv = ["sidecar", *sys.argv[3:]]
runpy.run_module("sidecar", run_name="__main__")
"""


@asynccontextmanager
async def limited(files: int, loop: str, *words: str) -> AsyncIterator[Process]:
    """`sidecar WORDS` with `files` descriptors on `asyncio` or `uvloop`, until the block ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _START, str(files), loop, *words, cwd=ROOT, env=clean_environ(),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with ready(process) as running:
        yield running
