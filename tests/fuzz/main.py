"""One fuzz target under libFuzzer: `python -m tests.fuzz.main TARGET [libFuzzer options]`; see `run.py`."""

import asyncio
import logging
import sys

import atheris

with atheris.instrument_imports(include=["sidecar", "asyncio.streams"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Fuzz until libFuzzer's options end it."""
    check = TARGETS[sys.argv.pop(1)].check
    loop = asyncio.new_event_loop()
    logging.disable(logging.CRITICAL)
    atheris.Setup(sys.argv, lambda data: check(data, loop))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
